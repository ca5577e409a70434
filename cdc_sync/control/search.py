"""Does a row have a later event? Asked of the log, from the event's own place on.

Order per key in the log is the truth, so an event may be applied late only where no later one of its row
is in the log. The log may have lost the evidence: a record that was compacted away had a later one of its
key, for nothing else removes it; a record that retention has removed may have taken later ones with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cdc_sync.model import Partition, Record

__all__ = ["Evidence", "Identity", "Search", "found"]

Identity = bytes
"""A row's key, however it is written on the wire."""


class Search(NamedTuple):
    """Look in `partition` from `start` on (up to `end`, None: up to its end now) for later events.

    `after`: the rows, each with the offset of the event that is asked about.
    """

    partition: Partition
    start: int
    end: int | None
    after: Mapping[Identity, int]


class Evidence(NamedTuple):
    """What the log says: `low` is its first offset; what was searched goes from `start` to `to`.

    `later` has the first later event of each row that has one; `present` the rows whose own event is still
    at its place (of those that the search has passed by).
    """

    low: int
    start: int
    to: int
    later: Mapping[Identity, int]
    present: frozenset[Identity]

    def is_superseded(self, row: Identity, offset: int) -> bool:
        """Whether the event of this row at `offset` has a later one, found or compacted away with it."""
        was_compacted = max(self.low, self.start) <= offset < self.to and row not in self.present
        return row in self.later or was_compacted


def found(
    records: Iterable[Record],
    search: Search,
    low: int,
    to: int,
    identity_of: Callable[[Record], Identity | None],
) -> Evidence:
    """The evidence in these records of the partition, which are all that there are from `start` to `to`."""
    later: dict[Identity, int] = {}
    present = set()
    for record in records:
        row = identity_of(record)
        if row is None or row not in search.after:
            continue
        after = search.after[row]
        if record.offset > after:
            later.setdefault(row, record.offset)
        elif record.offset == after:
            present.add(row)
    return Evidence(low, search.start, to, later, frozenset(present))
