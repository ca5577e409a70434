"""Events from Redis, from the subscription to their handlers.

A message waits in its channel's queue, since Redis cuts off a subscriber that reads slowly; a full queue
drops it, and that is counted. The events of a channel are handled one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from cdc_sync.dispatcher.handling import Binding, Handling
from cdc_sync.dispatcher.metrics import Meters

__all__ = ["ChannelQueues"]

MAX_WAITING: Final = 10_000


class ChannelQueues:
    """A queue and a worker for each binding of each channel. On the event loop."""

    def __init__(self, bindings: Mapping[str, Sequence[Binding]], handling: Handling, meters: Meters) -> None:
        self._handling = handling
        self._meters = meters
        self._queues = {
            channel: [(binding, asyncio.Queue[bytes](MAX_WAITING)) for binding in of]
            for channel, of in bindings.items()
        }

    @property
    def channels(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return tuple(self._queues)

    def heard(self, channel: str, body: bytes) -> None:
        """A message came in."""
        for binding, queue in self._queues.get(channel, ()):
            try:
                queue.put_nowait(body)
            except asyncio.QueueFull:
                self._meters.count("redis_events_total", binding.service, channel, "dropped")

    async def run(self) -> None:
        """Handle what comes, until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for channel, queues in self._queues.items():
                for binding, queue in queues:
                    workers.create_task(self._work(binding, channel, queue))

    async def _work(self, binding: Binding, channel: str, queue: asyncio.Queue[bytes]) -> None:
        while True:
            await self._handling.from_redis(binding, channel, await queue.get())
