"""A broker inside this process: librdkafka's mock cluster, on loopback. A stand-in, not a Kafka to rely on.

It keeps a few MB a partition and nothing over a restart. Topics come to be when they are asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from confluent_kafka import Producer

from cdc_sync.demo.recording import Message
from cdc_sync.errors import CdcSyncError

__all__ = ["EmbeddedBroker"]


class EmbeddedBroker:
    """The broker and the one who feeds it; it lives as long as this object."""

    def __init__(self) -> None:
        quiet = logging.getLogger("librdkafka.mock")
        quiet.setLevel(logging.CRITICAL)  # it says that it is a mock; so do we
        properties = {"test.mock.num.brokers": 1, "bootstrap.servers": "x", "linger.ms": 0, "logger": quiet}
        self._producer = Producer(properties)
        broker = next(iter(self._producer.list_topics(timeout=5).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def make_topic(self, name: str) -> None:
        """Have a topic; the mock knows no CreateTopics, but makes one that is asked for."""
        self._producer.list_topics(name, timeout=5)

    def feed(self, messages: Iterable[Message]) -> None:
        """Store messages in their partitions, in their order; they are there when this returns.

        Raises `CdcSyncError` when the broker does not take them.
        """
        for message in messages:
            self._producer.produce(
                message.topic,
                message.value,
                message.key,
                message.partition,
                headers=list(message.headers),
            )
        if self._producer.flush(10):
            raise CdcSyncError("the embedded broker does not take messages")
