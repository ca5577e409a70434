"""A real broker for the benchmarks, and what fills its topics."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.events import Event
from tools.stack.broker import broker
from tools.stack.layout import RUNS
from tools.stack.ledger import Ledger

__all__ = ["fill", "kafka", "make_topics", "producer_to"]

TABLES = ("Product", "ProductInfo")


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


def make_topics(bootstrap: str) -> str:
    """New topics of three partitions; their prefix."""
    prefix = f"bench{time.time_ns()}.public"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [NewTopic(f"{prefix}.{table}", 3, 1) for table in TABLES]
    for made in admin.create_topics(topics).values():
        made.result(10)
    return prefix


def producer_to(bootstrap: str, linger_ms: int = 50) -> Producer:
    """A producer that puts keys where Debezium puts them."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": linger_ms,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
        }
    )


def fill(bootstrap: str, events: Iterable[Event], encode: Callable[[bytes], bytes] = lambda raw: raw) -> str:
    """New topics with these events in them; their prefix.

    `encode` turns a value or key from JSON into what is to be written.
    """
    prefix = make_topics(bootstrap)
    producer = producer_to(bootstrap)
    for n, event in enumerate(events):
        topic, value, key = f"{prefix}.{event.table}", encode(event.value), encode(event.key)
        while True:
            try:
                producer.produce(topic, value, key, event.partition)
                break
            except BufferError:
                producer.poll(0.1)
        if n % 1000 == 0:
            producer.poll(0)
    producer.flush()
    return prefix
