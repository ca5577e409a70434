"""CPU a message from Kafka to its handler, beside a bare loop that consumes and decodes, in the same run.

python -m bench.dispatch [--messages 100000] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.kafka import kafka
from bench.processes import cpu_s, peak_rss_mb
from cdc_sync.dispatcher.context import Context
from cdc_sync.dispatcher.events import Event, ProductUpdated
from tests.e2e.daemon import Daemon

TOPIC = "product.updated"


async def nothing(_: Event, __: Context) -> None:
    """A handler that costs nothing."""


def fill(bootstrap: str, messages: int) -> None:
    """So many more events in three partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if TOPIC not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(TOPIC, 3, 1)])[TOPIC].result(10)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "lz4"})
    for n in range(messages):
        body = json.dumps({"productId": f"p-{n}", "merchantId": "m-1", "sku": "CF-001", "stock": n})
        producer.produce(TOPIC, body, f"p-{n}")
        if n % 1_000 == 0:
            producer.poll(0)
        if n % 50_000 == 0:
            producer.flush()
    producer.flush()


def bare(bootstrap: str, messages: int) -> None:
    """The floor: consume, decode, no more; prints its CPU seconds."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"bare-{time.time_ns()}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([TOPIC])
    decode = msgspec.json.Decoder(ProductUpdated).decode
    found, begun = 0, 0.0
    while found < messages:
        for message in consumer.consume(500, 1.0):
            begun = begun or time.process_time()
            decode(message.value() or b"")
            found += 1
    print(time.process_time() - begun)
    consumer.close()


def ours(bootstrap: str, messages: int) -> dict[str, float]:
    """`cdc-sync dispatcher run` until all is handled."""
    handlers = json.dumps({"taxation": {TOPIC: ["bench.dispatch:nothing"]}})
    settings = {
        "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "CDC_SYNC_DISPATCHER__SERVICES": "taxation",
        "CDC_SYNC_DISPATCHER__HANDLERS": handlers,
        "CDC_SYNC_LOG__LEVEL": "error",
    }
    daemon = Daemon(settings, Path(os.devnull), ("dispatcher", "run"))
    daemon.start(ready=False)
    while daemon.ask("/healthz")[0] != 200:
        time.sleep(0.02)
    try:
        begun_cpu = begun = 0.0
        while True:
            done = daemon.metric("cdc_sync_dispatcher_events_consumed_total").get("", 0.0)
            if not begun or not done:
                begun_cpu, begun = cpu_s(daemon.pid), time.monotonic()
            if done >= messages:
                break
            time.sleep(0.02)
        spent, took = cpu_s(daemon.pid) - begun_cpu, time.monotonic() - begun
        return {"us": spent / messages * 1e6, "per_s": messages / took, "rss": peak_rss_mb(daemon.pid)}
    finally:
        daemon.stop()


def main() -> None:
    """Both, in turn, and the ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--bare", metavar="BOOTSTRAP", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.bare:
        bare(chosen.bare, chosen.messages)
        return
    with kafka() as bootstrap:
        ratios = []
        for _ in range(chosen.runs):
            fill(bootstrap, chosen.messages)  # anew for each run: the group goes on where it was
            command = [
                sys.executable,
                "-m",
                "bench.dispatch",
                "--bare",
                bootstrap,
                "--messages",
                str(chosen.messages),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            floor = float(done.stdout) / chosen.messages * 1e6
            found = ours(bootstrap, chosen.messages)
            ratios.append(found["us"] / floor)
            print(
                f"bare {floor:6.2f} µs   dispatcher {found['us']:6.2f} µs {found['per_s']:7.0f}/s "
                f"{found['rss']:4.0f} MB   ratio {ratios[-1]:.2f}",
                flush=True,
            )
    spread = f"spread {min(ratios):.2f}-{max(ratios):.2f}"
    print(f"median ratio {statistics.median(ratios):.2f} ({spread}), {chosen.messages} messages")


if __name__ == "__main__":
    main()
