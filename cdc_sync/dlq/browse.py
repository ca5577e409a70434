"""The dead letter topic for people: read from its start to the end that it has now, filtered, grouped.

Looking changes nothing. No letter is kept, only lines about them.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from cdc_sync.dlq.letter import DeadLetter, read_letter
from cdc_sync.errors import CdcSyncError
from cdc_sync.model import Partition
from cdc_sync.reader import Range, TopicReader

__all__ = [
    "Filter",
    "Group",
    "LetterLine",
    "Letters",
    "Place",
    "grouped",
    "line_of",
    "normalised",
    "place_of",
]


class Place(NamedTuple):
    """Where a letter lies; printed as `topic/partition/offset`."""

    partition: Partition
    offset: int

    def __str__(self) -> str:
        return f"{self.partition.topic}/{self.partition.number}/{self.offset}"


def place_of(text: str, topic: str) -> Place:
    """The place that a person wrote: `topic/partition/offset`, or `partition/offset` in `topic`.

    Raises `ValueError`.
    """
    *named, number, offset = text.rsplit("/", 2) if text.count("/") >= 2 else ("", *text.split("/"))
    if not (number.isascii() and number.isdigit() and offset.isascii() and offset.isdigit()):
        raise ValueError(
            f"{text!r} is not a position: expected TOPIC/PARTITION/OFFSET, as `dlq list` prints it"
        )
    return Place(Partition(named[0] or topic, int(number)), int(offset))


# Letters ------------------------------------------------------------------------------------------------

MAX_REASON: Final = 2_000


class LetterLine(Struct, frozen=True):
    """What a list needs of a letter: all but its bytes."""

    place: Place
    origin: Partition
    origin_offset: int
    stage: str
    error_class: str
    reason: str
    stored_at_ms: int

    @property
    def table(self) -> str:
        """The table that the letter is about."""
        return self.origin.topic.rpartition(".")[2]


class Letters:
    """A dead letter topic. Raises `CdcSyncError` when it does not exist."""

    def __init__(self, reader: TopicReader, topic: str) -> None:
        self._reader = reader
        self._partitions = reader.partitions(topic)
        self.not_letters = 0
        if not self._partitions:
            raise CdcSyncError(
                f"the topic {topic} does not exist: there was no dead letter yet, or the setting "
                "CDC_SYNC_KAFKA__DLQ_TOPIC is not the daemon's"
            )

    def lines(self, newest: int | None = None) -> Iterator[LetterLine]:
        """A line for each letter; with `newest` for at most so many, the newest ones, newest first."""
        ranges = self._reader.ranges(self._partitions)  # now, not when the first line is asked for
        if newest is None:
            return map(line_of, self._read(ranges))
        tails = {p: Range(max(held.start, held.end - newest), held.end) for p, held in ranges.items()}
        lines = map(line_of, self._read(tails))
        return iter(heapq.nlargest(newest, lines, key=lambda line: (line.stored_at_ms, line.place)))

    def all(self) -> Iterator[DeadLetter]:
        """Every letter that there is now, with its bytes."""
        return self._read(self._reader.ranges(self._partitions))

    def between(self, places: Collection[Place]) -> Iterator[DeadLetter]:
        """Every letter from the first to the last of these places in each partition."""
        offsets: dict[Partition, list[int]] = {}
        for place in places:
            offsets.setdefault(place.partition, []).append(place.offset)
        return self._read({p: Range(min(of), max(of) + 1) for p, of in offsets.items()})

    def letter(self, place: Place) -> DeadLetter:
        """The letter at this place. Raises `CdcSyncError` when there is none."""
        if place.partition not in self._partitions:
            raise CdcSyncError(
                f"{place}: {place.partition.topic} has the partitions 0 to {len(self._partitions) - 1}"
            )
        held = self._reader.ranges([place.partition])[place.partition]
        if not held.start <= place.offset < held.end:
            there = f"holds {held.start} to {held.end - 1}" if held.start < held.end else "is empty"
            raise CdcSyncError(f"{place}: there is no such offset, the partition {there}")
        for record in self._reader.read({place.partition: Range(place.offset, place.offset + 1)}):
            letter = read_letter(record)
            if letter is None:
                raise CdcSyncError(f"{place} is not a dead letter: the headers of one are missing")
            return letter
        raise CdcSyncError(f"{place}: the letter is gone (deleted or compacted)")

    def _read(self, ranges: Mapping[Partition, Range]) -> Iterator[DeadLetter]:
        for record in self._reader.read(ranges):
            letter = read_letter(record)
            if letter is None:
                self.not_letters += 1
            else:
                yield letter


def line_of(letter: DeadLetter) -> LetterLine:
    """The letter without its bytes."""
    return LetterLine(
        Place(letter.position.partition, letter.position.offset),
        letter.origin,
        letter.origin_offset,
        letter.stage,
        letter.error_class,
        letter.reason[:MAX_REASON],
        letter.stored_at_ms,
    )


class Filter(NamedTuple):
    """Which letters are wanted; None is any. Topic, table, partition and offsets are the origin's.

    `offsets` are the first and the last; times are when the letter was stored, `until_ms` not included.
    """

    topic: str | None = None
    table: str | None = None
    stage: str | None = None
    error: str | None = None
    since_ms: int | None = None
    partition: int | None = None
    offsets: tuple[int, int] | None = None
    until_ms: int | None = None

    def matches(self, line: LetterLine) -> bool:
        """Whether this letter is wanted; letter case does not matter, but for the topic's."""
        return (
            (self.topic is None or line.origin.topic == self.topic)
            and (self.table is None or line.table.lower() == self.table.lower())
            and (self.stage is None or line.stage.lower() == self.stage.lower())
            and (self.error is None or line.error_class.lower() == self.error.lower())
            and (self.since_ms is None or line.stored_at_ms >= self.since_ms)
            and (self.until_ms is None or line.stored_at_ms < self.until_ms)
            and (self.partition is None or line.origin.number == self.partition)
            and (self.offsets is None or self.offsets[0] <= line.origin_offset <= self.offsets[1])
        )


