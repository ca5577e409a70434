"""The corridor from records to commits, with a source, a sink and a dead letter queue in memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from cdc_sync.corridor import Corridor
from cdc_sync.decoder import JsonDecoder
from cdc_sync.errors import FatalError, MappingError
from cdc_sync.mappers.table import TableMapper
from cdc_sync.model import (
    ChangeEvent,
    DocumentChange,
    Partition,
    Skip,
)
from cdc_sync.routing import Router
from tests.corridor import PREFIX, World, category, names
from tests.factories import Wire, change, row, tombstone

AVRO = Wire("avro")


@pytest.fixture
def world() -> Iterator[World]:
    """A world whose lanes are stopped at the end."""
    world = World()
    yield world
    world.admission.stop(2.0)
    for lane in world.lanes:
        lane.stop(2.0)


def test_the_last_change_of_each_row_is_in_the_index(world: World) -> None:
    """Upserts, deletes and tombstones in the order of the log."""
    for n in range(30):
        world.produce("Category", f"c{n % 4}", category(f"c{n % 4}", f"v{n}"), partition=n % 4 % 2)
    world.produce("Category", "c3", None, partition=1)
    world.produce_raw("Category", "c3", None, partition=1)
    world.run()
    assert {"c0": "v28", "c1": "v29", "c2": "v26"} == names(world)


def test_poison_is_a_letter_and_its_neighbours_are_written(world: World) -> None:
    """Undecodable, unmappable and refused records, each named by position and stage."""
    world.produce("Category", "a", category("a"))
    world.produce_raw("Category", "b", b"garbage")
    world.produce("Category", "c", category("c", created_at=None))
    world.sink.refuses = lambda document: document["id"] == "d"
    world.produce("Category", "d", category("d"))
    world.produce("Category", "e", category("e"))
    world.run()
    assert {"a", "e"} == names(world).keys()
    assert [(1, "VALUE_CONVERTER"), (2, "TRANSFORMATION"), (3, "TASK_PUT")] == [
        (record.offset, error.stage) for record, error in world.letters.letters
    ]


def test_an_unstored_letter_holds_the_commit(world: World) -> None:
    """An offset is committed only when the broker has the dead letters below it."""
    world.letters.stores = False
    world.produce("Category", "a", category("a"))
    world.produce_raw("Category", "b", b"garbage")
    world.produce("Category", "c", category("c"))
    world.run(until=lambda: "c" in names(world))
    for _ in range(5):
        world.pipeline.run_once(world.source)
    assert world.committed.get(Partition(f"{PREFIX}.Category", 0), 0) <= 1
    world.letters.stores = True
    world.run()


def test_a_lost_commit_is_made_again(world: World) -> None:
    """Without a new event: in a rebalance the broker refuses a commit of a partition that we keep."""
    world.produce("Category", "a", category("a"))
    world.source.loses_commits = 3
    world.run()


def test_nothing_is_committed_before_it_is_written(world: World) -> None:
    """The sink is away: no offset moves; it comes back: all do."""
    away = True
    world.sink.fails = lambda: away
    world.produce("Category", "a", category("a"))
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        world.pipeline.run_once(world.source)
    assert {} == world.committed
    away = False
    world.run()
    assert {"a"} == names(world).keys()


def test_an_outage_pauses_the_topics_of_the_lane_and_no_others(world: World) -> None:
    """Memory stays bounded, and other collections go on."""
    world.sink.fails = lambda: True
    for n in range(100):
        world.produce("Category", f"c{n}", category(f"c{n}"))
    held = 2 * (20 + 7)  # a batch in flight and one that waits, each a poll over the limit at most
    for _ in range(60):
        world.pipeline.run_once(world.source)
    assert {f"{PREFIX}.Category"} == world.source.paused
    assert world.source.positions[Partition(f"{PREFIX}.Category", 0)] <= held
    world.sink.fails = lambda: False
    world.run()
    assert 100 == len(names(world))


def avro_category(world: World, key: str, name: str, partition: int = 0) -> None:
    """A change of a category in Avro."""
    columns = row("Category", id=key, name=f'{{"en": "{name}"}}')
    world.produce_record(change("Category", "u", columns, AVRO, partition=partition))


def test_an_outage_of_the_registry_makes_no_letters_and_holds_only_what_needs_it(world: World) -> None:
    """Nothing of it is committed; other topics go on; when it is back, everything is written in order."""
    world.registry.away = True
    for n in range(30):
        avro_category(world, f"c{n % 3}", f"v{n}", partition=n % 2)
    world.produce_record(tombstone("Category", "c2", AVRO))
    device = change("Device", "u", row("Device", id="d"))
    world.produce_record(device)
    on_device = Partition(f"{PREFIX}.Device", 0)
    world.run(until=lambda: world.committed.get(on_device) == 1)
    for _ in range(20):
        world.pipeline.run_once(world.source)
    assert {on_device: 1} == world.committed
    assert {f"{PREFIX}.Category"} == world.source.paused
    assert 0 < world.admission.held_records <= 2 * 2 * 7, "a poll of two partitions, and one more"
    assert "the registry is away" == str(world.admission.trouble)
    world.registry.away = False
    world.run()
    assert {"c0": "v27", "c1": "v28"} == {i: n for i, n in names(world, "categories").items() if i != "c2"}
    assert [] == world.letters.letters
    found = {o: world.sample("events_total", table="Category", outcome=o) for o in OUTCOMES}
    assert 31 == sum(found.values()) == world.sample("events_consumed_total", table="Category")


def test_what_is_held_is_not_ours_after_a_revocation(world: World) -> None:
    """The next owner reads it from what was committed."""
    avro_category(world, "a", "a")
    world.run()
    world.registry.away = True
    world.start()
    avro_category(world, "b", "b")
    avro_category(world, "c", "c", partition=1)
    world.run(until=lambda: world.admission.held_records == 2)
    world.source.revoke_next = {Partition(f"{PREFIX}.Category", 0)}
    world.run(until=lambda: world.admission.held_records == 1)
    world.registry.away = False
    world.run(until=lambda: "c" in names(world, "categories"))
    assert {"a", "c"} == names(world, "categories").keys()


def test_an_unknown_schema_is_a_letter_and_its_neighbours_are_written(world: World) -> None:
    """The registry has answered: nobody will ever read it."""
    avro_category(world, "a", "a")
    world.produce_raw("Category", "b", b"\0\0\0\0\x01\x02a")
    avro_category(world, "c", "c")
    world.run()
    assert {"a", "c"} == names(world, "categories").keys()
    assert ["no schema with the id 1"] == [str(error) for _, error in world.letters.letters]


def test_events_add_up(world: World) -> None:
    """Consumed = written + coalesced + skipped + dead-lettered, by table, with every outcome met."""
    world.sink.refuses = lambda document: document.get("name_en") == "refuse me"
    for n in range(40):
        key = f"c{n % 3}"
        world.produce("Category", key, category(key, "refuse me" if n % 11 == 5 else f"v{n}"))
    world.produce_raw("Category", "x", b"{}")
    world.produce_raw("Category", "x", b'{"op":"m","message":{}}')
    world.produce_raw("debezium_signal", "x", b"whatever")
    world.run()
    for table in ("Category", "debezium_signal"):
        found = {o: world.sample("events_total", table=table, outcome=o) for o in OUTCOMES}
        assert world.sample("events_consumed_total", table=table) == sum(found.values()), found
        assert 0.0 == world.sample("accounting_errors_total", table=table)
    assert all(world.sample("events_total", table="Category", outcome=o) for o in OUTCOMES - {"coalesced"})


OUTCOMES = {"written", "coalesced", "skipped", "dead_lettered"}


def test_a_revoked_partition_is_never_committed_again(world: World) -> None:
    """FakeSource refuses such a commit; the other partition goes on."""
    for n in range(20):
        world.produce("Category", f"c{n}", category(f"c{n}"), partition=n % 2)
    world.source.revoke_next = {Partition(f"{PREFIX}.Category", 0)}
    world.run(until=lambda: world.committed.get(Partition(f"{PREFIX}.Category", 1)) == 10)
    assert {f"c{n}" for n in range(1, 20, 2)} <= names(world).keys()


def test_what_is_lost_while_it_is_given_up_is_read_again_by_its_next_owner(world: World) -> None:
    """A process that sleeps in the middle of a revocation for too long is not told that it lost anything."""
    world.sink.fails = lambda: True
    world.produce("Category", "a", category("a"))
    world.run(until=lambda: world.lanes[2].trouble is not None)
    world.source.is_fenced = True
    world.lease.end()
    world.source.revoke_next = {Partition(f"{PREFIX}.Category", 0)}
    world.pipeline.run_once(world.source)
    assert [f"rewind/{PREFIX}.Category/0/me"] == list(world.control)


def test_what_is_given_up_in_time_is_not_read_again(world: World) -> None:
    """Nobody else had it meanwhile."""
    world.sink.fails = lambda: True
    world.produce("Category", "a", category("a"))
    world.run(until=lambda: world.lanes[2].trouble is not None)
    world.source.revoke_next = {Partition(f"{PREFIX}.Category", 0)}
    world.pipeline.run_once(world.source)
    assert {} == world.control


@pytest.mark.parametrize("turns", range(1, 12, 2))
def test_a_restart_at_any_turn_loses_nothing(world: World, turns: int) -> None:
    """What was not committed is read again by the next process, and the index converges."""
    flaky = itertools.cycle([True, False, False])
    world.sink.fails = lambda: next(flaky)
    for n in range(40):
        world.produce("Category", f"c{n % 5}", category(f"c{n % 5}", f"v{n}"))
    for _ in range(turns):
        world.pipeline.run_once(world.source)
    world.start()
    world.run()
    assert {f"c{n % 5}": f"v{n}" for n in range(35, 40)} == names(world)


def test_a_flood_of_letters_stops_the_line() -> None:
    """Past the limit nothing more is read, what is read is finished, and the offsets of the rest stay."""
    world = World(limit=20)
    for n in range(200):
        world.produce_raw("Category", f"c{n}", b"garbage")
    world.run(until=lambda: world.pipeline.is_stopped)
    for _ in range(5):
        world.pipeline.run_once(world.source)
    assert 20 <= len(world.letters.letters) < 40
    assert world.pipeline.finish(1.0)
    for lane in world.lanes:
        lane.stop(1.0)


def test_letters_that_no_broker_takes_pause_everything(world: World) -> None:
    """Memory stays bounded while the dead letter topic is away."""
    world.letters.stores = False
    for n in range(300):
        world.produce_raw("Category", f"c{n}", b"garbage")
    for _ in range(60):
        world.pipeline.run_once(world.source)
    assert 50 <= len(world.letters.letters) < 60
    world.letters.stores = True
    world.run()


def test_a_lane_that_broke_ends_the_process(world: World) -> None:
    """Instead of standing still, ready and silent."""
    world.sink.refuses = lambda document: document["no such field"]
    world.produce("Category", "a", category("a"))
    with pytest.raises(FatalError, match="categories broke: KeyError"):
        world.run()


def test_a_mapper_that_raises_makes_a_letter(world: World) -> None:
    """A bug in somebody's mapper is about a row, not about the daemon."""
    router = Router([Broken()])
    corridor = Corridor(JsonDecoder(PREFIX, router.reads), router)
    world.produce("Category", "a", category("a"))
    [record] = world.log[Partition(f"{PREFIX}.Category", 0)]
    with pytest.raises(MappingError, match="its mapper failed: KeyError"):
        corridor.change_of(record)


class Broken(TableMapper):
    """A mapper with a bug."""

    def __init__(self) -> None:
        super().__init__("Category", "categories", ())

    def map(self, event: ChangeEvent) -> DocumentChange | Skip:
        raise KeyError("oops")


def test_a_few_letters_on_a_quiet_topic_stop_nothing(world: World) -> None:
    """The limit needs a count, not only a share."""
    for n in range(5):
        world.produce_raw("Category", f"c{n}", b"garbage")
    world.run()
    assert not world.pipeline.is_stopped
