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
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from cdc_sync.errors import IncompleteError
from cdc_sync.model import Delete, Document, DocumentChange, Partition, Record, Upsert
from cdc_sync.offsets import Span
from cdc_sync.schema import field_matches

__all__ = ["Asked", "Batch", "fold"]


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


RECORD_BYTES: Final = 300
"""What a record takes beside its value: its key, the message, what it asks for (roughly)."""


def memory_of(record: Record) -> int:
    """Bytes that a record keeps from being freed."""
    return RECORD_BYTES if record.value is None else RECORD_BYTES + len(record.value)


class Asked(Struct, eq=False, gc=False):
    """What a record asks for; in a batch, also what `later` ones asked of the same document, folded in.

    `committed_at_ms` is the source's commit time, None for snapshot reads.
    """

    record: Record
    change: DocumentChange
    committed_at_ms: int | None = None
    later: list[Asked] | None = None

    @property
    def records(self) -> list[Record]:
        """All the records that it comes from; the last one decides."""
        return [self.record, *(asked.record for asked in self.later or ())]

    def fold_in(self, asked: Asked) -> None:
        """Have the effect of both. Raises `IncompleteError`, and then this is as before."""
        self.change = asked.change = fold(self.change, asked.change)  # the mapped ones may be freed
        if self.later is None:
            self.later = [asked]
        else:
            self.later.append(asked)

    def without(self, partitions: Collection[Partition]) -> Asked | None:
        """The same change, less the records that came from these partitions; None when all of them did.

        A new value, since another thread may be writing this one.
        """
        left = [a for a in (self, *(self.later or ())) if a.record.partition not in partitions]
        if not left:
            return None
        first, *later = left
        return Asked(first.record, self.change, first.committed_at_ms, later or None)


class Batch:
    """What waits to be written: at most one change a document; it knows the spans that it settles.

    Built by one thread and then handed over; never shared. `asked` counts the records of each span that
    are in here. `shared` are spans of which a later batch has the rest, and settles them.
    """

    def __init__(self) -> None:
        self.changes: dict[str, dict[str, Asked]] = {}
        self.spans: list[Span] = []
        self.asked: Counter[Span] = Counter()
        self.shared: frozenset[Span] = frozenset()
        self.size_bytes = 0

    def add(self, asked: Asked) -> None:
        """Fold one more change in. Raises `IncompleteError`, and then the batch is as before."""
        change = asked.change
        documents = self.changes.get(change.collection)
        if documents is None:
            documents = self.changes[change.collection] = {}
        document_id = change.document["id"] if type(change) is Upsert else change.id
        first = documents.setdefault(document_id, asked)
        if first is not asked:
            first.fold_in(asked)
        self.size_bytes += memory_of(asked.record)

    def commit_times_ms(self) -> dict[str, list[int]]:
        """The source's commit times of all changes that have one, by topic."""
        times: defaultdict[str, list[int]] = defaultdict(list)
        for first in self:
            for asked in (first, *first.later) if first.later else (first,):
                if asked.committed_at_ms is not None:
                    times[asked.record.partition.topic].append(asked.committed_at_ms)
        return times

    @property
    def settles(self) -> list[Span]:
        """The spans that nobody else has anything of once this batch is written."""
        return [span for span in self.spans if span not in self.shared]

    def take(self, documents: int) -> Batch:
        """About so many documents, the oldest of each collection, leave for a batch that is written first."""
        head, total = Batch(), len(self)
        for collection, waiting in self.changes.items():
            cut = -(-len(waiting) * documents // total)
            head.changes[collection] = dict(islice(waiting.items(), cut))
            self.changes[collection] = dict(islice(waiting.items(), cut, None))
        span_of = self.find_spans()
        records = [record for asked in head for record in asked.records]
        head.asked = Counter(map(span_of, records))
        head.size_bytes = sum(map(memory_of, records))
        head.spans = [span for span in self.spans if span in head.asked]
        self.asked -= head.asked  # what becomes nothing is not in it any more
        self.size_bytes -= head.size_bytes
        self.spans = [span for span in self.spans if span in self.asked]
        head.shared = frozenset(head.spans).intersection(self.spans)
        return head

    def __len__(self) -> int:
        return sum(map(len, self.changes.values()))

    def __iter__(self) -> Iterator[Asked]:
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
        rest.shared = self.shared
        rest.asked = Counter({span: n for span, n in self.asked.items() if span.partition not in partitions})
        for collection, documents in self.changes.items():
            kept = {i: left for i, asked in documents.items() if (left := asked.without(partitions))}
            if kept:
                rest.changes[collection] = kept
        rest.size_bytes = sum(memory_of(record) for asked in rest for record in asked.records)
        return rest
