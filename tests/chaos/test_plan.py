"""A plan is a function of its seed, and can be carried out: nobody is killed twice."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.shared import PROJECT

from .plan import KINDS, MAX_REPLICAS, Deed, Plan, Track, make_plan

SEEDS = st.integers(0, 2**32)
LENGTHS = st.floats(1, 600)


def carry_out(plan: Plan) -> dict[str, Deed]:
    """What was done last to each replica and server; an impossible deed fails."""
    last = {f"replica {number}": Deed.START for number in range(1, plan.replicas + 1)}
    last |= dict.fromkeys(("broker", "connect", "typesense"), Deed.START)
    before = {
        Deed.START: (None, Deed.KILL, Deed.TERMINATE),
        Deed.RESUME: (Deed.SUSPEND,),
    }
    for step in plan.steps:
        if step.track in (Track.REPLICAS, Track.SERVERS):
            allowed = before.get(step.deed, (Deed.START, Deed.RESUME))
            assert last.get(step.target) in allowed, step
            last[step.target] = step.deed
    return last


@given(SEEDS, LENGTHS)
def test_every_step_is_possible_and_everything_is_back_at_the_end(seed: int, length_s: float) -> None:
    """Only what runs is killed or stopped; at least one replica and all servers run at the end."""
    last = carry_out(make_plan(seed, length_s))
    replicas = {name: deed for name, deed in last.items() if name.startswith("replica")}
    running = [name for name, deed in replicas.items() if deed in (Deed.START, Deed.RESUME)]
    assert running
    assert len(replicas) <= MAX_REPLICAS
    assert Deed.SUSPEND not in replicas.values()
    assert Deed.KILL not in last.values()
    assert all(last[name] is Deed.START for name in ("broker", "connect", "typesense"))


@given(SEEDS, LENGTHS)
def test_the_seed_decides_everything(seed: int, length_s: float) -> None:
    """The same plan for the same seed, steps by time, one line a step."""
    plan = make_plan(seed, length_s)
    assert plan == make_plan(seed, length_s)
    assert list(plan.steps) == sorted(plan.steps, key=lambda step: step.at_s)
    assert len(plan.steps) + 1 == len(str(plan).split("\n"))
    assert plan.kinds <= KINDS


def test_another_process_makes_the_same_plan() -> None:
    """Nothing comes from the hashes of a process, as the order of a set would."""
    plans = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.chaos", "--seed", "17", "--minutes", "10", "--plan"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
        )
        plans.add(done.stdout)
    assert {f"{make_plan(17, 600)}\n"} == plans


def test_a_long_plan_has_every_kind() -> None:
    """Within minutes all comes up, with any seed."""
    assert all(KINDS == make_plan(seed, 300).kinds for seed in range(20))


def test_seeds_differ() -> None:
    """Otherwise there would be no point in a second one."""
    assert 50 == len({make_plan(seed, 60).steps for seed in range(50)})
