"""The dead letter topic for people: read from its start to the end that it has now, filtered, grouped.

A reader assigns itself what it reads. It joins no group, commits nothing and makes no topic, so looking
changes nothing; it keeps no letter, only lines about them.
"""

from __future__ import annotations

import heapq
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct

from cdc_sync.dlq.letter import DeadLetter, read_letter
from cdc_sync.errors import CdcSyncError, ConfigError
from cdc_sync.model import Headers, Partition, Record

__all__ = [
    "Filter",
    "Group",
    "LetterLine",
    "Letters",
    "Place",
    "Range",
    "TopicReader",
    "grouped",
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


# Reading ------------------------------------------------------------------------------------------------


class Range(NamedTuple):
    """Offsets of a partition: `start` is the first, `end` the one that the next record will get."""

    start: int
    end: int


READ_AT_ONCE: Final = 100
WAIT_S: Final = 0.25

READER: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "auto.offset.reset": "earliest",  # what was deleted since we asked for the range is passed over
    "queued.max.messages.kbytes": 16_384,
    "fetch.max.bytes": 16_777_216,
    "fetch.wait.max.ms": 100,
}


class TopicReader:
    """Reads ranges of partitions, outside of every group. `config` is librdkafka's, for any client.

    Raises `CdcSyncError` with one line where the broker or a topic is missing.
    """

    def __init__(self, config: Mapping[str, Any], *, timeout_s: float = 5.0) -> None:
        self._address = str(config.get("bootstrap.servers", ""))
        self._timeout_s = timeout_s
        self._trouble = ""
        # A group id is demanded by librdkafka; this one is nobody's, and no group comes to be.
        self.group_id = f"cdc-sync-reader-{uuid.uuid4().hex[:12]}"
        try:
            self._consumer = Consumer(
                {**config, **READER, "group.id": self.group_id, "error_cb": self._on_error}
            )
        except KafkaException as error:
            raise ConfigError(f"CDC_SYNC_KAFKA__EXTRA: {error.args[0].str()}") from error

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> tuple[Partition, ...]:
        """The partitions of a topic, none when it does not exist."""
        # All topics are asked for: a broker may make a topic that it is asked about by name.
        try:
            found = self._consumer.list_topics(timeout=self._timeout_s).topics.get(topic)
        except KafkaException as error:
            raise self._silence(error.args[0]) from error
        return tuple(Partition(topic, number) for number in sorted(found.partitions)) if found else ()

    def ranges(self, partitions: Iterable[Partition]) -> dict[Partition, Range]:
        """What the partitions hold now."""
        held = {}
        for partition in partitions:
            try:
                marks = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=self._timeout_s
                )
            except KafkaException as error:
                raise self._silence(error.args[0]) from error
            held[partition] = Range(*marks) if marks else Range(0, 0)
        return held

    def read(self, ranges: Mapping[Partition, Range]) -> Iterator[Record]:
        """The records of these ranges, those of a partition in order. Ends by itself."""
        ends = {partition: held.end for partition, held in ranges.items() if held.start < held.end}
        self._consumer.assign([TopicPartition(*p, ranges[p].start) for p in ends])
        heard_at = time.monotonic()
        while ends:
            messages = self._consumer.consume(1, WAIT_S)
            messages += self._consumer.consume(READ_AT_ONCE, 0) if messages else []
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > self._timeout_s:
                raise self._silence(None)
            for message in messages:
                yield from self._within(message, ends)
        self._consumer.unassign()

    def _within(self, message: Message, ends: dict[Partition, int]) -> Iterator[Record]:
        """The record, if it lies before its partition's end; what is read to its end is taken from `ends`."""
        partition = Partition(message.topic() or "", message.partition() or 0)
        error, offset = message.error(), message.offset() or 0
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                ends.pop(partition, None)
            else:
                self._trouble = error.str()
        elif partition in ends:
            if offset + 1 >= ends[partition]:
                end = ends.pop(partition)
                if offset >= end:  # the last ones were compacted away
                    return
            yield record_of(message, partition)

    def _on_error(self, error: KafkaError) -> None:
        # "All brokers are down" says less than the connection's own words, which come before it.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._trouble:
            self._trouble = error.str()

    def _silence(self, error: KafkaError | None) -> CdcSyncError:
        with suppress(KafkaException):
            self._consumer.poll(0)  # hears why, by `_on_error`
        reason = self._trouble or (error.str() if error is not None else "no records came")
        return CdcSyncError(
            f"no broker answers at {self._address} (CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS): {reason}"
        )


def record_of(message: Message, partition: Partition) -> Record:
    """confluent-kafka's message as ours."""
    return Record(
        partition,
        message.offset() or 0,
        message.key(),
        message.value(),
        message.timestamp,
        cast(Callable[[], Headers | None], message.headers),
    )


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
            return self._lines(ranges)
        tails = {p: Range(max(held.start, held.end - newest), held.end) for p, held in ranges.items()}
        chosen = heapq.nlargest(newest, self._lines(tails), key=lambda line: (line.stored_at_ms, line.place))
        return iter(chosen)

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

    def _lines(self, ranges: Mapping[Partition, Range]) -> Iterator[LetterLine]:
        for record in self._reader.read(ranges):
            letter = read_letter(record)
            if letter is None:
                self.not_letters += 1
                continue
            yield LetterLine(
                Place(record.partition, record.offset),
                letter.origin,
                letter.origin_offset,
                letter.stage,
                letter.error_class,
                letter.reason[:MAX_REASON],
                letter.stored_at_ms,
            )


class Filter(NamedTuple):
    """Which letters are wanted; None is any. `topic` and `table` are the origin's."""

    topic: str | None = None
    table: str | None = None
    stage: str | None = None
    error: str | None = None
    since_ms: int | None = None

    def matches(self, line: LetterLine) -> bool:
        """Whether this letter is wanted; letter case does not matter, but for the topic's."""
        return (
            (self.topic is None or line.origin.topic == self.topic)
            and (self.table is None or line.table.lower() == self.table.lower())
            and (self.stage is None or line.stage.lower() == self.stage.lower())
            and (self.error is None or line.error_class.lower() == self.error.lower())
            and (self.since_ms is None or line.stored_at_ms >= self.since_ms)
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
