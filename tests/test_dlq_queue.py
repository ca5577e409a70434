"""Dead letters against librdkafka's own mock cluster: one counts when the broker has it, and none is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from cdc_sync.dlq import KafkaDeadLetterQueue, letter_headers, queue
from cdc_sync.errors import DecodeError, MappingError
from cdc_sync.model import Partition, Record
from tests.factories import record
from tests.kafka_mock import GROUP, MockKafka, mock_kafka
from tests.test_connection import free_port

ERROR = DecodeError("not JSON: đ")


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    yield from mock_kafka()


def made(kafka: MockKafka, topic: str) -> str:
    """The topic, made: the mock knows no CreateTopics, but makes what is asked for."""
    AdminClient({"bootstrap.servers": kafka.address, "log_level": 0}).list_topics(topic, timeout=5)
    return topic


def a_queue(address: str, topic: str, **options: Any) -> KafkaDeadLetterQueue:
    """With the properties that the daemon sets, as far as they matter here."""
    properties = {
        "bootstrap.servers": address,
        "log_level": 0,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "message.max.bytes": 20_971_520,
        "message.timeout.ms": options.pop("timeout_ms", 30_000),
        "partitioner": "murmur2_random",
        "reconnect.backoff.max.ms": 100,
    }
    return KafkaDeadLetterQueue(properties, topic, group=GROUP, retry_every_s=0.1, **options)


def read(kafka: MockKafka, topic: str, count: int, timeout_s: float = 10.0) -> list[Message]:
    """So many messages of all four partitions, or what is there in time."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.address, "group.id": "reader", "log_level": 0, "fetch.wait.max.ms": 5,
         "fetch.message.max.bytes": 20_000_000}
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, n, 0) for n in range(4)])
    found: list[Message] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline:
        found += [m for m in consumer.consume(100, 0.05) if m.error() is None]
    found += [m for m in consumer.consume(100, 0.2) if m.error() is None]
    consumer.close()
    return found


def wait(until: Callable[[], object], letters: KafkaDeadLetterQueue, timeout_s: float = 10.0) -> None:
    """Serve until something is so."""
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline
        letters.serve()
        time.sleep(0.01)


def poison(offset: int = 7, **facts: Any) -> Record:
    """A record that nobody can read."""
    plain: dict[str, Any] = {"key": b'{"id":"a"}', "value": b"\xff{", "headers": [("h", b"\x00"), ("n", None)]}
    return record("Product", offset=offset, partition=2, **plain | facts)


@pytest.mark.parametrize(("key", "value"), [(b'{"id":"a"}', b"\xff{\x00"), (None, b""), (b"", None)])
def test_a_letter_is_the_record_and_why(kafka: MockKafka, key: bytes | None, value: bytes | None) -> None:
    """Bytes, key (null is not empty) and headers as they were, then Connect's."""
    topic = made(kafka, f"as-it-was-{key!r}-{value is None}".replace("'", "").replace('"', "")
                 .replace("{", "").replace("}", "").replace(":", ""))  # fmt: skip
    bad = poison(key=key, value=value)
    letters = a_queue(kafka.address, topic)
    letters.put(bad, ERROR, lambda: None)
    assert letters.flush(10)
    [message] = read(kafka, topic, 1)
    assert (key, value) == (message.key(), message.value())
    assert letter_headers(bad, ERROR, group=GROUP) == message.headers()
    headers = dict(message.headers() or ())
    assert (b"\x00", None, b"nx.seller.public.Product", b"2", b"7", b"VALUE_CONVERTER") == (
        headers["h"],
        headers["n"],
        *(headers[f"__connect.errors.{name}"] for name in ("topic", "partition", "offset", "stage")),
    )


def test_a_letter_counts_when_the_broker_has_it(kafka: MockKafka) -> None:
    """Not when it is put, not when it is sent; then once."""
    topic = made(kafka, "counts")
    letters = a_queue(kafka.address, topic)
    stored: list[int] = []
    for n in range(3):
        letters.put(poison(n), ERROR, lambda n=n: stored.append(n))  # type: ignore[misc]  # the n of now
    assert ([], 3) == (stored, letters.waiting)
    wait(lambda: len(stored) == 3, letters)
    assert (0, [0, 1, 2]) == (letters.waiting, sorted(stored))
    letters.serve()
    assert 3 == len(stored) == len(read(kafka, topic, 3))


def test_a_keys_letters_lie_where_the_connector_puts_its_records(kafka: MockKafka) -> None:
    """Java's partitioner, so one key's letters stay in their order."""
    topic = made(kafka, "partitions")
    letters = a_queue(kafka.address, topic)
    for n in range(20):
        letters.put(poison(n, key=b"k%d" % (n % 5)), ERROR, lambda: None)
    assert letters.flush(10)
    found = read(kafka, topic, 20)
    by_key: dict[bytes | None, list[tuple[int | None, bytes | None]]] = {}
    for message in sorted(found, key=lambda m: (m.partition() or 0, m.offset() or 0)):
        offset = dict(message.headers() or ())["__connect.errors.offset"]
        by_key.setdefault(message.key(), []).append((message.partition(), offset))
    assert [1] * 5 == [len({partition for partition, _ in of}) for of in by_key.values()]
    for n in range(5):
        assert [b"%d" % o for o in range(n, 20, 5)] == [offset for _, offset in by_key[b"k%d" % n]]


def test_a_broker_that_is_away_loses_nothing() -> None:
    """Letters time out in the client and are sent again; once it is there, all arrive and count once."""
    port, stored, said = free_port(), [], []
    letters = a_queue(
        f"127.0.0.1:{port}", "away", timeout_ms=150, on_trouble=lambda event, why: said.append(event)
    )
    letters._made_topic = True  # five seconds of waiting are another test's
    for n in range(5):
        letters.put(poison(n), ERROR, lambda n=n: stored.append(n))  # type: ignore[misc]  # the n of now
    wait(lambda: said.count("dead letter not stored") >= 10, letters)
    assert ([], 5, False) == (stored, letters.waiting, letters.flush(0.2))
    with relayed(port) as kafka:
        wait(lambda: len(stored) >= 5, letters, 15)
        letters.serve()
        assert ([0, 1, 2, 3, 4], 0) == (sorted(stored), letters.waiting)
        found = {dict(m.headers() or ())["__connect.errors.offset"] for m in read(kafka, "away", 5)}
        assert {b"0", b"1", b"2", b"3", b"4"} == found
