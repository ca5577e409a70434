"""What a connector may be configured to write.

Schemas in the JSON or not, each decimal mode, FULL.
"""

from __future__ import annotations

import pytest

from .shared import seeds
from .workload import Workload
from .world import MakeWorld, World

pytestmark = pytest.mark.integration

_WITH_SCHEMA = {"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"}


def _run(world: World, seed: int, overrides: dict[str, str | None], *, exact: bool = True) -> None:
    """Half of the rows by the snapshot, half live; topics appear with their first record."""
    workload = Workload(world.conninfo, seed)
    workload.fill(6)
    world.start_connector(overrides, create_topics=False)
    world.start_daemon()
    workload.run(80)
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered, exact_decimals=exact)


def test_json_with_schema_and_precise_decimals(make_world: MakeWorld) -> None:
    """`precise` needs the scale, which only the schema has."""
    _run(make_world(), 11, {**_WITH_SCHEMA, "decimal.handling.mode": "precise"})


def test_json_with_schema_and_decimals_as_text(make_world: MakeWorld) -> None:
    """Schemas with the shipped decimal mode."""
    _run(make_world(), 12, dict(_WITH_SCHEMA))


def test_decimals_as_doubles(make_world: MakeWorld) -> None:
    """Without a scale: the exact text can only be equal as a number."""
    _run(make_world(), 13, {"decimal.handling.mode": "double"}, exact=False)


@pytest.mark.parametrize("seed", seeds(21))
def test_random_changes_under_full(make_world: MakeWorld, seed: int) -> None:
    """With REPLICA IDENTITY FULL every case has an answer: no dead letter but poison."""
    world = make_world()
    world.set_replica_identity("FULL")
    workload = Workload(world.conninfo, seed, is_full=True, poison=3)
    workload.fill(5)
    world.start_connector()
    world.start_daemon()
    workload.run(400)
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)


@pytest.mark.parametrize("seed", seeds(22))
def test_random_changes_under_default(make_world: MakeWorld, seed: int) -> None:
    """With REPLICA IDENTITY DEFAULT large values are left out; a snapshot comes on top."""
    world = make_world()
    workload = Workload(world.conninfo, seed, poison=3)
    workload.fill(5)
    world.start_connector()
    world.start_daemon()
    workload.run(400)
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)
    world.snapshot(["ProductInfo", "Product"])
    workload.run(50)
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)
