"""A real broker with real Debezium envelopes in it, for the benchmarks."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tools.stack.broker import broker
from tools.stack.layout import RUNS
from tools.stack.ledger import Ledger

__all__ = ["event_of", "fill_products", "kafka"]

EVENT = Path(__file__).with_name("product-event.json").read_bytes().strip()


@contextlib.contextmanager
def kafka() -> Iterator[str]:
    """Bootstrap servers: those of `CDC_SYNC_TEST_KAFKA`, or a broker of this run."""
    given = os.environ.get("CDC_SYNC_TEST_KAFKA")
    if given:
        yield given
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    run = Path(tempfile.mkdtemp(prefix="bench-", dir=RUNS))
    part = broker(run, Ledger(run))
    part.start()
    try:
        part.wait_ready()
        yield part.address
    finally:
        part.stop()


def event_of(product: int, n: int, random_: random.Random) -> bytes:
    """The recorded envelope as the `n`th event, about this product."""
    return (
        EVENT.replace(b'"id":"p-1"', b'"id":"p-%d"' % product)
        .replace(b'"sku":"CF-001"', b'"sku":"CF-%06d"' % product)
        .replace(b'"stock":119', b'"stock":%d' % random_.randrange(100_000))
        .replace(b'"base_price":"13.7500"', b'"base_price":"%d.%04d"' % (n % 900, n % 10_000))
    )


def fill_products(
    bootstrap: str,
    topic: str,
    count: int,
    *,
    keys: int | None = None,
    seed: int = 1,
    encode: Callable[[bytes], bytes] = lambda raw: raw,
) -> None:
    """Produce so many Product events, one recorded Debezium envelope with its own key and values each.

    `encode` turns a value or key from JSON into what is to be written.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(10)
    random_ = random.Random(seed)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
        }
    )
    now_ms = time.time_ns() // 1_000_000
    for n in range(count):
        product = random_.randrange(keys) if keys else n
        value = event_of(product, n, random_)
        while True:
            try:
                producer.produce(topic, encode(value), encode(b'{"id":"p-%d"}' % product), timestamp=now_ms)
                break
            except BufferError:
                producer.poll(0.1)
        if n % 1000 == 0:
            producer.poll(0)
    producer.flush()
