"""Letters to a Kafka topic; a letter counts only when the broker has acknowledged it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cdc_sync.dlq.letter import letter_headers
from cdc_sync.errors import RecordError
from cdc_sync.model import Record
from cdc_sync.outbox import Outbox, OwnTopic

__all__ = ["KafkaDeadLetterQueue"]

TOPIC: Final[Mapping[str, str]] = {"max.message.bytes": "20971520", "retention.ms": "-1"}


class KafkaDeadLetterQueue:
    """Makes letters of records. All calls come from the polling thread.

    `on_trouble(event, reason)` is told of every failed try.
    """

    def __init__(
        self,
        producer_config: Mapping[str, Any],
        topic: str,
        *,
        group: str,
        partitions: int = 3,
        replication_factor: int = -1,
        on_trouble: Callable[[str, str], None] = lambda *_: None,
        retry_every_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._outbox = Outbox(
            producer_config,
            OwnTopic(topic, partitions, replication_factor, TOPIC),
            what="dead letter",
            on_trouble=on_trouble,
            retry_every_s=retry_every_s,
            clock=clock,
        )
        self.serve = self._outbox.serve
        self.flush = self._outbox.flush

    def put(self, record: Record, error: RecordError, on_stored: Callable[[], None]) -> None:
        """Store a letter; `on_stored` is called from `serve` once the broker has acknowledged it."""
        headers = letter_headers(record, error, group=self._group)
        self._outbox.put(record.key, record.value, headers, on_stored)

    @property
    def is_full(self) -> bool:
        """Whether as many unstored letters, or as large ones, wait here as memory allows."""
        return self._outbox.is_full

    @property
    def waiting(self) -> int:
        """Letters that no broker has acknowledged yet."""
        return self._outbox.waiting
