"""Kafka producers, one a client id, made on first use; publishing returns once the broker has acknowledged.

Keys lie where Java's clients put them (murmur2). An event that was published again after a lost
acknowledgement may be stored twice: consumers tell by `ce_id`.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.context import Receipt
from cdc_sync.dispatcher.errors import NotPublished, Reject
from cdc_sync.dispatcher.events import Event, encode
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.outbox import OwnTopic, make_topic

__all__ = ["Producers", "cloud_event"]

Headers = Sequence[tuple[str, bytes | None]]

REFUSED: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD})
"""What the broker will never take, because of what it is."""
CLIENT_ID_OF: Final = {producer.service: producer.client_id for producer in catalog.PRODUCERS}
PRODUCER_OF: Final = {topic.name: CLIENT_ID_OF[topic.producer] for topic in (*catalog.TOPICS, catalog.INBOX)}


def cloud_event(address: str, source: str, event_id: str | None = None) -> Headers:
    """CloudEvents' headers in binary mode: what the event is, beside a body that stays as it was."""
    facts = {
        "ce_specversion": "1.0",
        "ce_id": event_id or str(uuid.uuid4()),
        "ce_source": f"/{source}",
        "ce_type": address,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    return [(name, text.encode()) for name, text in facts.items()]


class Producers:
    """Publishes as the service that owns a topic. On the event loop; `close` elsewhere."""

    def __init__(self, config: Mapping[str, Any], meters: Meters) -> None:
        self._config = dict(config)
        self._meters = meters
        self._made: dict[str, PolledProducer] = {}

    async def publish(self, event: Event, *, event_id: str | None = None) -> Receipt:
        """As `Outlets.publish`."""
        topic = event.address
        headers = cloud_event(topic, PRODUCER_OF.get(topic, ""), event_id or event.event_id)
        return await self.send(topic, event.key, encode(event), headers)

    async def send(self, topic: str, key: str, body: bytes, headers: Headers) -> Receipt:
        """A body to a topic of the catalog. Raises `NotPublished`, or `Reject` for what no broker takes."""
        client_id = PRODUCER_OF.get(topic)
        if client_id is None:
            raise Reject(f"no service produces {topic!r}")
        if client_id not in self._made:
            self._made[client_id] = PolledProducer({**self._config, "client.id": client_id})
        try:
            receipt = await self._made[client_id].send(topic, key.encode(), body, headers)
        except NotPublished:
            self._meters.count("published_total", topic, "failed")
            raise
        self._meters.count("published_total", topic, "stored")
        return receipt

    def make_topic(self, topic: str, partitions: int, replication_factor: int) -> str | None:
        """Make a topic of ours that is not there; why that failed. Blocks."""
        return make_topic(self._config, OwnTopic(topic, partitions, replication_factor, {}))

    def close(self, timeout_s: float) -> bool:
        """Wait until all is acknowledged or given up; whether nothing is left."""
        left = [producer for producer in self._made.values() if not producer.close(timeout_s)]
        return not left


class PolledProducer:
    """A librdkafka producer and the thread that hears its acknowledgements."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._producer = Producer(dict(config))
        self._closing = threading.Event()
        self._thread = threading.Thread(
            target=self._poll, name=f"producer-{config.get('client.id')}", daemon=True
        )
        self._thread.start()

    async def send(self, topic: str, key: bytes, body: bytes, headers: Headers) -> Receipt:
        """Where it is stored. Raises `NotPublished`, `Reject`."""
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[Receipt] = loop.create_future()
        try:
            self._producer.produce(
                topic,
                body,
                key,
                headers=list(headers),
                on_delivery=self._hearing(loop, acknowledged),
            )
        except BufferError as error:
            raise NotPublished(f"{topic}: too much waits for the broker") from error
        except KafkaException as error:
            raise trouble(topic, error.args[0]) from error
        return await acknowledged

    def _hearing(
        self, loop: asyncio.AbstractEventLoop, acknowledged: asyncio.Future[Receipt]
    ) -> Callable[[KafkaError | None, Message], None]:
        def settle(error: KafkaError | None, receipt: Receipt) -> None:
            if acknowledged.done():  # nobody waits any more
                return
            if error is None:
                acknowledged.set_result(receipt)
            else:
                acknowledged.set_exception(trouble(receipt.topic, error))

        def hear(error: KafkaError | None, message: Message) -> None:
            receipt = Receipt(message.topic() or "", message.partition() or 0, message.offset() or 0)
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, error, receipt)

        return hear

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)

    def close(self, timeout_s: float) -> bool:
        """Flush; whether nothing is left."""
        self._closing.set()
        self._thread.join()
        return self._producer.flush(timeout_s) == 0


def trouble(topic: str, error: KafkaError) -> NotPublished | Reject:
    """The broker's error as ours."""
    kind = Reject if error.code() in REFUSED else NotPublished
    return kind(f"{topic}: {error.str()}")