# Grouping -----------------------------------------------------------------------------------------------

MAX_GROUPS: Final = 1_000
OTHERS: Final = "(other reasons)"

QUOTED: Final = re.compile(r"""(?<!\w)b?'(?:[^'\\]|\\.)*(?:'|$)|(?<!\w)b?"(?:[^"\\]|\\.)*(?:"|$)""")
NUMBERED: Final = re.compile(r"[^\s,;:(){}\[\]`]*\d[^\s,;:(){}\[\]`]*")
TYPE_NAMES: Final = frozenset({"int32", "int64", "base64"})
NAMED_ID: Final = re.compile(r"\b(id:?) (?!is\b|of\b|should\b|must\b|cannot\b)\S+")
REPEATED: Final = re.compile(r"…(?:[:,\s]*…)+")


def normalised(reason: str, table: str) -> str:
    """The reason without what differs from row to row: ids, quoted values, numbers become `…`."""
    # Our mappers begin with "Product <id>: "; an id may be any text.
    text = re.sub(rf"\A{re.escape(table)} .+?: ", f"{table} …: ", reason, count=1, flags=re.DOTALL)
    text = QUOTED.sub("…", text)
    text = NAMED_ID.sub(r"\1 …", text)
    text = NUMBERED.sub(lambda found: found[0] if found[0].rstrip(".") in TYPE_NAMES else "…", text)
    return REPEATED.sub("…", text)


class Group(Struct):
    """Letters of one origin table, stage, class of error and normalised reason."""

    topic: str
    stage: str
    error_class: str
    reason: str
    count: int
    oldest_ms: int
    newest_ms: int
    example: Place


def grouped(lines: Iterable[LetterLine]) -> list[Group]:
    """The letters by reason, the most frequent first. Many kinds of reason end in one group of others."""
    groups: dict[tuple[str, str, str, str], Group] = {}
    for line in lines:
        about = (line.origin.topic, line.stage, line.error_class)
        key = (*about, normalised(line.reason, line.table))
        if key not in groups and len(groups) >= MAX_GROUPS:
            key = (*about, OTHERS)
        group = groups.get(key)
        if group is None:
            groups[key] = Group(*key, 1, line.stored_at_ms, line.stored_at_ms, line.place)
            continue
        group.count += 1
        group.oldest_ms = min(group.oldest_ms, line.stored_at_ms)
        if line.stored_at_ms >= group.newest_ms:
            group.newest_ms, group.example = line.stored_at_ms, line.place
    return sorted(groups.values(), key=lambda g: (-g.count, -g.newest_ms, g.topic, g.reason))
