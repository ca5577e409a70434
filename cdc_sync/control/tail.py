"""The control topic, read from its start on.

Entries come out only when the end is reached: an errand may be followed by its outcome.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from cdc_sync.control.errands import Errand, Replayed, decoded
from cdc_sync.errors import CdcSyncError
from cdc_sync.reader import reading_consumer

__all__ = ["Entries", "Tail"]

LOOK_EVERY_S: Final = 3.0
WAIT_S: Final = 0.1


class Entries:
    """What was read of a table, and what of it stands: nothing does before the end is reached again."""

    def __init__(self) -> None:
        self._read: dict[str, Errand | Replayed | None] = {}
        self._stands = False
        self.has_ended = False

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """One more record; what is no entry of ours is left out."""
        entry = None if value is None else decoded(value)
        if key is None or (entry is None and value is not None):
            return
        name = key.decode("utf-8", "replace")
        self._read.pop(name, None)  # so that its place is that of its newest value
        self._read[name] = entry
        self._stands = False

    def end(self) -> None:
        """There is no more now."""
        self._stands = self.has_ended = True

    def fresh(self) -> list[tuple[str, Errand | Replayed | None]]:
        """What is new and stands, each once; None for what was removed."""
        if not self._stands:
            return []
        read, self._read = self._read, {}
        return list(read.items())


class Tail:
    """`config` is librdkafka's for any client. A topic that is not there yet is looked for now and then."""

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        self._topic = topic
        self._consumer = reading_consumer(config, "cdc-sync-control", lambda _: None)
        self._is_assigned = False
        self._is_missing = False
        self._look_at = float("-inf")
        self._entries = Entries()

    def read(self, timeout_s: float) -> list[tuple[str, Errand | Replayed | None]]:
        """What is new, once the end is reached; None stands for what was removed."""
        if not self._is_assigned and not self._assign():
            time.sleep(timeout_s)
            return []
        for message in self._consumer.consume(1_000, timeout_s):
            error = message.error()
            if error is None:
                self._entries.take(message.key(), message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._entries.end()
        return self._entries.fresh()

    @property
    def is_at_end(self) -> bool:
        """Whether the topic was read to its end once."""
        return self._entries.has_ended

    def wait_end(self, timeout_s: float) -> list[tuple[str, Errand | Replayed | None]] | None:
        """What the topic holds now; None where there is none. Raises `CdcSyncError` when nobody answers."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            entries = self.read(WAIT_S)
            if self.is_at_end:
                return entries
            if self._is_missing:
                return None
        raise CdcSyncError(f"the control topic {self._topic} cannot be read: no broker answers")

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _assign(self) -> bool:
        now = time.monotonic()
        if now - self._look_at < LOOK_EVERY_S:
            return False
        self._look_at = now
        self._is_missing = False
        try:
            topics = self._consumer.list_topics(timeout=LOOK_EVERY_S).topics
        except KafkaException:
            return False  # the polling thread says that no broker is there
        if self._topic in topics:
            self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
            self._is_assigned = True
        self._is_missing = not self._is_assigned
        return self._is_assigned
