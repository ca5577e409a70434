"""The wired corridor over a log in memory, with a source, a sink, a control topic and letters in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from cdc_sync.control import Desk
from cdc_sync.decoder import JsonDecoder
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.lane import Lane
from cdc_sync.lease import Lease
from cdc_sync.mappers import MAPPERS
from cdc_sync.metrics import Metrics
from cdc_sync.model import Partition, Record
from cdc_sync.pipeline import Corridor, Pipeline
from cdc_sync.routing import Router
from tests.corridor_fakes import FakeClerk, FakeSource, Letters, MemorySink

__all__ = ["PREFIX", "World", "category", "names"]

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

    def run_all(self, table: str, *ids: str) -> None:
        """An event of each of these rows, written and committed."""
        for row_id in ids:
            self.produce(table, row_id, category(row_id))
        self.run()

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


def names(world: World) -> dict[str, str]:
    """English names of the categories, by id."""
    return {key.id: document["name_en"] for key, document in world.sink.documents.items()}
