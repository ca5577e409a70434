"""Short campaigns of faults: whatever is done to the parts, at quiet everything is as it must be.

`make chaos` runs longer ones. The stack is not shared with other tests: its broker and its worker are killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, own_stack, search_server
from tests.chaos.plan import KINDS, make_plan
from tests.chaos.runlog import RunLog
from tools.stack import Stack, Unavailable

from .servers import real_server_url
from .shared import seeds, skip_unless_ci

pytestmark = pytest.mark.integration

LENGTH_S = 40.0
SEEDS = (16, 62)
"""Chosen so that every kind of fault comes up, under both replica identities."""


@pytest.fixture(scope="module")
def chaos_stack() -> Iterator[Stack]:
    """Parts that nobody else uses."""
    try:
        stack = own_stack()
        stack.start()
    except Unavailable as error:
        skip_unless_ci(f"a real part is missing: {error}")
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def carried_out() -> Counter[str]:
    """What was done in all campaigns of this module."""
    return Counter()


@pytest.mark.parametrize("seed", seeds(*SEEDS))
def test_everything_is_right_when_the_faults_are_over(
    chaos_stack: Stack, carried_out: Counter[str], tmp_path: Path, seed: int
) -> None:
    """Collections, dead letters with their bytes, commits, accounting, exit codes, readiness."""
    log = RunLog(tmp_path / "run.log")
    with search_server(tmp_path) as (server, part):
        campaign = Campaign(make_plan(seed, LENGTH_S), chaos_stack, server, part, tmp_path, log)
        try:
            problems = campaign.run()
        finally:
            campaign.close()
    carried_out += campaign.carried_out
    again = f"again: make chaos SEED={seed} MINUTES={LENGTH_S / 60:.3f}"
    assert not problems, "\n".join([*problems, again, log.text()])


def test_every_kind_of_fault_comes_up() -> None:
    """In the plans of these seeds, taken together."""
    assert KINDS == frozenset().union(*(make_plan(seed, LENGTH_S).kinds for seed in SEEDS))


def test_every_kind_of_fault_has_happened(carried_out: Counter[str]) -> None:
    """A fault that never hits anything shows nothing. Needs the campaigns above, all of them."""
    if seeds(*SEEDS) != list(SEEDS) or not carried_out:
        pytest.skip("the usual campaigns have not run")
    ours = {kind for kind in KINDS if real_server_url() is None or not kind.startswith("typesense")}
    assert set() == ours - carried_out.keys()
