"""Fold many changes of a document into one, remembering the records they came from.

All changes of a row share a partition, so they are folded in the order of arrival and no positions are
compared. Whatever waits for the sink is folded, so a slow sink makes a batch better, not a queue longer.

| earlier | later                 | together                                                       |
|---------|-----------------------|----------------------------------------------------------------|
| any     | Delete                | the Delete                                                     |
| any     | Upsert of a whole row | the later Upsert                                               |
| Upsert  | Upsert that keeps     | the later one, with what it keeps taken from the earlier one   |
| Delete  | Upsert that keeps     | refused: what it could not see went with the deleted document  |
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from msgspec import Struct

from cdc_sync.errors import IncompleteError
from cdc_sync.model import Delete, Document, DocumentChange, Partition, Record, Upsert
from cdc_sync.offsets import Span
from cdc_sync.schema import field_matches

__all__ = ["Asked", "Batch", "Pending", "fold"]


def fold(earlier: DocumentChange, later: DocumentChange) -> DocumentChange:
    """One change with the effect of both, in this order. Raises `IncompleteError` where there is none."""
    if isinstance(later, Delete) or not later.keep:
        return later
    if isinstance(earlier, Delete):
        raise IncompleteError(
            f"{later.collection} {later.id}: {', '.join(later.keep)} are not in the log, and the document "
            "they could be taken from was deleted: set REPLICA IDENTITY FULL, or read the row again by "
            "incremental snapshot"
        )
    document: Document = dict(later.document)
    for name, value in earlier.document.items():
        if field_matches(name, later.keep):
            document[name] = value
    return Upsert(later.collection, document, tuple(n for n in later.keep if n in earlier.keep))


class Pending(Struct, eq=False):
    """One document's change, and the records that were folded into it (the last one decides)."""

    change: DocumentChange
    records: list[Record]


RECORD_BYTES: Final = 300
"""What a record takes beside its value: its key, the message, what it asks for (roughly)."""


def memory_of(record: Record) -> int:
    """Bytes that a record keeps from being freed."""
    return RECORD_BYTES if record.value is None else RECORD_BYTES + len(record.value)


class Asked(Struct, frozen=True, gc=False):
    """What one record asks for. `committed_at_ms` is the source's commit time, None for snapshot reads."""

    record: Record
    change: DocumentChange
    committed_at_ms: int | None = None


class Batch:
    """What waits to be written: at most one change a document; it knows the spans that it settles.

    Built by one thread and then handed over; never shared. `asked` counts the records of each span that
    are in here, `commit_times_ms` are theirs by topic.
    """

    def __init__(self) -> None:
        self.changes: dict[str, dict[str, Pending]] = {}
        self.spans: list[Span] = []
        self.asked: Counter[Span] = Counter()
        self.commit_times_ms: defaultdict[str, list[int]] = defaultdict(list)
        self.size_bytes = 0

    def add(self, asked: Asked) -> None:
        """Fold one more change in. Raises `IncompleteError`, and then the batch is as before."""
        record, change = asked.record, asked.change
        documents = self.changes.get(change.collection)
        if documents is None:
            documents = self.changes[change.collection] = {}
        document_id = change.document["id"] if type(change) is Upsert else change.id
        pending = documents.get(document_id)
        if pending is None:
            documents[document_id] = Pending(change, [record])
        else:
            pending.change = fold(pending.change, change)
            pending.records.append(record)
        self.size_bytes += memory_of(record)
        if asked.committed_at_ms is not None:
            self.commit_times_ms[record.partition.topic].append(asked.committed_at_ms)

    def __len__(self) -> int:
        return sum(map(len, self.changes.values()))

    def __iter__(self) -> Iterator[Pending]:
        for documents in self.changes.values():
            yield from documents.values()

    def find_spans(self) -> Callable[[Record], Span]:
        """A function from a record of this batch to the span that it was read in, or is replayed as."""
        replayed = {id(span.newest): span for span in self.spans if span.is_replay}
        by_partition: dict[Partition, tuple[list[int], list[Span]]] = {}
        polled = (span for span in self.spans if not span.is_replay)
        for span in sorted(polled, key=lambda span: span.first_offset):
            firsts, spans = by_partition.setdefault(span.partition, ([], []))
            firsts.append(span.first_offset)
            spans.append(span)

        def span_of(record: Record) -> Span:
            if id(record) in replayed:
                return replayed[id(record)]
            firsts, spans = by_partition[record.partition]
            return spans[bisect_right(firsts, record.offset) - 1]

        return span_of

    def without(self, partitions: Collection[Partition]) -> Batch:
        """The batch less everything that came from these partitions."""
        rest = Batch()
        rest.spans = [span for span in self.spans if span.partition not in partitions]
        rest.asked = Counter({span: n for span, n in self.asked.items() if span.partition not in partitions})
        for collection, documents in self.changes.items():
            left = ((i, p.change, not_from(p.records, partitions)) for i, p in documents.items())
            kept = {document_id: Pending(change, records) for document_id, change, records in left if records}
            if kept:
                rest.changes[collection] = kept
        rest.size_bytes = sum(memory_of(record) for pending in rest for record in pending.records)
        return rest


def not_from(records: Iterable[Record], partitions: Collection[Partition]) -> list[Record]:
    """The records that came from other partitions."""
    return [record for record in records if record.partition not in partitions]
