"""CPU a delivery of one room's frames to many clients: our edge, beside Node's `ws` in the same run.

    python -m bench.fan_out [--clients 500] [--frames 400] [--runs 5]

Clients are raw sockets of this process; CPU is that of the server's process while it sends.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from bench.processes import cpu_s, peak_rss_mb
from cdc_sync.dispatcher.edge import Edge
from cdc_sync.dispatcher.hub import Hub
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.protocol import Rules
from cdc_sync.dispatcher.tokens import OneKey, Tokens
from tools.stack.layout import free_port
from tools.stack.npm import WS, unpacked

PAYLOAD = 250
ROOM = "wr:observation/merchants/m-1"
TOPIC = "ws:observation.sale.sale-order"
KEY = "a shared secret of a benchmark, long enough"


def parts() -> tuple[Hub, Edge]:
    """A hub and an edge without limits."""
    meters = Meters(CollectorRegistry())
    hub = Hub("bench", meters, None, max_buffer=1 << 30)
    tokens = Tokens(
        OneKey(KEY, ("HS256",), "key"),
        algorithms=("HS256",),
        issuer="i",
        audience="a",
        room_templates=("wr:observation/merchants/{merchantId}",),
    )
    edge = Edge(
        hub,
        tokens,
        meters,
        rules=Rules(),
        origins=(),
        max_connections=100_000,
        max_connections_per_address=100_000,
    )
    return hub, edge


async def serve(port: int, frames: int) -> None:
    """Our edge; SIGUSR2 sends the frames."""
    from aiohttp import web

    hub, edge = parts()
    app = web.Application()
    app.router.add_get("/ws", edge.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
    wanted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, wanted.set)
    print("ready", flush=True)
    while True:
        await wanted.wait()
        wanted.clear()
        for _ in range(frames):
            await hub.emit("room", ROOM, TOPIC, "x" * PAYLOAD)
            await asyncio.sleep(0)


class Client(asyncio.Protocol):
    """Upgrades, says what it must, then counts bytes."""

    def __init__(self, greetings: list[bytes]) -> None:
        self._greetings = greetings
        self.received = 0
        self.is_open = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        assert isinstance(transport, asyncio.Transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        for greeting in self._greetings:
            transport.write(greeting)

    def data_received(self, data: bytes) -> None:
        """Count; what answers the greetings is counted, too, and subtracted."""
        self.received += len(data)
        if not self.is_open.done() and (not self._greetings or b'"joined"' in data):
            self.is_open.set_result(None)


def masked(event: str, data: object) -> bytes:
    """A client's frame; a mask of zeros leaves the payload as it is."""
    payload = json.dumps({"event": event, "data": data}).encode()
    return bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4) + payload


def greetings() -> list[bytes]:
    """What our edge wants to hear first."""
    import jwt

    claims = {"iss": "i", "aud": "a", "exp": int(time.time()) + 600, "merchantId": "m-1"}
    token = jwt.encode(claims, KEY, algorithm="HS256")
    return [masked("authenticate", {"token": token}), masked("join", {"rooms": [ROOM]})]


async def measure(
    command: list[str], port: int, clients: int, frames: int, greeting: list[bytes]
) -> dict[str, float]:
    """µs CPU a delivery of the server that this command starts."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        loop = asyncio.get_running_loop()
        made = []
        for _ in range(clients):
            _, client = await loop.create_connection(lambda: Client(greeting), "127.0.0.1", port)
            made.append(client)
        await asyncio.gather(*(client.is_open for client in made))
        await asyncio.sleep(0.5)
        for client in made:
            client.received = 0
        expected = clients * frames * (PAYLOAD + 45)
        before, begun = cpu_s(process.pid), time.monotonic()
        process.send_signal(signal.SIGUSR2)
        while sum(client.received for client in made) < expected:
            await asyncio.sleep(0.05)
        spent, took = cpu_s(process.pid) - before, time.monotonic() - begun
        return {
            "us": spent / (clients * frames) * 1e6,
            "per_s": clients * frames / took,
            "rss": peak_rss_mb(process.pid),
        }
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Both, in turn, and the ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=500)
    options.add_argument("--frames", type=int, default=400)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        asyncio.run(serve(chosen.serve, chosen.frames))
        return
    node = shutil.which("node")
    if node is None:
        raise SystemExit("node is missing: there is no peer to compare with")
    ratios = []
    for _ in range(chosen.runs):
        port = free_port()
        ours = [sys.executable, "-m", "bench.fan_out", "--serve", str(port), "--frames", str(chosen.frames)]
        own = asyncio.run(measure(ours, port, chosen.clients, chosen.frames, greetings()))
        port = free_port()
        script = str(Path(__file__).with_name("fan_out.mjs"))
        peer = [node, script, str(unpacked(WS)), str(port), str(chosen.frames), str(PAYLOAD)]
        other = asyncio.run(measure(peer, port, chosen.clients, chosen.frames, []))
        ratios.append(own["us"] / other["us"])
        print(
            f"ws {other['us']:6.2f} µs {other['rss']:4.0f} MB   "
            f"edge {own['us']:6.2f} µs {own['rss']:4.0f} MB "
            f"{own['per_s']:8.0f}/s   ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(
        f"median ratio {statistics.median(ratios):.2f} (spread {min(ratios):.2f}-{max(ratios):.2f}), "
        f"{chosen.clients} clients, {chosen.frames} frames"
    )


if __name__ == "__main__":
    main()
