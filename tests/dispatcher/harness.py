"""Parts of the dispatcher put together for a test, on one event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect

from cdc_sync.dispatcher.context import Receipt
from cdc_sync.dispatcher.edge import Edge
from cdc_sync.dispatcher.errors import NotPublished
from cdc_sync.dispatcher.events import Event
from cdc_sync.dispatcher.hub import Hub
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.protocol import Rules
from cdc_sync.dispatcher.tokens import OneKey, Tokens
from cdc_sync.dispatcher.webhooks import MAX_BODY

__all__ = [
    "AUDIENCE",
    "ISSUER",
    "KEY",
    "MERCHANT",
    "Outbox",
    "Stored",
    "World",
    "new_meters",
    "run",
    "serving",
    "token",
]

ISSUER, AUDIENCE = "https://identity.test", "bana"
MERCHANT = "wr:observation/merchants/{merchantIds}"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = (
    KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
FAR = 4_000_000_000

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
    """The result of an asynchronous test."""
    return asyncio.run(asyncio.wait_for(work, timeout_s))


def new_meters() -> Meters:
    return Meters(CollectorRegistry())


def counted(meters: Meters, name: str, **labels: str) -> float:
    """A counter's value."""
    return meters.registry.get_sample_value(f"cdc_sync_dispatcher_{name}", labels) or 0.0


def token(*merchants: str, key: Any = KEY, algorithm: str = "ES256", **changes: Any) -> str:
    """A token; a claim that is None is left out."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u-1",
        "exp": FAR,
        "merchantIds": list(merchants),
    } | changes
    return jwt.encode({n: v for n, v in claims.items() if v is not None}, key, algorithm=algorithm)


class Stored(list[tuple[str, str, bytes]]):
    """A Kafka for webhooks: (topic, key, body) of what is stored; away while `is_away`."""

    is_away = False

    async def send(self, topic: str, key: str, body: bytes, headers: Any) -> Receipt:
        if self.is_away:
            raise NotPublished("no broker")
        self.append((topic, key, body))
        return Receipt(topic, 0, len(self))


class Outbox:
    """Outlets that remember, in order; `fails` names what raises or does not come through."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.fails: set[str] = set()

    async def publish(self, event: Event, *, event_id: str | None = None) -> Receipt:
        if "kafka" in self.fails:
            raise NotPublished("no broker")
        self.sent.append((f"kafka {event.address}", event))
        return Receipt(event.address, 0, 0)

    async def announce(self, channel: str, event: Event) -> bool:
        if "redis" in self.fails:
            return False
        self.sent.append((f"redis {channel}", event))
        return True

    async def to_room(self, room: str, topic: str, data: Mapping[str, Any]) -> bool:
        if "rooms" in self.fails:
            return False
        self.sent.append((f"{room} {topic}", dict(data)))
        return True


class World:
    """An edge on a port of its own."""

    def __init__(self, hub: Hub, edge: Edge, meters: Meters) -> None:
        self.hub = hub
        self.edge = edge
        self.meters = meters
        self.port = 0
        self.clients: list[ClientConnection] = []

    def counted(self, name: str, **labels: str) -> float:
        return counted(self.meters, name, **labels)

    async def client(
        self, *merchants: str, origin: Any = None, join: bool = True, **options: Any
    ) -> ClientConnection:
        """Connected; authenticated and in its rooms, if it has merchants."""
        url = f"ws://127.0.0.1:{self.port}/ws"
        socket = await connect(url, origin=origin, compression=None, ping_interval=None, **options)
        self.clients.append(socket)
        if merchants:
            await say(socket, "authenticate", {"type": "Bearer", "token": token(*merchants)})
            assert (await hear(socket))["event"] == "connected"
            if join:
                rooms = [MERCHANT.replace("{merchantIds}", merchant) for merchant in merchants]
                await say(socket, "join", {"rooms": rooms})
                assert (await hear(socket))["event"] == "joined"
        return socket

    async def emit(self, merchant: str, data: Any, topic: str = "ws:observation.sale.sale-order") -> None:
        await self.hub.emit("room", MERCHANT.replace("{merchantIds}", merchant), topic, data)


async def say(socket: ClientConnection, event: str, data: Any = None) -> None:
    await socket.send(json.dumps({"event": event, "data": data}))


async def hear(socket: ClientConnection, timeout_s: float = 10.0) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), timeout_s))
    return frame


async def silent(socket: ClientConnection, for_s: float = 0.2) -> bool:
    """Whether nothing comes."""
    try:
        await hear(socket, for_s)
    except TimeoutError:
        return True
    return False


async def closed_with(socket: ClientConnection, timeout_s: float = 20.0) -> int:
    """The code that the server closed with."""
    await asyncio.wait_for(socket.wait_closed(), timeout_s)
    assert socket.close_code is not None
    return socket.close_code


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel it, and let it close what it has open."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(ask: Any, timeout_s: float = 20.0) -> None:
    """Return when it is true."""
    async with asyncio.timeout(timeout_s):
        while not ask():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(
    *,
    rules: Rules | None = None,
    origins: tuple[str, ...] = (),
    max_connections: int = 100,
    max_per_address: int = 100,
    max_buffer: int = 262_144,
) -> AsyncIterator[World]:
    """An edge that serves, without Redis."""
    meters = new_meters()
    hub = Hub("here", meters, None, max_buffer=max_buffer)
    tokens = Tokens(
        OneKey(PUBLIC, ("ES256",), "the key"),
        algorithms=("ES256",),
        issuer=ISSUER,
        audience=AUDIENCE,
        room_templates=(MERCHANT,),
    )
    edge = Edge(
        hub,
        tokens,
        meters,
        rules=rules or Rules(),
        origins=origins,
        max_connections=max_connections,
        max_connections_per_address=max_per_address,
    )
    world = World(hub, edge, meters)
    async with on_a_port({("GET", "/ws"): edge.serve}) as port:
        world.port = port
        sweeping = asyncio.create_task(edge.sweep())
        try:
            yield world
        finally:
            sweeping.cancel()
            await edge.stop()
            for client in world.clients:
                client.transport.abort()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def on_a_port(routes: Mapping[tuple[str, str], Any]) -> AsyncIterator[int]:
    """These routes on a free loopback port."""
    app = web.Application(client_max_size=MAX_BODY)
    for (method, path), handler in routes.items():
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def gathered(*work: Awaitable[T]) -> list[T]:
    return list(await asyncio.gather(*work))
