"""What a handler gets beside the event, and what it may do with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from cdc_sync.dispatcher.events import Event

__all__ = ["Context", "Handler", "Outlets", "Receipt"]


class Receipt(NamedTuple):
    """Where the broker has stored a message."""

    topic: str
    partition: int
    offset: int


class Outlets(Protocol):
    """Where a handler's own events go."""

    async def publish(self, event: Event, *, event_id: str | None = None) -> Receipt:
        """To the event's Kafka topic, by the producer that owns it. Raises `NotPublished`."""

    async def announce(self, channel: str, event: Event) -> bool:
        """To a Redis channel; whether Redis took it. Best effort: nobody may have listened."""

    async def to_room(self, room: str, topic: str, data: Mapping[str, Any]) -> bool:
        """To everybody in a WebSocket room; whether it was sent. Best effort."""


@dataclass(frozen=True, slots=True)
class Context:
    """One delivery of an event to a service.

    `idempotency_key` is the same for every delivery of the same event; a handler with effects outside keeps
    it, since every event may be delivered more than once. `body` and `headers` are those of the message.
    """

    service: str
    address: str
    transport: str
    idempotency_key: str
    body: bytes
    headers: Sequence[tuple[str, bytes | None]]
    outlets: Outlets

    async def publish(self, event: Event, *, event_id: str | None = None) -> Receipt:
        """To the event's Kafka topic; returns when the broker has it."""
        return await self.outlets.publish(event, event_id=event_id)

    async def to_room(self, room: str, topic: str, data: Mapping[str, Any]) -> bool:
        """To everybody in a WebSocket room."""
        return await self.outlets.to_room(room, topic, data)


@dataclass(frozen=True, slots=True)
class Handler:
    """A function for events: `async def`, or a plain one, which runs on a thread.

    One that only looks on is not `effectful`: no group is joined for it.
    """

    name: str
    call: Callable[[Any, Context], Awaitable[None] | None]
    is_async: bool
    is_effectful: bool = True
