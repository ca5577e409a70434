"""`forward:URL`: events to an existing service by signed POST; the bridge to what is not written in Python.

The body is the event as it came. 2xx is done; 408, 425, 429 and 5xx are waited for; any other answer, also a
redirect, is a dead letter. Addresses come from the settings only, never from an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from cdc_sync.dispatcher.context import Context, Handler
from cdc_sync.dispatcher.errors import Reject, RetryLater
from cdc_sync.dispatcher.events import Event
from cdc_sync.dispatcher.webhooks import sign
from cdc_sync.errors import ConfigError

__all__ = ["PublicOnly", "forward_to"]

LATER: Final = frozenset({408, 425, 429})
SERVER_ERROR: Final = 500
MAX_WAIT_S: Final = 300.0


class PublicOnly(AbstractResolver):
    """Resolves to addresses of the public internet only, whatever a name says at this moment."""

    def __init__(self) -> None:
        self._resolver = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """The public addresses of a host. Raises `OSError` where it has none."""
        found = await self._resolver.resolve(host, port, family=family)  # type: ignore[arg-type]  # an int, too
        public = [one for one in found if ip_address(one["host"]).is_global]
        if not public:
            raise OSError(f"{host} has no public address, and CDC_SYNC_DISPATCHER__FORWARD_PRIVATE is false")
        return public

    async def close(self) -> None:
        """Nothing is kept."""
        await self._resolver.close()


def forward_to(
    url: str,
    secret: bytes | None,
    session: Callable[[], aiohttp.ClientSession],
    *,
    allow_private: bool,
    setting: str,
) -> Handler:
    """The handler that posts to this URL, signed where there is a secret. Raises `ConfigError`."""
    check_url(url, allow_private=allow_private, setting=setting)

    async def forward(_: Event, context: Context) -> None:
        headers = headers_for(context, secret)
        try:
            async with session().post(
                url, data=context.body, headers=headers, allow_redirects=False
            ) as answer:
                judge(answer.status, answer.headers.get("Retry-After", ""), url)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise RetryLater(f"{url}: {error}") from error

    return Handler(f"forward:{url}", forward, is_async=True)


def check_url(url: str, *, allow_private: bool, setting: str) -> None:
    """Raises `ConfigError` for what is no URL, or one of an address that is not allowed."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{setting}: forward: expected http://… or https://…, not {url!r}")
    if parts.username or parts.password:
        raise ConfigError(f"{setting}: forward: a user in the URL would be logged; it is not used")
    if not allow_private and is_private(parts.hostname):
        raise ConfigError(
            f"{setting}: forward: {parts.hostname} is a private address, and "
            "CDC_SYNC_DISPATCHER__FORWARD_PRIVATE is false"
        )


def is_private(host: str) -> bool:
    """Whether a host is written as an address that is not public; names are looked at when resolved."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return False


def headers_for(context: Context, secret: bytes | None) -> dict[str, str]:
    """What the receiver verifies, and how it tells a repetition."""
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": context.idempotency_key,
        "X-Event-Topic": context.address,
        "X-Event-Service": context.service,
    }
    if secret is not None:
        headers |= {
            "webhook-id": context.idempotency_key,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(secret, context.idempotency_key, now, context.body),
        }
    return headers


def judge(status: int, retry_after: str, url: str) -> None:
    """What an answer means. Raises `RetryLater` or `Reject` unless it is 2xx."""
    if 200 <= status < 300:
        return
    if status in LATER or status >= SERVER_ERROR:
        asked_s = min(float(retry_after), MAX_WAIT_S) if retry_after.isdigit() else None
        raise RetryLater(f"{url} answered {status}", asked_s)
    raise Reject(f"{url} answered {status}")
