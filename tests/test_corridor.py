"""From records to a server: the pipeline, its lanes and the real sink, with the stand-in for Typesense.

What becomes of a thousand documents when one of them is bad, and of all of them when nothing can be written.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pytest

from cdc_sync.app import resolver
from cdc_sync.control import Desk
from cdc_sync.corridor import Corridor
from cdc_sync.decoder import JsonDecoder
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.errors import RejectedError, SinkMisconfigured
from cdc_sync.lane import Lane
from cdc_sync.lease import Lease
from cdc_sync.mappers import MAPPERS
from cdc_sync.metrics import Metrics
from cdc_sync.model import Partition, Record
from cdc_sync.pipeline import Pipeline
from cdc_sync.routing import Router
from cdc_sync.sink import TypesenseSink
from cdc_sync.sink.collections import Collections, client_of
from cdc_sync.sink.connection import Connection
from cdc_sync.typesense_standin import Fault, StandIn
from tests.corridor_fakes import FakeClerk, FakeSource, Letters

CATEGORIES: Final = Partition("nx.seller.public.Category", 0)
COUNT: Final = 1_000
BAD: Final = 617


class World:
    """The corridor of one table, over a server."""

    def __init__(self, server: StandIn) -> None:
        self.server = server
        self.log: dict[Partition, list[Record]] = {CATEGORIES: []}
        self.committed: dict[Partition, int] = {}
        self.letters = Letters()
        self.metrics = Metrics("test")
        [mapper] = [m for m in MAPPERS if m.table == "Category"]
        router = Router([mapper])
        [self.collection] = router.collections
        decoder = JsonDecoder("nx.seller.public", router.reads)
        corridor = Corridor(decoder, router)
        lease = Lease(6.0, time.monotonic)
        self.lane = self.make_lane(corridor, lease)
        self.pipeline = Pipeline(
            corridor,
            {"categories": self.lane},
            {"categories": [CATEGORIES.topic]},
            self.letters,
            DeadLetterLimit(count=100, share=0.5, window_s=60, clock=time.monotonic),
            lease,
            Desk(FakeClerk(self.log, decoder.identity, {}), decoder.identity, member="me", now_ms=lambda: 0),
            self.metrics,
            commit_every_s=0.0,
        )
        self.source = FakeSource(self.log, self.committed)
        self.source.listener = self.pipeline

    def make_lane(self, corridor: Corridor, lease: Lease) -> Lane:
        """The lane with the real sink."""
        self.admin = Collections(client_of([self.server.url], self.server.api_key))
        self.connection = Connection([self.server.url], self.server.api_key)
        resolve = resolver(self.admin, [self.collection], lambda *_: None)
        return Lane(
            "categories",
            ["categories"],
            TypesenseSink(self.connection, resolve, resolve_every_s=0.0),
            corridor.change_of,
            max_waiting_bytes=10_000_000,
            max_waiting_documents=10_000,
            max_backoff_s=0.05,
            may_write=lambda: lease.is_held,
        )

    def produce(self, first: int, count: int, **columns: Callable[[int], object]) -> None:
        """Rows with ids of their own; a column that is given is made from the number."""
        for number in range(first, first + count):
            row = {"id": f"c{number}", "merchant_id": "m", "parent_id": "p", "name": '{"en": "n"}',
                   "position": number, "status": "a", "created_at": STAMP, "modified_at": STAMP,
                   "deleted_at": None} | {name: make(number) for name, make in columns.items()}  # fmt: skip
            key = msgspec.json.encode({"id": row["id"]})
            value = msgspec.json.encode({"op": "c", "after": row, "source": {"ts_ms": 1}})
            records = self.log[CATEGORIES]
            records.append(Record(CATEGORIES, len(records), key, value))

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Turn until everything is committed, or something else is so."""
        deadline = time.monotonic() + 60
        done = until or (lambda: self.committed.get(CATEGORIES) == len(self.log[CATEGORIES]))
        while not done():
            assert time.monotonic() < deadline, (self.committed, self.lane.trouble)
            self.pipeline.run_once(self.source)

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """What the server answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        headers = {"X-TYPESENSE-API-KEY": self.server.api_key}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        assert answer.status < 400, content
        return content

    def make_collection(self, *, name: str = "categories_1", **changed: Any) -> None:
        """The collection and its alias; `changed` are other attributes of some fields."""
        schema = self.collection.as_json(name)
        for field in schema["fields"]:
            field |= changed.get(field["name"], {})
        self.ask("POST", "/collections", schema)
        self.ask("PUT", "/aliases/categories", {"collection_name": name})

    def stored(self) -> set[str]:
        """The ids in the index."""
        lines = self.ask("GET", "/collections/categories/documents/export").split(b"\n")
        return {json.loads(line)["id"] for line in lines if line}

    def outcomes(self) -> dict[str, float]:
        """Records by outcome."""
        samples = [s for metric in self.metrics.registry.collect() for s in metric.samples]
        return {
            s.labels["outcome"]: s.value for s in samples if s.name == "cdc_sync_events_total" and s.value
        }

    def close(self) -> None:
        self.lane.stop(2.0)
        self.connection.close()
        self.admin.close()


STAMP: Final = "2026-01-02T03:04:05.678901Z"


@pytest.fixture
def world() -> Iterator[World]:
    with StandIn(port=0, api_key="xyz") as server:
        world = World(server)
        yield world
        world.close()


def only_letter(world: World) -> tuple[Record, str]:
    """The record and the reason of the one dead letter."""
    [(record, error)] = world.letters.letters
    assert isinstance(error, RejectedError)
    return record, str(error)


def test_one_document_that_is_refused_among_a_thousand(world: World) -> None:
    """Its line says 400: one letter with Typesense's reason, and 999 documents."""
    world.make_collection(parentId={"optional": False})
    world.produce(0, COUNT, parent_id=lambda number: None if number == BAD else "p")
    world.lane.start()
    world.run()
    record, reason = only_letter(world)
    assert (BAD, True) == (record.offset, "parentId" in reason)
    assert {f"c{n}" for n in range(COUNT) if n != BAD} == world.stored()
    assert {"written": COUNT - 1, "dead_lettered": 1} == world.outcomes()


