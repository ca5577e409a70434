"""Dead letters against librdkafka's own mock cluster: one counts when the broker has it, and none is lost."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from cdc_sync import outbox
from cdc_sync.dlq import KafkaDeadLetterQueue, letter_headers
from cdc_sync.errors import DecodeError, MappingError
from cdc_sync.model import Record
from tests.factories import record
from tests.kafka_mock import GROUP, MockKafka, mock_kafka

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
    plain: dict[str, Any] = {
        "key": b'{"id":"a"}',
        "value": b"\xff{",
        "headers": [("h", b"\x00"), ("n", None)],
    }
    return record("Product", offset=offset, partition=2, **plain | facts)


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [("plain", b'{"id":"a"}', b"\xff{\x00"), ("no-key", None, b""), ("no-value", b"", None)],
)
def test_a_letter_is_the_record_and_why(
    kafka: MockKafka, topic: str, key: bytes | None, value: bytes | None
) -> None:
    """Bytes, key (null is not empty) and headers as they were, then Connect's."""
    made(kafka, topic)
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
    by_key: dict[object, list[tuple[object, object]]] = {}
    for message in sorted(found, key=lambda m: (m.partition() or 0, m.offset() or 0)):
        offset = dict(message.headers() or ())["__connect.errors.offset"]
        by_key.setdefault(message.key(), []).append((message.partition(), offset))
    assert [1] * 5 == [len({partition for partition, _ in of}) for of in by_key.values()]
    for n in range(5):
        assert [b"%d" % o for o in range(n, 20, 5)] == [offset for _, offset in by_key[b"k%d" % n]]


def test_a_broker_that_is_away_loses_nothing(kafka: MockKafka) -> None:
    """Letters time out in the client and are sent again; once it is there, all arrive, and count once."""
    topic = made(kafka, "away")
    stored: list[int] = []
    said: list[tuple[str, str]] = []
    with Relay(kafka) as relay:
        letters = a_queue(
            f"127.0.0.1:{relay.port}", topic, timeout_ms=300, on_trouble=lambda *what: said.append(what)
        )
        began = time.monotonic()
        for n in range(5):
            letters.put(poison(n), ERROR, lambda n=n: stored.append(n))  # type: ignore[misc]  # the n of now
        assert time.monotonic() - began < 2 * outbox.MAKE_TOPIC_S  # looked for once, not for every letter
        wait(lambda: [event for event, _ in said].count("dead letter not stored") >= 10, letters)
        assert ([], 5, False) == (stored, letters.waiting, letters.flush(0.2))
        assert "dead letter topic not made" == said[0][0]
        relay.is_up = True
        wait(lambda: len(stored) >= 5, letters, 15)
        letters.serve()
    assert ([0, 1, 2, 3, 4], 0) == (sorted(stored), letters.waiting)
    found = [dict(m.headers() or ())["__connect.errors.offset"] for m in read(kafka, topic, 5)]
    assert [b"0", b"1", b"2", b"3", b"4"] == sorted(found, key=str)


class Relay:
    """A way to the mock cluster that is closed until `is_up`: the first step of a client goes through it."""

    def __init__(self, kafka: MockKafka) -> None:
        host, _, port = kafka.address.partition(":")
        self._to = (host, int(port))
        self.is_up = False
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                peer = self._listener.accept()[0]
            except TimeoutError:
                continue
            with peer:
                if self.is_up:
                    with socket.create_connection(self._to) as broker:
                        self._pass_on(peer, broker)

    def _pass_on(self, peer: socket.socket, broker: socket.socket) -> None:
        while not self._ended:
            for source in select.select([peer, broker], [], [], 0.05)[0]:
                part = source.recv(65_536)
                if not part:
                    return
                (broker if source is peer else peer).sendall(part)


def test_a_large_letter_arrives_whole(kafka: MockKafka) -> None:
    """Larger than a producer takes by default."""
    topic = made(kafka, "large")
    letters = a_queue(kafka.address, topic)
    letters.put(poison(value=b"x" * 2_000_000), ERROR, lambda: None)
    assert letters.flush(10)
    assert [2_000_000] == [len(m.value() or b"") for m in read(kafka, topic, 1)]


def test_a_letter_that_is_too_large_is_said_and_never_dropped(kafka: MockKafka) -> None:
    """Its record is not settled, so nothing is lost; an operator has to act."""
    topic = made(kafka, "too-large")
    said: list[tuple[str, str]] = []
    stored: list[str] = []
    letters = a_queue(kafka.address, topic, on_trouble=lambda *what: said.append(what))
    letters.put(poison(value=b"x" * 21_000_000), ERROR, lambda: stored.append("x"))
    assert ([], 1, False) == (stored, letters.waiting, letters.flush(0.3))
    assert (True, True) == (len(said) >= 2, all("too large" in why for _, why in said)), said
    assert {"dead letter not stored"} == {event for event, _ in said}


@pytest.mark.parametrize(("count", "size"), [(outbox.MAX_WAITING, 1), (2, outbox.MAX_WAITING_BYTES // 2)])
def test_it_is_full_of_many_or_of_large_letters(count: int, size: int) -> None:
    """Before that, it takes them; a clock that stands before the next try keeps them here."""
    letters = a_queue("127.0.0.1:9", "full", clock=lambda: -1.0)
    full = []
    for n in range(count):
        full.append(letters.is_full)
        letters.put(poison(n, key=None, headers=(), value=b"x" * size), ERROR, lambda: None)
    assert ([False] * count, True, count) == (full, letters.is_full, letters.waiting)


def test_it_is_not_full_any_more_when_letters_are_stored(kafka: MockKafka) -> None:
    """The bytes are given back."""
    now = [-1.0]
    letters = a_queue(kafka.address, made(kafka, "emptied"), clock=lambda: now[0])
    for n in range(4):
        letters.put(poison(n, value=b"x" * (outbox.MAX_WAITING_BYTES // 4)), ERROR, lambda: None)
    assert letters.is_full
    now[0] = 1.0
    wait(lambda: not letters.waiting, letters)
    assert not letters.is_full


def test_properties_of_a_producer_do_not_reach_the_admin_client() -> None:
    """It would warn of them; all the others reach it."""
    config = {"bootstrap.servers": "b", "sasl.password": "p", "security.protocol": "SASL_SSL"}
    assert config == outbox.admin_config(config | dict.fromkeys(outbox.PRODUCER_ONLY, "x"))


def test_a_failed_mapping_says_its_cause(kafka: MockKafka) -> None:
    """The class of the error, and what it came from."""
    topic = made(kafka, "cause")
    letters = a_queue(kafka.address, topic)
    error = MappingError("Product: its mapper failed")
    error.__cause__ = ZeroDivisionError("division by zero")
    letters.put(poison(), error, lambda: None)
    assert letters.flush(10)
    headers = dict(read(kafka, topic, 1)[0].headers() or ())
    assert (b"MappingError", b"ZeroDivisionError: division by zero") == (
        headers["__connect.errors.exception.class.name"],
        headers["__connect.errors.exception.stacktrace"],
    )
