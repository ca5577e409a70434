"""Letters to a Kafka topic; a letter counts only when the broker has acknowledged it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from cdc_sync.dlq.letter import letter_headers
from cdc_sync.errors import RecordError
from cdc_sync.model import Record

__all__ = ["KafkaDeadLetterQueue", "make_topic"]


MAKE_TOPIC_S: Final = 5.0

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


class Letter(NamedTuple):
    """One letter on its way."""

    record: Record
    headers: list[tuple[str, bytes | None]]
    on_stored: Callable[[], None]


class KafkaDeadLetterQueue:
    """Writes letters with `acks=all`, idempotently, and again until they are stored.

    All calls come from the polling thread. `on_trouble(event, reason)` is told of every failed try.
    """

    def __init__(
        self,
        producer_config: Mapping[str, Any],
        topic: str,
        *,
        group: str,
        partitions: int = 1,
        replication_factor: int = -1,
        on_trouble: Callable[[str, str], None] = lambda *_: None,
        retry_every_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = dict(producer_config)
        self._producer = Producer(self._config)
        self._topic = topic
        self._new_topic = NewTopic(
            topic,
            partitions,
            replication_factor,
            config={"max.message.bytes": "20971520", "retention.ms": "-1"},
        )
        self._made_topic = False
        self._group = group
        self._on_trouble = on_trouble
        self._retry_every_s = retry_every_s
        self._clock = clock
        self._unsent: deque[Letter] = deque()
        self._sent = 0
        self._waiting_bytes = 0
        self._retry_at = 0.0

    def put(self, record: Record, error: RecordError, on_stored: Callable[[], None]) -> None:
        """Store a letter; `on_stored` is called from `serve` once the broker has acknowledged it."""
        self._waiting_bytes += record.size_bytes
        self._unsent.append(Letter(record, letter_headers(record, error, group=self._group), on_stored))
        self.serve()

    def serve(self) -> None:
        """Send what waits, hear what the broker says."""
        while self._unsent and self._clock() >= self._retry_at:
            if not self._made_topic:
                self._make_topic()
            letter = self._unsent[0]
            try:
                self._producer.produce(
                    self._topic,
                    value=letter.record.value,
                    key=letter.record.key,
                    headers=letter.headers,  # type: ignore[arg-type]  # None is a legal header value
                    on_delivery=partial(self._delivered, letter),
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
        """Whether as many unstored letters, or as large ones, wait here as memory allows."""
        return self.waiting >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES

    @property
    def waiting(self) -> int:
        """Letters that no broker has acknowledged yet."""
        return len(self._unsent) + self._sent

    def flush(self, timeout_s: float) -> bool:
        """Wait until every letter is stored; whether that came true in time."""
        deadline = self._clock() + timeout_s
        while self.waiting and self._clock() < deadline:
            self.serve()
            self._producer.flush(0.1)
        return not self.waiting

    def _make_topic(self) -> None:
        """Before the first letter: its messages may be larger than a broker's default allows.

        Where that is not for us to do, the letters are sent all the same: the broker may make the topic.
        """
        self._made_topic = True
        reason = make_topic(self._config, self._new_topic)
        if reason is not None:
            self._on_trouble("dead letter topic not made", reason)

    def _delivered(self, letter: Letter, error: KafkaError | None, _: Message) -> None:
        self._sent -= 1
        if error is None:
            self._waiting_bytes -= letter.record.size_bytes
            letter.on_stored()
            return
        self._unsent.append(letter)
        self._made_topic = error.code() not in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
        self._later(error.str())

    def _later(self, reason: str) -> None:
        self._retry_at = self._clock() + self._retry_every_s
        self._on_trouble("dead letter not stored", reason)


def make_topic(config: Mapping[str, Any], new_topic: NewTopic) -> str | None:
    """Make a topic that does not exist yet; why that failed, None when it is there."""
    admin = AdminClient(admin_config(config))
    try:
        if new_topic.topic in admin.list_topics(timeout=MAKE_TOPIC_S).topics:
            return None
        made = admin.create_topics([new_topic], request_timeout=MAKE_TOPIC_S)
        made[new_topic.topic].result(MAKE_TOPIC_S)
    except KafkaException as error:
        found: KafkaError = error.args[0]
        return None if found.code() == KafkaError.TOPIC_ALREADY_EXISTS else found.str()
    except TimeoutError:
        return "no answer from the broker"
    return None


def admin_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A producer's properties without those that an admin client would warn of."""
    return {name: value for name, value in config.items() if name not in PRODUCER_ONLY}
