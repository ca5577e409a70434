"""CPU a webhook that is verified and stored, beside a bare aiohttp handler that only reads, in the same run.

python -m bench.webhooks [--webhooks 20000] [--runs 3] [--concurrency 64]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.kafka import kafka
from bench.processes import cpu_s
from tests.e2e.daemon import Daemon
from tools.stack.layout import free_port

KEY = b"thirty-two bytes of a secret, ok"
KIND = "mq-pay:attempt.success"
PATH = "/webhooks/mq-pay"


async def bare(port: int) -> None:
    """The floor: read the body, answer 202."""

    async def receive(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post(PATH, receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


def requests(count: int) -> list[tuple[bytes, dict[str, str]]]:
    """Signed bodies, each with its own id."""
    made = []
    now = str(int(time.time()))
    for n in range(count):
        part = {"uid": f"t-{n % 500}", "status": "S", "amount": "10.50", "currency": "VND"}
        body = json.dumps(
            {"eventType": KIND, "merchantId": "m-1", "attempt": part, "transaction": part}
        ).encode()
        name = f"msg-{time.time_ns()}-{n}"
        digest = hmac.new(KEY, f"{name}.{now}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "X-Webhook-Event-Type": KIND,
            "webhook-id": name,
            "webhook-timestamp": now,
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }
        made.append((body, headers))
    return made


async def load(url: str, todo: list[tuple[bytes, dict[str, str]]], concurrency: int) -> list[float]:
    """Send all; the seconds that each took. All must be 202."""
    took: list[float] = []
    left = iter(todo)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work() -> None:
            for body, headers in left:
                begun = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 202, answer.status
                took.append(time.perf_counter() - begun)

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return took


def measure(pid: int, port: int, count: int, concurrency: int) -> dict[str, float]:
    """µs CPU of the process a webhook, webhooks a second, and how long they took."""
    url = f"http://127.0.0.1:{port}{PATH}"
    asyncio.run(load(url, requests(500), concurrency))
    todo = requests(count)
    before, begun = cpu_s(pid), time.monotonic()
    took = sorted(asyncio.run(load(url, todo, concurrency)))
    elapsed = time.monotonic() - begun
    return {
        "us": (cpu_s(pid) - before) / count * 1e6,
        "per_s": count / elapsed,
        "p50_ms": took[count // 2] * 1e3,
        "p99_ms": took[count * 99 // 100] * 1e3,
    }


def floor_of(count: int, concurrency: int) -> dict[str, float]:
    """The floor, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "bench.webhooks", "--bare", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    try:
        return measure(process.pid, port, count, concurrency)
    finally:
        process.kill()
        process.wait()


def own_of(bootstrap: str, count: int, concurrency: int) -> dict[str, float]:
    """`cdc-sync dispatcher run`, receiving only."""
    port = free_port()
    settings = {
        "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "CDC_SYNC_DISPATCHER__WEBHOOKS": "true",
        "CDC_SYNC_DISPATCHER__WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
        "CDC_SYNC_DISPATCHER__HOST": "127.0.0.1",
        "CDC_SYNC_DISPATCHER__PORT": str(port),
        "CDC_SYNC_LOG__LEVEL": "error",
    }
    daemon = Daemon(settings, Path(os.devnull), ("dispatcher", "run"))
    daemon.start()
    try:
        return measure(daemon.pid, port, count, concurrency)
    finally:
        daemon.stop()


def main() -> None:
    """Both, in turn, and the ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--webhooks", type=int, default=20_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--bare", type=int, metavar="PORT", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.bare:
        asyncio.run(bare(chosen.bare))
        return
    ratios = []
    with kafka() as bootstrap:
        for _ in range(chosen.runs):
            floor = floor_of(chosen.webhooks, chosen.concurrency)
            own = own_of(bootstrap, chosen.webhooks, chosen.concurrency)
            ratios.append(own["us"] / floor["us"])
            print(
                f"bare {floor['us']:6.1f} µs {floor['per_s']:6.0f}/s   webhooks {own['us']:6.1f} µs "
                f"{own['per_s']:6.0f}/s p50 {own['p50_ms']:.1f} ms p99 {own['p99_ms']:.1f} ms   "
                f"ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f} (spread {min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
