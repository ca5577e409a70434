"""Rooms and who is in them; frames to those here, and by Redis to those at other replicas.

A frame is built once for a whole room and written to each transport as it is: server frames are not masked.
That is a third of the cost of a queue and a task a client (measured, docs/dispatcher.md). A client that does
not read is cut off when its buffer is full, so that it costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final

import msgspec

from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.protocol import Session
from cdc_sync.dispatcher.pubsub import Publisher, Subscriber

__all__ = ["BROADCAST", "Client", "Envelope", "Hub", "channel_of", "text_frame"]

BROADCAST: Final = "ws:broadcast"
SHORT: Final = 126
MEDIUM: Final = 65_536


class Envelope(msgspec.Struct, rename="camel", omit_defaults=True):
    """A frame between replicas; an emitter that serves no clients calls itself `emitter`."""

    server_id: str
    type: str
    target: str
    event: str
    data: Any = None
    exclude: list[str] | None = None


def channel_of(kind: str, target: str) -> str:
    """The Redis channel for a room, a client, a user, or everybody."""
    return BROADCAST if kind == "broadcast" else f"ws:{kind}:{target}"


def text_frame(payload: bytes) -> bytes:
    """A whole, unmasked text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < SHORT:
        return struct.pack("!BB", 0x81, size) + payload
    if size < MEDIUM:
        return struct.pack("!BBH", 0x81, SHORT, size) + payload
    return struct.pack("!BBQ", 0x81, SHORT + 1, size) + payload


class Client:
    """A connection: its session, and the transport that frames are written to."""

    def __init__(self, session: Session, transport: asyncio.Transport, address: str) -> None:
        self.session = session
        self.transport = transport
        self.address = address
        self.user_id = ""
        self.channels: set[str] = set()
        self.close_reason: str | None = None

    @property
    def id(self) -> str:
        """What it was told as its id."""
        return self.session.client_id


class Hub:
    """The clients of this replica. On the event loop."""

    def __init__(
        self, server_id: str, meters: Meters, publisher: Publisher | None, *, max_buffer: int = 1_048_576
    ) -> None:
        self.server_id = server_id
        self.clients: dict[str, Client] = {}
        self.subscriber: Subscriber | None = None
        self._meters = meters
        self._publisher = publisher
        self._max_buffer = max_buffer
        self._members: defaultdict[str, set[Client]] = defaultdict(set)

    # Who is where ------------------------------------------------------------------------------------

    async def welcome(self, client: Client) -> None:
        """It is authenticated: frames for it, and for its user, reach it from now on."""
        self.clients[client.id] = client
        await self._enter(client, channel_of("client", client.id))
        if client.user_id:
            await self._enter(client, channel_of("user", client.user_id))

    async def join(self, client: Client, room: str) -> None:
        """What is sent to the room from now on reaches it."""
        await self._enter(client, channel_of("room", room))

    async def leave(self, client: Client, room: str) -> None:
        """No more of it."""
        await self._exit(client, channel_of("room", room))

    async def part(self, client: Client) -> None:
        """It has gone."""
        if self.clients.pop(client.id, None) is None:
            return
        for channel in list(client.channels):
            await self._exit(client, channel)

    async def _enter(self, client: Client, channel: str) -> None:
        client.channels.add(channel)
        self._members[channel].add(client)
        if self.subscriber is not None:
            await self.subscriber.add(channel)

    async def _exit(self, client: Client, channel: str) -> None:
        client.channels.discard(channel)
        self._members[channel].discard(client)
        if not self._members[channel]:
            del self._members[channel]
        if self.subscriber is not None:
            await self.subscriber.remove(channel)

    # Frames ------------------------------------------------------------------------------------------

    async def emit(self, kind: str, target: str, event: str, data: Any) -> bool:
        """To those here and, by Redis, to those elsewhere; whether it could be sent."""
        envelope = Envelope(self.server_id, kind, target, event, data)
        self.deliver(envelope)
        if self._publisher is None:
            return True
        return await self._publisher.publish(channel_of(kind, target), msgspec.json.encode(envelope))

    def heard(self, channel: str, body: bytes) -> None:
        """From another replica, or an emitter. What is not an envelope for this channel is dropped."""
        try:
            envelope = msgspec.json.decode(body, type=Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._meters.count("websocket_refused_total", "envelope")
            return
        if channel_of(envelope.type, envelope.target) != channel:
            self._meters.count("websocket_refused_total", "envelope")
        elif envelope.server_id != self.server_id:
            self.deliver(envelope)

    def deliver(self, envelope: Envelope) -> None:
        """To those here."""
        members: Collection[Client]
        if envelope.type == "broadcast":
            members = list(self.clients.values())
        else:
            members = list(self._members.get(channel_of(envelope.type, envelope.target), ()))
        if not members:
            return
        frame = text_frame(msgspec.json.encode({"event": envelope.event, "data": envelope.data}))
        excluded = frozenset(envelope.exclude or ())
        delivered = 0
        for client in members:
            if client.id not in excluded:
                self.write(client, frame)
                delivered += 1
        self._meters.count("websocket_deliveries_total", by=delivered)

    def write(self, client: Client, frame: bytes) -> None:
        """One frame to one client, unless it does not read what it has already."""
        if client.close_reason is not None or client.transport.is_closing():
            return
        client.transport.write(frame)
        if client.transport.get_write_buffer_size() > self._max_buffer:
            client.close_reason = "slow"
            client.transport.abort()

    def say(self, client: Client, event: str, data: Any) -> None:
        """A frame of the protocol itself."""
        self.write(client, text_frame(msgspec.json.encode({"event": event, "data": data})))
