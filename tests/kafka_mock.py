"""librdkafka's mock cluster as a fixture's body: a broker for tests without one, on loopback.

It knows no CreateTopics, DescribeConfigs or DescribeGroups; topics come to be with their first record and
have four partitions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from confluent_kafka import Producer

from cdc_sync.dlq import letter_headers
from cdc_sync.errors import RecordError
from cdc_sync.model import Record

GROUP = "a-group"


class MockKafka:
    """A producer that is the cluster, too: it lives as long as this object."""

    def __init__(self) -> None:
        quiet = logging.getLogger("librdkafka.mock")
        quiet.setLevel(logging.CRITICAL)
        properties = {"test.mock.num.brokers": 1, "bootstrap.servers": "x", "logger": quiet}
        self._producer = Producer(properties)
        broker = next(iter(self._producer.list_topics(timeout=5).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def write(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = b"k",
        *,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int = 0,
    ) -> None:
        """One record; it is there when this returns."""
        self._producer.produce(
            topic,
            value,
            key,
            partition,
            headers=list(headers),
            timestamp=timestamp_ms,
        )
        self._producer.flush(5)

    def write_letter(
        self, topic: str, record: Record, error: RecordError, *, partition: int = 0, stored_at_ms: int = 0
    ) -> None:
        """A letter, as the daemon writes it."""
        headers = letter_headers(record, error, group=GROUP)
        self.write(
            topic, record.value, record.key, partition=partition, headers=headers, timestamp_ms=stored_at_ms
        )


def mock_kafka() -> Iterator[MockKafka]:
    """For a fixture: `yield from mock_kafka()`."""
    yield MockKafka()
