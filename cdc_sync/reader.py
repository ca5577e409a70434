"""Ranges of partitions, read outside of every group: what a topic holds, from here to there.

A reader assigns itself what it reads. It joins no group, commits nothing and makes no topic, so looking
changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from cdc_sync.errors import CdcSyncError, ConfigError
from cdc_sync.model import Headers, Partition, Record

__all__ = ["Range", "TopicReader", "reading_consumer", "record_of"]


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


def reading_consumer(
    config: Mapping[str, Any], group_id: str, on_error: Callable[[KafkaError], None]
) -> Consumer:
    """A consumer that is assigned what it reads. Raises `ConfigError` for a property that is none."""
    try:
        return Consumer({**config, **READER, "group.id": group_id, "error_cb": on_error})
    except KafkaException as error:
        raise ConfigError(f"CDC_SYNC_KAFKA__EXTRA: {error.args[0].str()}") from error


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
        self._consumer = reading_consumer(config, self.group_id, self._on_error)

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
