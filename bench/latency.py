"""From produce to readable in the index, at a steady rate: probes among other changes, looked for by id."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from bench.daemon import running
from bench.events import probe
from bench.kafka import make_topics, producer_to
from bench.typesense import Server

__all__ = ["latencies_ms"]

PROBE_EVERY_S = 0.05
LOOK_S = 0.002
FIRST_PROBE = 10_000_000


def latencies_ms(bootstrap: str, server: Server, rate: int, seconds: float) -> list[float]:
    """Of each probe, from its production until a read finds it. The others are updates of 10,000 products."""
    server.clear()
    prefix = make_topics(bootstrap)
    with running(bootstrap, prefix, server.settings) as daemon:
        stop = threading.Event()
        load = threading.Thread(target=produce, args=(bootstrap, prefix, rate, stop))
        load.start()
        try:
            while daemon.outcomes().total() < rate:  # it has joined, and the first of everything is over
                time.sleep(0.2)
            found = list(probes(bootstrap, prefix, server, seconds))
        finally:
            stop.set()
            load.join()
    server.clear()
    return found


def produce(bootstrap: str, prefix: str, rate: int, stop: threading.Event) -> None:
    """So many updates a second, a hundredth of a second's at a time."""
    producer = producer_to(bootstrap, linger_ms=1)
    due, n = time.monotonic(), 0
    while not stop.is_set():
        for _ in range(rate // 100):
            event = probe(n % 10_000)
            producer.produce(f"{prefix}.{event.table}", event.value, event.key)
            n += 1
        producer.poll(0)
        due += 0.01
        stop.wait(max(0.0, due - time.monotonic()))
    producer.flush(10)


def probes(bootstrap: str, prefix: str, server: Server, seconds: float) -> Iterator[float]:
    """One after the other."""
    producer = producer_to(bootstrap, linger_ms=0)
    connection = server.connect()
    until = time.monotonic() + seconds
    number = FIRST_PROBE
    while time.monotonic() < until:
        number += 1
        event = probe(number)
        began = time.monotonic()
        producer.produce(f"{prefix}.{event.table}", event.value, event.key)
        producer.poll(0)
        while not server.has(connection, f"p-{number}"):
            time.sleep(LOOK_S)
        yield (time.monotonic() - began) * 1000
        time.sleep(PROBE_EVERY_S)
    producer.flush(10)
    connection.close()