def test_one_document_that_fails_the_whole_batch_of_a_thousand(world: World) -> None:
    """Every line says 500: the culprit is found, and the 999 others are written."""
    fault = world.server.faults.add(Fault(kind="batch_500", ids=(f"c{BAD}",)))
    world.produce(0, COUNT)
    world.lane.start()
    world.run()
    assert fault.fired > 1
    record, _ = only_letter(world)
    assert BAD == record.offset
    assert {f"c{n}" for n in range(COUNT) if n != BAD} == world.stored()
    assert {"written": COUNT - 1, "dead_lettered": 1} == world.outcomes()


def drop_collection(world: World) -> None:
    world.ask("DELETE", "/collections/categories_1")


def drop_alias(world: World) -> None:
    world.ask("DELETE", "/aliases/categories")


def drop_both(world: World) -> None:
    drop_alias(world)
    drop_collection(world)


def point_alias_at_nothing(world: World) -> None:
    world.ask("PUT", "/aliases/categories", {"collection_name": "categories_9"})


@pytest.mark.parametrize("spoil", [drop_collection, drop_alias, drop_both, point_alias_at_nothing])
def test_a_missing_collection_or_alias_stops_the_line_until_it_is_mended(
    world: World, spoil: Callable[[World], None]
) -> None:
    """No dead letters, nothing committed, an operator is asked for; then it goes on by itself."""
    world.lane.start()
    world.produce(0, 10)
    world.run()
    spoil(world)
    world.produce(10, COUNT)
    world.run(until=lambda: isinstance(world.lane.trouble, SinkMisconfigured))
    for _ in range(50):
        world.pipeline.run_once(world.source)
    assert ([], {CATEGORIES: 10}) == (world.letters.letters, world.committed)
    assert not world.pipeline.is_stopped
    world.make_collection(name="categories_2")
    world.run()
    assert {f"c{n}" for n in range(10, 10 + COUNT)} <= world.stored()
    assert [] == world.letters.letters
    assert world.lane.trouble is None
