"""Redis pub/sub: subscriptions that survive a cut, and best-effort publishing.

Redis keeps nothing: what is published while a subscriber is cut off is lost to it. A cut is counted as a gap
(`redis_gaps_total`), since that is all that can be known of what was missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.errors import ConfigError

__all__ = ["Publisher", "Subscriber", "redis_at"]

AWAY: Final = (RedisError, OSError, TimeoutError)
TIMEOUT_S: Final = 2.0
PING_AFTER_S: Final = 5.0
SILENT_AFTER_S: Final = 15.0
RECONNECT_S: Final = (0.1, 5.0)


def redis_at(url: str, setting: str) -> Redis:
    """A client that answers soon, whatever happens. Raises `ConfigError`; connects to nothing yet."""
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=32,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise ConfigError(f"{setting}: expected redis://host:port/0, rediss:// or unix://") from error
    return Redis.from_pool(pool)


class Publisher:
    """Publishes what may get lost."""

    def __init__(self, redis: Redis, meters: Meters) -> None:
        self._redis = redis
        self._meters = meters

    async def publish(self, channel: str, body: bytes) -> bool:
        """Whether Redis took it; not whether anybody listened."""
        try:
            heard = await self._redis.publish(channel, body)
        except AWAY as error:
            self._meters.count("redis_published_total", "failed")
            self._meters.trouble("redis does not take messages", channel=channel, error=str(error))
            return False
        self._meters.count("redis_published_total", "received" if heard else "unheard")
        return True


class Subscriber:
    """Subscribed to `always`, and to channels that come and go. `on_message(channel, body)` must be quick.

    `run` until cancelled. Everything on the event loop.
    """

    def __init__(
        self,
        name: str,
        redis: Redis,
        always: Iterable[str],
        on_message: Callable[[str, bytes], None],
        meters: Meters,
    ) -> None:
        self._name = name
        self._redis = redis
        self._on_message = on_message
        self._meters = meters
        self._wanted: Counter[str] = Counter(always)
        self._pubsub: PubSub | None = None
        self._confirmed: dict[str, asyncio.Event] = {}
        self._changing = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether messages reach us now."""
        return self._pubsub is not None

    async def add(self, channel: str) -> None:
        """One more wants this channel; returns when nothing on it is missed any more, or Redis is away."""
        async with self._changing:
            self._wanted[channel] += 1
            if self._wanted[channel] > 1 or self._pubsub is None:
                return
            confirmed = self._confirmed[channel] = asyncio.Event()
            try:
                await self._pubsub.subscribe(channel)
                await asyncio.wait_for(confirmed.wait(), TIMEOUT_S)
            except AWAY:  # `run` notices, and subscribes again
                return
            finally:
                self._confirmed.pop(channel, None)

    async def remove(self, channel: str) -> None:
        """One less wants it."""
        async with self._changing:
            self._wanted[channel] -= 1
            if self._wanted[channel] > 0:
                return
            del self._wanted[channel]
            if self._pubsub is not None:
                try:
                    await self._pubsub.unsubscribe(channel)
                except AWAY:
                    return

    async def run(self) -> None:
        """Listen; after a cut subscribe again to all that is wanted."""
        pause_s, longest_s = RECONNECT_S
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    async with self._changing:
                        await pubsub.subscribe(*self._wanted)
                        self._pubsub = pubsub
                    pause_s = RECONNECT_S[0]
                    await self._listen(pubsub)
            except AWAY as error:
                if self.is_connected:
                    self._meters.count("redis_gaps_total", self._name)
                self._pubsub = None
                self._meters.trouble("redis subscription cut", subscriber=self._name, error=str(error))
            finally:
                self._pubsub = None
            await asyncio.sleep(pause_s)
            pause_s = min(longest_s, pause_s * 2)

    async def _listen(self, pubsub: PubSub) -> None:
        heard = time.monotonic()
        while True:
            message: dict[str, Any] | None = await pubsub.get_message(timeout=1.0)
            now = time.monotonic()
            if message is None:
                if now - heard > SILENT_AFTER_S:
                    raise ConnectionError("it has fallen silent")
                if now - heard > PING_AFTER_S:
                    await pubsub.ping()
                continue
            heard = now
            if message["type"] == "message":
                self._on_message(as_text(message["channel"]), message["data"])
            elif message["type"] == "subscribe" and as_text(message["channel"]) in self._confirmed:
                self._confirmed[as_text(message["channel"])].set()


def as_text(name: bytes | str) -> str:
    """A channel's name."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
