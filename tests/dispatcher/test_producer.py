"""Producers as the broker sees them: their client ids, and keys where Java's clients put them."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from cdc_sync.app import producer_config
from cdc_sync.config import Settings
from cdc_sync.dispatcher.errors import NotPublished, Reject
from cdc_sync.dispatcher.events import EVENTS, Event, ProductUpdated
from cdc_sync.dispatcher.producer import Producers
from cdc_sync.dispatcher.reading import read
from tests.dispatcher.harness import counted, new_meters, run
from tests.dispatcher.tables import KAFKA_TOPICS, PRODUCERS
from tests.kafka_mock import MockKafka, mock_kafka

MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
"""Kafka's own test vectors (`UtilsTest.testMurmur2`)."""


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    yield from mock_kafka()


def producers(address: str) -> Producers:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": address}})
    return Producers(producer_config(settings) | {"message.timeout.ms": 2_000}, new_meters())


class Ear:
    """A port that hears the client ids in the first requests of whoever connects."""

    def __init__(self) -> None:
        self.client_ids: set[str] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
                head = connection.recv(512)
            except OSError:
                return
            with connection:
                (size,) = struct.unpack(
                    "!h", head[12:14]
                )  # length, key, version, correlation id, then its length
                self.client_ids.add(head[14 : 14 + size].decode())

    def close(self) -> None:
        self._server.close()


def example(topic: str) -> Event:
    """Some event of a topic."""
    names = ("saleOrder", "purchaseOrder", "merchant", "product", "productVariant", "ledger")
    return read(EVENTS[topic], json.dumps({f"{name}Id": "1" for name in names}).encode())


@pytest.mark.parametrize(("topic", "service", "_"), KAFKA_TOPICS)
def test_the_broker_sees_the_client_id_of_the_service(topic: str, service: str, _: list[str]) -> None:
    ear = Ear()
    made = producers(ear.address)

    async def main() -> None:
        sending = asyncio.ensure_future(made.publish(example(topic)))
        async with asyncio.timeout(20):
            while not ear.client_ids:
                await asyncio.sleep(0.02)
        sending.cancel()

    run(main())
    made._made[dict(PRODUCERS)[service]]._producer.purge()
    made.close(5)
    ear.close()
    assert ear.client_ids == {dict(PRODUCERS)[service]}


@pytest.mark.parametrize("key", MURMUR2)
def test_a_key_lies_where_java_would_put_it(key: str, kafka: MockKafka) -> None:
    made = producers(kafka.address)
    receipt = run(made.publish(ProductUpdated(product_id=key)))
    made.close(5)
    assert receipt.topic == "product.updated"
    assert receipt.partition == (MURMUR2[key] & 0x7FFFFFFF) % 4


def test_what_is_not_acknowledged_is_not_published() -> None:
    made = producers("127.0.0.1:1")
    with pytest.raises(NotPublished, match=r"product\.updated"):
        run(made.publish(ProductUpdated(product_id="1")))
    assert counted(made._meters, "published_total", topic="product.updated", outcome="failed") == 1
    made.close(5)


def test_a_topic_of_nobody_is_refused() -> None:
    made = producers("127.0.0.1:1")
    with pytest.raises(Reject, match="no service produces"):
        run(made.send("somebody.elses", "k", b"{}", []))
