"""Poison written straight into change topics, and what became of it.

Records that no daemon can ever apply: bytes that are no JSON, JSON that is no event, events whose row is
unmappable. Each key is used once, so that compaction takes none of them away.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, Message, Producer

__all__ = ["Injected", "Poisoner", "make_poison"]

_FLUSH_S: Final = 90.0


class Injected(NamedTuple):
    """A poison record as the broker has acknowledged it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def _event(operation: object, row: object) -> bytes:
    return json.dumps({"before": None, "after": row, "source": {"ts_ms": 1}, "op": operation}).encode()


_MAKERS: Final[tuple[Callable[[Random], bytes], ...]] = (
    lambda random: b'{"op":"c","after":{"id":"' + random.randbytes(4).hex().encode(),
    lambda random: b"\xff\xfe" + random.randbytes(random.randrange(1, 40)),
    lambda random: random.choice([b"[1, 2]", b'"text"', b"7", b"true"]),
    lambda random: b"[" * random.randrange(1_000, 100_000),
    lambda random: b"\x00\x00\x00\x00\x07" + random.randbytes(12),
    lambda _: _event("z", {"id": "unknown operation"}),
    lambda _: _event("c", None),
    lambda _: _event("u", {"id": "", "status": "an empty id"}),
    lambda _: _event("c", {"id": 7, "created_at": "never", "name": [], "product_id": {}, "status": 1}),
)


def make_poison(random: Random) -> tuple[bytes, bytes]:
    """Key and value of one record that is poison in any table's topic."""
    name = random.randbytes(8).hex()
    key = json.dumps({"id": f"poison-{name}"}).encode()
    if random.random() < 0.2:
        key = b"\x00\xff" + name.encode()
    return key, random.choice(_MAKERS)(random)


class Poisoner:
    """Writes poison. For one thread; `injected` may be read when it is done."""

    def __init__(self, bootstrap: str, seed: int) -> None:
        self._random = Random(seed)
        self.injected: list[Injected] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,  # a retry must not make a second record
                "delivery.timeout.ms": int(_FLUSH_S * 1000),
                "log_level": 0,  # while a broker is down, librdkafka has something to say every 50 ms
            }
        )

    def inject(self, topic: str, partitions: int) -> str:
        """Write one to three records; returns what they are. Raises: RuntimeError."""
        count = self._random.randrange(1, 4)
        before = len(self.injected)
        for _ in range(count):
            key, value = make_poison(self._random)
            headers = [("chaos", uuid.UUID(bytes=self._random.randbytes(16)).bytes)]
            self._producer.produce(
                topic,
                key=key,
                value=value,
                headers=[*headers],
                partition=self._random.randrange(partitions),
                on_delivery=self._remember(key, value, headers),
            )
        left = self._producer.flush(_FLUSH_S)
        done = self.injected[before:]
        if left or len(done) != count:
            raise RuntimeError(f"the broker took only {len(done)} of {count} poison records")
        return ", ".join(f"{i.topic}/{i.partition}@{i.offset}" for i in done)

    def _remember(
        self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                place = (message.topic() or "", message.partition() or 0, message.offset() or 0)
                self.injected.append(Injected(*place, key, value, headers))

        return delivered
