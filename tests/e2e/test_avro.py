"""Debezium writes Avro for real: Confluent's converter, a real registry, and what happens without it."""

from __future__ import annotations

import json
import time

import pytest

from tools.record_schemas import registered_schemas
from tools.stack import External
from tools.stack.seller import TABLES

from .avro import converters, latest_schema
from .quiet import wait_streamed
from .shared import PROJECT, seeds, skip_unless_ci
from .test_replay import PICKY, fates, run
from .workload import Workload
from .world import MakeWorld, World

pytestmark = pytest.mark.integration

_SCHEMAS = PROJECT / "schemas" / "avro"
_UNREADY_S = 30.0


@pytest.mark.parametrize("seed", seeds(51))
def test_random_changes_in_avro(make_world: MakeWorld, seed: int) -> None:
    """Precise decimals; half of the rows by the snapshot, half live, and a column that comes in between."""
    world = make_world()
    workload = Workload(world.conninfo, seed, poison=3)
    workload.fill(6)
    overrides = {**converters(world.stack), "decimal.handling.mode": "precise"}
    world.start_connector(overrides, create_topics=False)
    world.start_daemon()
    workload.run(150)
    for table in TABLES:
        world.execute(f'ALTER TABLE "{table}" ADD COLUMN note text, ADD COLUMN ratio real DEFAULT 1.1')
    workload.run(150)
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)
    for table in TABLES:
        world.execute(f'ALTER TABLE "{table}" DROP COLUMN note')
    workload.run(60)
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)
    subject = f"{world.prefix}.public.Product-value"
    assert "ratio" in json.dumps(latest_schema(world.registry_url, subject)), "no new schema was registered"


def test_a_topic_whose_values_change_their_format(make_world: MakeWorld) -> None:
    """JSON, then Avro in one topic. Keys stay JSON: in another format they hash to other partitions."""
    world = make_world()
    workload = Workload(world.conninfo, 52)
    workload.fill(3)
    world.start_connector()
    workload.run(30)
    wait_streamed(world.conninfo, world.name)
    values = {name: value for name, value in converters(world.stack).items() if name.startswith("value.")}
    world.reconfigure_connector(values)
    workload.run(60)
    workload.close()
    world.start_daemon()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)


def test_a_registry_that_is_away_is_waited_for(make_world: MakeWorld) -> None:
    """Killed before the daemon has asked for anything: it waits, says so, and goes on by itself."""
    world = make_world()
    registry = world.stack.registry
    if registry is None or isinstance(registry, External):
        skip_unless_ci("the registry is not ours to kill")
    workload = Workload(world.conninfo, 53)
    workload.fill(4)
    world.start_connector(converters(world.stack))
    wait_streamed(world.conninfo, world.name)
    registry.kill()
    try:
        daemon = world.start_daemon(ready=False)
        _wait_unready(world, "schema registry")
        workload.run(40)  # the converter knows its ids, and needs no registry
        time.sleep(3.0)
        assert daemon.ask("/readyz")[0] == 503
        assert daemon.metric("cdc_sync_held_records")[""] > 0
        assert {"registry_waiting": 1.0} == {
            "registry_waiting": daemon.metric("cdc_sync_registry_waiting")[""]
        }
        assert {} == daemon.metric("cdc_sync_events_consumed_total")
    finally:
        registry.restart()
    daemon.wait_ready()
    workload.run(40)
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)
    assert [] == [letter for letter in world.letters() if b"registry" in (letter.value() or b"")]
    registry.kill()  # in the middle: what is known goes on
    try:
        workload.run(40)
        world.settle()
    finally:
        registry.restart()
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)


def test_dead_letters_in_avro_are_replayed(make_world: MakeWorld) -> None:
    """By the owner of their partition, who reads their keys and values; not the one with a later event."""
    world = make_world()
    world.start_connector(converters(world.stack))
    bad = world.start_daemon(CDC_SYNC_MAPPERS=PICKY)
    world.execute(
        'INSERT INTO "Category" (id, merchant_id, name, status) '
        "SELECT 'c' || n, 'm', '{\"en\": \"x\"}', 'odd' FROM generate_series(0, 9) AS n"
    )
    world.settle()
    assert {("Category", f"c{n}") for n in range(10)} == world.named_rows()
    world.execute("UPDATE \"Category\" SET status = 'fine' WHERE id = 'c1'")
    world.settle()
    assert bad.stop() == 0
    world.start_daemon()
    assert {"replayed": 9, "superseded": 1} == fates(run(world))
    world.settle()
    assert not world.differences()


def test_the_shipped_schemas_are_those_that_debezium_registers(make_world: MakeWorld) -> None:
    """`schemas/avro/`, of keys and values of the seven tables, by the shipped connector."""
    world = make_world()
    workload = Workload(world.conninfo, 54)
    workload.fill(1)
    workload.close()
    world.start_connector(converters(world.stack))
    wait_streamed(world.conninfo, world.name)
    registered = registered_schemas(world.registry_url, world.prefix)
    assert registered == {path.name: path.read_text("utf-8") for path in _SCHEMAS.glob("*.avsc")}


def _wait_unready(world: World, reason: str) -> None:
    """Return when the only daemon says that it is not ready for this reason."""
    [daemon] = world.daemons
    deadline = time.monotonic() + _UNREADY_S
    answer = (0, "")
    while time.monotonic() < deadline:
        answer = daemon.ask("/readyz")
        if answer[0] == 503 and reason in answer[1]:
            return
        time.sleep(0.1)
    raise AssertionError(f"not unready for {reason!r}: {answer}\n{daemon.tail()}")
