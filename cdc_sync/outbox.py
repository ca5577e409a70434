"""Records to a topic of ours, sent again until the broker has acknowledged them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from cdc_sync.model import Headers

__all__ = ["Outbox", "OwnTopic", "make_topic"]

MAKE_TOPIC_S: Final = 5.0
BY_KEY: Final = -1

PRODUCER_ONLY: Final = frozenset(
    {
        "acks",
        "compression.type",
        "enable.idempotence",
        "linger.ms",
        "message.timeout.ms",
        "partitioner",
    }
)

MAX_WAITING: Final = 1_000
MAX_WAITING_BYTES: Final = 16_777_216


class OwnTopic(NamedTuple):
    """A topic that we make where it is missing; `config` are its properties then.

    `replication_factor` -1 is the broker's default. Of a topic that is to have one partition, only the first
    is written to, whoever has made it.
    """

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


class Parcel(NamedTuple):
    """One record on its way."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    on_stored: Callable[[], None]

    @property
    def size_bytes(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


class Outbox:
    """Sends with `acks=all`, idempotently, and again until the records are stored.

    All calls come from one thread. `what` names a record in the words that `on_trouble(event, reason)` is
    told of every failed try.
    """

    def __init__(
        self,
        producer_config: Mapping[str, Any],
        topic: OwnTopic,
        *,
        what: str,
        on_trouble: Callable[[str, str], None] = lambda *_: None,
        retry_every_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = dict(producer_config)
        self._producer = Producer(self._config)
        self._topic = topic
        self._what = what
        self._on_trouble = on_trouble
        self._retry_every_s = retry_every_s
        self._clock = clock
        self._made_topic = False
        self._unsent: deque[Parcel] = deque()
        self._sent = 0
        self._waiting_bytes = 0
        self._retry_at = 0.0

    def put(
        self, key: bytes | None, value: bytes | None, headers: Headers, on_stored: Callable[[], None]
    ) -> None:
        """Store a record; `on_stored` is called from `serve` once the broker has acknowledged it."""
        parcel = Parcel(key, value, headers, on_stored)
        self._waiting_bytes += parcel.size_bytes
        self._unsent.append(parcel)
        self.serve()

    def serve(self) -> None:
        """Send what waits, hear what the broker says."""
        while self._unsent and self._clock() >= self._retry_at:
            if not self._made_topic:
                self.make_topic()
            parcel = self._unsent[0]
            try:
                self._producer.produce(
                    self._topic.name,
                    value=parcel.value,
                    key=parcel.key,
                    partition=0 if self._topic.partitions == 1 else BY_KEY,
                    headers=list(parcel.headers),
                    on_delivery=partial(self._delivered, parcel),
                )
            except (BufferError, KafkaException) as error:
                self._unsent.rotate(-1)  # one that is too large must not stand before the others
                self._later(str(error))
                break
            self._unsent.popleft()
            self._sent += 1
        self._producer.poll(0)

    @property
    def is_full(self) -> bool:
        """Whether as many unstored records, or as large ones, wait here as memory allows."""
        return self.waiting >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES

    @property
    def waiting(self) -> int:
        """Records that no broker has acknowledged yet."""
        return len(self._unsent) + self._sent

    def flush(self, timeout_s: float) -> bool:
        """Wait until every record is stored; whether that came true in time."""
        deadline = self._clock() + timeout_s
        while self.waiting and self._clock() < deadline:
            self.serve()
            self._producer.flush(0.1)
        return not self.waiting

    def make_topic(self) -> None:
        """Before the first record: our messages may be larger than a broker's default allows.

        Where that is not for us to do, the records are sent all the same: the broker may make the topic.
        """
        self._made_topic = True
        reason = make_topic(self._config, self._topic)
        if reason is not None:
            self._on_trouble(f"{self._what} topic not made", reason)

    def _delivered(self, parcel: Parcel, error: KafkaError | None, _: Message) -> None:
        self._sent -= 1
        if error is None:
            self._waiting_bytes -= parcel.size_bytes
            parcel.on_stored()
            return
        self._unsent.append(parcel)
        self._made_topic = error.code() not in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
        self._later(error.str())

    def _later(self, reason: str) -> None:
        self._retry_at = self._clock() + self._retry_every_s
        self._on_trouble(f"{self._what} not stored", reason)


def make_topic(producer_config: Mapping[str, Any], topic: OwnTopic) -> str | None:
    """Make a topic that is missing; why that failed, None when it is there."""
    admin = AdminClient(admin_config(producer_config))
    name, partitions, replication_factor, config = topic
    try:
        if name in admin.list_topics(timeout=MAKE_TOPIC_S).topics:
            return None
        new = NewTopic(name, partitions, replication_factor, config=dict(config))
        admin.create_topics([new], request_timeout=MAKE_TOPIC_S)[name].result(MAKE_TOPIC_S)
    except KafkaException as error:
        found: KafkaError = error.args[0]
        return None if found.code() == KafkaError.TOPIC_ALREADY_EXISTS else found.str()
    except TimeoutError:
        return "no answer from the broker"
    return None


def admin_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A producer's properties without those that an admin client would warn of."""
    return {name: value for name, value in config.items() if name not in PRODUCER_ONLY}
