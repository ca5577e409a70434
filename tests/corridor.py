"""The wired corridor over a log in memory, with a source, a sink, a control topic and letters in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from cdc_sync.admission import AdmitKnown
from cdc_sync.control import Desk
from cdc_sync.corridor import Corridor
from cdc_sync.decoder import WireDecoder
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.lane import Lane
from cdc_sync.lease import Lease
from cdc_sync.mappers import MAPPERS
from cdc_sync.metrics import Metrics
from cdc_sync.model import Partition, Record
from cdc_sync.pipeline import Pipeline
from cdc_sync.routing import Router
from tests.corridor_fakes import FakeClerk, FakeSource, FlakyRegistry, Letters, MemorySink

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
        self.registry = FlakyRegistry()
        self.admission = AdmitKnown(self.registry)
        self.start()

    def start(self) -> None:
        """A daemon that begins at what was committed."""
        for lane in self.lanes:
            lane.stop(2.0)
        self.admission.stop(2.0)
        self.admission = AdmitKnown(self.registry, patience_s=0.2, max_backoff_s=0.01)
        router = Router(MAPPERS)
        decoder = WireDecoder(PREFIX, router.reads, None, self.admission)
        corridor = Corridor(decoder, router)
        self.lease = Lease(6.0, time.monotonic)
        on_its_own_thread = WireDecoder(PREFIX, router.reads, None, self.registry)
        self.clerk = FakeClerk(self.log, on_its_own_thread.identity, self.control)
        lane_of = {c.name: self._lane(c.name, corridor) for c in router.collections}
        self.lanes = list(lane_of.values())
        topics = {c.name: [f"{PREFIX}.{t}" for t in router.tables_of(c.name)] for c in router.collections}
        self.pipeline = Pipeline(
            corridor,
            lane_of,
            topics,
            self.letters,
            DeadLetterLimit(count=self.limit, share=0.5, window_s=60, clock=time.monotonic),
            self.lease,
            Desk(
                self.clerk,
                decoder.identity,
                member="me",
                now_ms=lambda: 0,
                is_known=self.admission.is_known,
            ),
            self.metrics,
            admission=self.admission,
            max_records=7,
            commit_every_s=0.0,
        )
        for lane in self.lanes:
            lane.start()
        self.admission.start()
        self.source = FakeSource(self.log, self.committed)
        self.source.listener = self.pipeline

    def _lane(self, name: str, corridor: Corridor) -> Lane:
        return Lane(
            name,
            [name],
            self.sink,
            corridor.change_of,
            max_waiting_bytes=100_000,
            max_waiting_documents=20,
            max_backoff_s=0.01,
            may_write=lambda: self.lease.is_held,
        )

    def produce(self, table: str, key: str, after: dict[str, Any] | None, *, partition: int = 0) -> Record:
        """One event (or, with None, a delete) at the end of a partition."""
        event = {"op": "d" if after is None else "u", "after": after, "source": {"ts_ms": 1}}
        return self.produce_raw(table, key, msgspec.json.encode(event), partition=partition)

    def produce_raw(self, table: str, key: str, value: bytes | None, *, partition: int = 0) -> Record:
        """Any bytes at the end of a partition."""
        where = Partition(f"{PREFIX}.{table}", partition)
        return self.produce_record(Record(where, 0, msgspec.json.encode({"id": key}), value))

    def produce_record(self, made: Record) -> Record:
        """Key and value of this one at the end of its partition."""
        where = made.partition
        records = self.log.setdefault(where, [])
        record = Record(where, len(records), made.key, made.value)
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


def names(world: World, collection: str = "") -> dict[str, str]:
    """English names of the categories (or of a collection), by id."""
    found = {key: d for key, d in world.sink.documents.items() if collection in ("", key.collection)}
    return {key.id: document["name_en"] for key, document in found.items()}
