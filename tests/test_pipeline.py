"""The corridor from records to commits, with a source, a sink and a dead letter queue in memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from cdc_sync.control import Desk
from cdc_sync.decoder import JsonDecoder
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.errors import FatalError, MappingError
from cdc_sync.lane import Lane
from cdc_sync.lease import Lease
from cdc_sync.mappers import MAPPERS
from cdc_sync.mappers.table import TableMapper
from cdc_sync.metrics import Metrics
from cdc_sync.model import (
    ChangeEvent,
    DocumentChange,
    Partition,
    Record,
    Skip,
)
from cdc_sync.pipeline import Corridor, Pipeline
from cdc_sync.routing import Router
from tests.corridor_fakes import FakeClerk, FakeSource, Letters, MemorySink

PREFIX = "nx.seller.public"


class World:
    """The wired corridor over a log of records."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.log: dict[Partition, list[Record]] = {}
        self.committed: dict[Partition, int] = {}
        self.control: dict[str, bytes] = {}
        self.sink = MemorySink()
        self.letters = Letters()
        self.metrics = Metrics("test")
        self.limit = limit
        self.lanes: list[Lane] = []
        self.start()

    def start(self) -> None:
        """A daemon that begins at what was committed."""
        for lane in self.lanes:
            lane.stop(2.0)
        router = Router(MAPPERS)
        decoder = JsonDecoder(PREFIX, router.reads)
        corridor = Corridor(decoder, router)
        self.lease = Lease(6.0, time.monotonic)
        self.clerk = FakeClerk(self.log, decoder.identity, self.control)
        lane_of = {
            c.name: Lane(
                c.name,
                [c.name],
                self.sink,
                corridor.change_of,
                max_waiting_bytes=100_000,
                max_waiting_documents=20,
                max_backoff_s=0.01,
                may_write=lambda: self.lease.is_held,
            )
            for c in router.collections
        }
        self.lanes = list(lane_of.values())
        topics = {c.name: [f"{PREFIX}.{t}" for t in router.tables_of(c.name)] for c in router.collections}
        self.pipeline = Pipeline(
            corridor,
            lane_of,
            topics,
            self.letters,
            DeadLetterLimit(count=self.limit, share=0.5, window_s=60, clock=time.monotonic),
            self.lease,
            Desk(self.clerk, decoder.identity, member="me", now_ms=lambda: 0),
            self.metrics,
            max_records=7,
            commit_every_s=0.0,
        )
        for lane in self.lanes:
            lane.start()
        self.source = FakeSource(self.log, self.committed)
        self.source.listener = self.pipeline

    def produce(self, table: str, key: str, after: dict[str, Any] | None, *, partition: int = 0) -> Record:
        """One event (or, with None, a delete) at the end of a partition."""
        event = {"op": "d" if after is None else "u", "after": after, "source": {"ts_ms": 1}}
        return self.produce_raw(table, key, msgspec.json.encode(event), partition=partition)

    def produce_raw(self, table: str, key: str, value: bytes | None, *, partition: int = 0) -> Record:
        """Any bytes at the end of a partition."""
        where = Partition(f"{PREFIX}.{table}", partition)
        records = self.log.setdefault(where, [])
        record = Record(where, len(records), msgspec.json.encode({"id": key}), value)
        records.append(record)
        self.source.positions.setdefault(where, self.committed.get(where, 0))
        return record

    def run(self, until: Callable[[], bool] | None = None, timeout_s: float = 5.0) -> None:
        """Turn until everything is committed (or something else is so)."""
        deadline = time.monotonic() + timeout_s
        done = until or self.is_committed
        while not done():
            assert time.monotonic() < deadline, f"not done: committed {self.committed}"
            self.pipeline.run_once(self.source)

    def is_committed(self) -> bool:
        """Every record of every partition is settled and committed."""
        return all(self.committed.get(p, 0) == len(records) for p, records in self.log.items())

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"cdc_sync_{name}", labels) or 0.0


def category(category_id: str, name: str = "x", **columns: Any) -> dict[str, Any]:
    """A row of Category."""
    row = {
        "id": category_id,
        "merchant_id": "m",
        "parent_id": None,
        "name": msgspec.json.encode({"en": name}).decode(),
        "position": 1,
        "status": "active",
        "created_at": "2026-01-02T03:04:05.678901Z",
        "modified_at": "2026-01-02T03:04:05.678901Z",
        "deleted_at": None,
    }
    return row | columns


@pytest.fixture
def world() -> Iterator[World]:
    """A world whose lanes are stopped at the end."""
    world = World()
    yield world
    for lane in world.lanes:
        lane.stop(2.0)


def names(world: World) -> dict[str, str]:
    """English names of the categories, by id."""
    return {key.id: document["name_en"] for key, document in world.sink.documents.items()}


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
        corridor.ask(record)


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
