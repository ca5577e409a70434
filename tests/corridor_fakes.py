"""A source, a registry, a sink and a dead letter queue in memory, for the corridor."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence

from cdc_sync.compaction import Batch
from cdc_sync.control.errands import Errand, Replayed, decoded
from cdc_sync.control.search import Evidence, Search, found
from cdc_sync.errors import RecordError, RegistryUnavailable, SinkUnavailable
from cdc_sync.model import Delete, Document, DocumentKey, Partition, Record, Rejection, Upsert
from cdc_sync.protocols import RebalanceListener
from tests import avro

__all__ = ["FakeClerk", "FakeSource", "FlakyRegistry", "Letters", "MemorySink"]


class FakeSource:
    """Records by partition, delivered in order from what was committed; a restart is a new one."""

    def __init__(self, log: Mapping[Partition, Sequence[Record]], committed: dict[Partition, int]) -> None:
        self.log = log
        self.committed = committed
        self.positions = {p: committed.get(p, 0) for p in log}
        self.paused: set[str] = set()
        self.revoke_next: set[Partition] = set()
        self.listener: RebalanceListener | None = None
        self.loses_commits = 0
        self.may_go_back = False
        self.is_fenced = False
        self.refuses_commits = False
        self.renewals = 0
        self.clock: Callable[[], float] = time.monotonic

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        if self.revoke_next and self.listener is not None:
            gone, self.revoke_next = self.revoke_next, set()
            self.listener.on_revoked(gone, lost=False)
            self.positions = {p: o for p, o in self.positions.items() if p not in gone}
        records: list[Record] = []
        for partition, position in self.positions.items():
            if partition.topic not in self.paused:
                taken = self.log[partition][position : position + max_records]
                self.positions[partition] += len(taken)
                records += taken
        if not records:
            time.sleep(0.001)
        return records

    @property
    def owned(self) -> frozenset[Partition]:
        return frozenset(self.positions)

    def commit(self, offsets: Mapping[Partition, int], wait: bool = False) -> bool:
        for partition, offset in offsets.items():
            assert partition in self.positions, "committed a partition that is not owned"
            backwards = offset <= self.committed.get(partition, 0)
            assert not backwards or self.may_go_back, "committed backwards, or twice"
        if self.refuses_commits:
            return False
        if self.loses_commits and not wait:
            self.loses_commits -= 1
            return False
        self.committed |= offsets
        if self.listener is not None:
            self.listener.on_committed(offsets, self.clock())
        return True

    def renew(self, wait: bool = False) -> None:
        self.renewals += 1
        if self.listener is not None and not self.is_fenced:
            self.listener.on_committed({}, self.clock())

    def next_offset(self, partition: Partition) -> int | None:
        return self.positions.get(partition)

    def seek(self, partition: Partition, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, topics: Collection[str]) -> None:
        self.paused = set(topics)

    def close(self) -> None:
        pass


class FakeClerk:
    """The control topic in memory, and the log of a `FakeSource` to search in; answers when asked."""

    def __init__(
        self,
        log: Mapping[Partition, Sequence[Record]],
        identity_of: Callable[[Record], bytes | None],
        control: dict[str, bytes] | None = None,
    ) -> None:
        self.log = log
        self.control: dict[str, bytes] = {} if control is None else control
        self.is_away = False
        self._identity_of = identity_of
        self._known: dict[str, bytes] = {}
        self._searches: deque[tuple[Search, Callable[[Evidence], None]]] = deque()

    def search(self, search: Search, on_evidence: Callable[[Evidence], None]) -> None:
        self._searches.append((search, on_evidence))

    def put(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.control.pop(key, None)
        else:
            self.control[key] = value

    def deliver(self, on_entry: Callable[[str, Errand | Replayed | None], None]) -> None:
        for key in [key for key in self._known if key not in self.control]:
            del self._known[key]
            on_entry(key, None)
        for key, value in self.control.items():
            if self._known.get(key) != value:
                self._known[key] = value
                on_entry(key, decoded(value))
        for _ in range(0 if self.is_away else len(self._searches)):
            search, on_evidence = self._searches.popleft()
            records = self.log[search.partition]
            low = records[0].offset if records else 0
            to = len(records) if search.end is None else search.end
            within = [r for r in records if search.start <= r.offset < to]
            on_evidence(found(within, search, low, to, self._identity_of))


class MemorySink:
    """Documents in a dict; `fails` is asked before each call, `refuses` for each document.

    `incomplete` is asked for changes that need what is stored.
    """

    def __init__(self) -> None:
        self.documents: dict[DocumentKey, Document] = {}
        self.fails: Callable[[], bool] = lambda: False
        self.refuses: Callable[[Document], bool] = lambda _: False
        self.incomplete: Callable[[Upsert], bool] = lambda _: False
        self.writes = 0

    def open(self) -> None:
        pass

    def write(self, batch: Batch) -> Sequence[Rejection]:
        if self.fails():
            raise SinkUnavailable("away")
        self.writes += 1
        rejections = []
        for pending in batch:
            change = pending.change
            key = DocumentKey(change.collection, change.id)
            if isinstance(change, Delete):
                self.documents.pop(key, None)
            elif self.incomplete(change):
                rejections.append(Rejection(key, "nobody knows", is_incomplete=True))
            elif self.refuses(change.document):
                rejections.append(Rejection(key, "refused"))
            else:
                self.documents[key] = change.document
        return rejections

    def abort(self) -> None:
        pass


class Letters:
    """Dead letters in a list; with `stores` false nothing is acknowledged."""

    def __init__(self) -> None:
        self.letters: list[tuple[Record, RecordError]] = []
        self.stores = True
        self._waiting: deque[Callable[[], None]] = deque()

    def put(self, record: Record, error: RecordError, on_stored: Callable[[], None]) -> None:
        self.letters.append((record, error))
        self._waiting.append(on_stored)

    def serve(self) -> None:
        while self.stores and self._waiting:
            self._waiting.popleft()()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= 50


class FlakyRegistry:
    """The schemas of `tests.avro`, by a registry that may be away."""

    def __init__(self) -> None:
        self.away = False

    def find(self, schema_id: int) -> Sequence[str]:
        if self.away:
            raise RegistryUnavailable("the registry is away")
        return avro.SCHEMAS.find(schema_id)
