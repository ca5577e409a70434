"""Memory has a limit that no backlog passes, no large message, and no Typesense that hangs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer

from tests.chaos.proxy import Fault, FaultKind, FaultProxy
from tools.stack.seller import TABLES

from .daemon import Daemon
from .oracle import COLLECTIONS
from .quiet import wait_settled
from .world import MakeWorld, World

pytestmark = pytest.mark.integration

MB: Final = 2**20
STAMP: Final = "2026-01-02T03:04:05.678901Z"
LARGE_BYTES: Final = MB
LARGE_MESSAGES: Final = 60
"""Of each of seven tables: 420 MB in all, against 2 MB that may wait in each of six lanes."""
WAITING_BYTES: Final = 2 * MB
SMALL_MESSAGES: Final = 300
BOUND_MB: Final = 350
"""Measured: 150 MB while it hangs, 205 MB while it catches up, of which 60 MB are the program itself."""

NAME: Final[dict[str, object]] = {"name": json.dumps({"en": "n"})}
COLUMNS: Final[dict[str, dict[str, object]]] = {
    "Organizer": {**NAME, "slug": "s"},
    "Merchant": {**NAME, "organizer_id": "o", "slug": "s"},
    "Category": {**NAME, "merchant_id": "m"},
    "Device": {"merchant_id": "m", "name": "n", "is_online": True},
    "SaleChannel": {**NAME, "merchant_id": "m", "kind": "k", "is_default": False},
    "Product": {"merchant_id": "m", "sku": "k", "kind": "k", "is_available": True},
    "ProductInfo": {**NAME},
}
LARGE: Final = {"ProductInfo": "images", "Product": "tags"}
"""Where the bulk is, in a list; elsewhere it is `status`."""


def message(table: str, identity: str, size_bytes: int) -> bytes:
    """A created row with a value of this size."""
    bulk = "x" * size_bytes
    row = {"id": identity, "status": "a", "created_at": STAMP, "modified_at": STAMP, **COLUMNS[table]}
    if table == "ProductInfo":
        row["product_id"] = identity
    column = LARGE.get(table)
    row |= {"status": bulk} if column is None else {column: [bulk]}
    return json.dumps({"before": None, "after": row, "source": {"ts_ms": 1}, "op": "c"}).encode()


def fill(world: World) -> None:
    """Large and small rows of every table, the large ones first."""
    producer = Producer(
        {
            "bootstrap.servers": world.stack.broker.address,
            "message.max.bytes": 4 * MB,
            "queue.buffering.max.kbytes": 64 * 1024,
        }
    )
    for size_bytes, count, name in ((LARGE_BYTES, LARGE_MESSAGES, "large"), (10, SMALL_MESSAGES, "small")):
        for number in range(count):
            for table in TABLES:
                key = json.dumps({"id": f"{name}-{number}"})
                value = message(table, f"{name}-{number}", size_bytes)
                while True:
                    try:
                        producer.produce(f"{world.prefix}.public.{table}", key=key, value=value)
                        break
                    except BufferError:
                        producer.poll(0.1)
    assert producer.flush(60) == 0


def peak_mb(daemon: Daemon) -> int:
    """The most memory that the process has ever had resident."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) // 1024


def full_lanes(daemon: Daemon) -> list[str]:
    """The lanes in which as much waits as is allowed."""
    waiting = daemon.metric("cdc_sync_waiting_bytes", "lane")
    return [lane for lane, size_bytes in waiting.items() if size_bytes >= WAITING_BYTES]


def wait_until(is_so: Callable[[], bool], deadline_s: float = 120.0) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture
def proxy(make_world: MakeWorld, tmp_path: Path) -> Iterator[tuple[World, FaultProxy, str]]:
    """A world whose daemons reach the search server through a proxy."""
    world = make_world()
    host, _, port = world.server.url.removeprefix("http://").rpartition(":")
    proxy = FaultProxy((host, int(port)), tmp_path / "requests.jsonl")
    proxy.start()
    yield world, proxy, proxy.open_port(1)
    proxy.stop()


def test_a_backlog_of_large_messages_and_a_sink_that_hangs(proxy: tuple[World, FaultProxy, str]) -> None:
    """Every lane is full and nothing is answered; then the sink comes back, and all of it is written."""
    world, faults, url = proxy
    world.topics.create(world.table_topics, partitions=3, config={"cleanup.policy": "compact"})
    fill(world)
    # First slow, so that every lane has a full batch in flight and as much waits behind it; then it hangs.
    faults.arm(Fault(FaultKind.DELAY, for_s=3600, count=80, seconds=0.5, writes_only=True))
    faults.arm(Fault(FaultKind.HANG, for_s=3600, seconds=3600, writes_only=True))
    daemon = world.start_daemon(
        CDC_SYNC_TYPESENSE__URL=url,
        CDC_SYNC_TYPESENSE__REQUEST_TIMEOUT_S="5",
        CDC_SYNC_TYPESENSE__MAX_BACKOFF_S="1",
        CDC_SYNC_SYNC__MAX_WAITING_BYTES=str(WAITING_BYTES),
        CDC_SYNC_KAFKA__QUEUED_MAX_KBYTES="4096",
        ready=False,
    )
    wait_until(lambda: len(full_lanes(daemon)) == len(set(COLLECTIONS.values())))
    wait_until(lambda: faults.fired()[FaultKind.HANG] >= 3 * len(set(COLLECTIONS.values())))
    assert peak_mb(daemon) < BOUND_MB
    assert daemon.ask("/readyz")[0] == 503
    faults.clear()
    wait_settled(world.topics, world.group, world.table_topics, deadline_s=240)
    assert peak_mb(daemon) < BOUND_MB
    daemon.wait_ready()
    for collection in set(COLLECTIONS.values()):
        assert LARGE_MESSAGES + SMALL_MESSAGES == len(world.server.export(collection)), collection
