"""Where handlers' own events go: Kafka keeps them, Redis and WebSocket rooms may lose them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdc_sync.dispatcher.context import Receipt
from cdc_sync.dispatcher.errors import Reject
from cdc_sync.dispatcher.events import EVENTS, Event, encode
from cdc_sync.dispatcher.hub import Hub
from cdc_sync.dispatcher.names import is_room, is_topic
from cdc_sync.dispatcher.producer import Producers
from cdc_sync.dispatcher.pubsub import Publisher

__all__ = ["LiveOutlets"]


class LiveOutlets:
    """The real ones. Without Redis nothing is announced; without WebSocket there are no rooms."""

    def __init__(self, producers: Producers, publisher: Publisher | None, hub: Hub | None) -> None:
        self._producers = producers
        self._publisher = publisher
        self._hub = hub

    async def publish(self, event: Event, *, event_id: str | None = None) -> Receipt:
        """As `Outlets.publish`."""
        return await self._producers.publish(event, event_id=event_id)

    async def announce(self, channel: str, event: Event) -> bool:
        """As `Outlets.announce`. Raises `Reject` for a channel that is not of this event."""
        if not isinstance(event, EVENTS.get(channel, ())):
            raise Reject(f"{type(event).__name__} is not what {channel!r} has")
        if self._publisher is None:
            return False
        return await self._publisher.publish(channel, encode(event))

    async def to_room(self, room: str, topic: str, data: Mapping[str, Any]) -> bool:
        """As `Outlets.to_room`. Raises `Reject` for what is no room or no topic."""
        if not is_room(room) or not is_topic(topic):
            raise Reject(f"no room and topic: {room!r}, {topic!r}")
        if self._hub is None:
            return False
        return await self._hub.emit("room", room, topic, dict(data))
