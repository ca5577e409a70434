"""Claims in Redis, for all replicas. Redis away is `UNSURE`, never an error."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cdc_sync.dispatcher.claims import Claim, Claimed

__all__ = ["RedisClaims"]

DONE: Final = "done"
IF_OURS: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call({}) else return 0 end"
RENEW: Final = IF_OURS.format("'pexpire', KEYS[1], ARGV[2]")
RELEASE: Final = IF_OURS.format("'del', KEYS[1]")
FINISH: Final = IF_OURS.format("'set', KEYS[1], 'done', 'px', ARGV[2]")
AWAY: Final = (RedisError, OSError, TimeoutError)


class RedisClaims:
    """Claims under `cdc-sync:claim:{service}:{key}`; times in seconds.

    A claim is renewed while its work goes on, so that only the dead lose theirs, `expire_s` later.
    """

    def __init__(self, redis: Redis, *, expire_s: float = 60.0, keep_s: float = 604_800.0) -> None:
        self._redis = redis
        self._expire_ms = int(expire_s * 1000)
        self._keep_s = keep_s

    @asynccontextmanager
    async def hold(self, service: str, key: str, keep_s: float | None = None) -> AsyncIterator[Claim]:
        """As `Claims.hold`."""
        name = f"cdc-sync:claim:{service}:{key}"
        token = f"run:{uuid.uuid4().hex}"
        claim = Claim(await self._claim(name, token))
        if claim.state is not Claimed.WON:
            yield claim
            return
        renewing = asyncio.create_task(self._renew(name, token))
        try:
            yield claim
        finally:
            renewing.cancel()
            kept_ms = str(int((self._keep_s if keep_s is None else keep_s) * 1000))
            end = (FINISH, 1, name, token, kept_ms) if claim.is_done else (RELEASE, 1, name, token)
            with suppress(*AWAY):
                await self._redis.eval(*end)

    async def _claim(self, name: str, token: str) -> Claimed:
        try:
            if await self._redis.set(name, token, nx=True, px=self._expire_ms):
                return Claimed.WON
            found = await self._redis.get(name)
        except AWAY:
            return Claimed.UNSURE
        return Claimed.DONE if found in (DONE, DONE.encode()) else Claimed.HELD

    async def _renew(self, name: str, token: str) -> None:
        while True:
            await asyncio.sleep(self._expire_ms / 3000)
            with suppress(*AWAY):
                await self._redis.eval(RENEW, 1, name, token, str(self._expire_ms))
