"""The only place that knows what is safe to commit.

Records are taken in *spans*: the records of one partition that one poll returned, in offset order. A span
is settled when nobody holds it any more: no lane has a change of it to write and no dead letter of it
waits for the broker. Committable is the end of the unbroken run of settled spans, so an offset is
committed only when every event below it is applied, skipped on purpose, or acknowledged as a dead letter
(promise 2). The cost is per poll, not per record.

A span also carries the account of its records (promise 10): when it is settled, every one of them has
exactly one outcome. What is revoked before that is not accounted for, since it will be read again.

Not thread-safe: everything here is called by the thread that polls.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from enum import Enum

from cdc_sync.model import Partition, Record

__all__ = ["OffsetTracker", "Outcome", "Span"]


class Outcome(str, Enum):
    """What became of an event; exactly one each."""

    WRITTEN = "written"
    COALESCED = "coalesced"
    SKIPPED = "skipped"
    DEAD_LETTERED = "dead_lettered"


class Span:
    """A run of `count` records of one partition; `next_offset` is what to commit once it is settled.

    `is_dropped`: its partition was revoked before; what becomes of its records is not ours to say.
    `is_replay`: its one record was not polled, but comes from a dead letter, perhaps beside the same one.
    """

    __slots__ = (
        "count",
        "first_offset",
        "holds",
        "is_dropped",
        "is_replay",
        "newest",
        "next_offset",
        "outcomes",
        "partition",
    )

    def __init__(self, first: Record, *, is_replay: bool = False) -> None:
        self.is_replay = is_replay
        self.partition = first.partition
        self.first_offset = first.offset
        self.next_offset = first.offset + 1
        self.newest = first
        self.count = 1
        self.holds = 0
        self.is_dropped = False
        self.outcomes: Counter[Outcome] = Counter()

    def hold(self) -> None:
        """Somebody still has work from this span."""
        self.holds += 1

    def release(self) -> None:
        """One holder is done with it."""
        self.holds -= 1

    @property
    def without_outcome(self) -> int:
        """How many of its records are not accounted for yet."""
        return self.count - self.outcomes.total()

    def __repr__(self) -> str:
        topic, number = self.partition
        return f"<Span {topic}[{number}] {self.first_offset}..{self.next_offset - 1} held {self.holds}x>"


class OffsetTracker:
    """Spans in, offsets to commit out: `open` → `Span.hold`, `release` → `settle` → `committable`."""

    def __init__(self) -> None:
        self._spans: dict[Partition, deque[Span]] = {}
        self._begins: dict[Partition, int] = {}
        self._settled: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}

    def open(self, records: Iterable[Record]) -> dict[Partition, Span]:
        """The spans of one poll, one a partition. Offsets of a partition must ascend; gaps are fine."""
        spans: dict[Partition, Span] = {}
        for record in records:
            span = spans.get(record.partition)
            if span is None:
                spans[record.partition] = Span(record)
            else:
                span.newest = record
                span.next_offset = record.offset + 1
                span.count += 1
        for partition, span in spans.items():
            self._spans.setdefault(partition, deque()).append(span)
            self._begins.setdefault(partition, span.first_offset)
        return spans

    def settle(self) -> list[Span]:
        """The spans that are settled now, with nothing unsettled before them; each is returned once."""
        settled = []
        for partition, spans in self._spans.items():
            while spans and not spans[0].holds:
                span = spans.popleft()
                self._settled[partition] = span.next_offset
                settled.append(span)
        return settled

    def committable(self) -> dict[Partition, int]:
        """Next offsets that are safe to commit and were not committed yet."""
        return {p: o for p, o in self._settled.items() if self._committed.get(p) != o}

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has these now (those of a partition that was revoked meanwhile are not ours to know)."""
        self._committed.update({p: o for p, o in offsets.items() if p in self._settled})

    def uncommitted(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where the next owner of these begins, for those of which anything was read beyond that."""
        begins = {p: self._committed.get(p, self._begins[p]) for p in partitions if p in self._begins}
        return {p: begin for p, begin in begins.items() if self._spans[p] or self._settled[p] != begin}

    def revoke(self, partitions: Collection[Partition]) -> None:
        """Forget these partitions: another member reads them from what was committed."""
        for partition in partitions:
            for span in self._spans.pop(partition, ()):
                span.is_dropped = True
            self._begins.pop(partition, None)
            self._settled.pop(partition, None)
            self._committed.pop(partition, None)

    @property
    def open_spans(self) -> int:
        """How many spans are not settled yet."""
        return sum(len(spans) for spans in self._spans.values())
