"""Webhooks from MQ-Pay: verified, stored in a Kafka topic, and only then acknowledged.

The signature is Standard Webhooks' (HMAC-SHA256 over `id.timestamp.body`, headers `webhook-id`,
`webhook-timestamp`, `webhook-signature`). It does not cover `X-Webhook-Event-Type`, so that header must be
what the signed body says, or a captured failure could be sent again as a success. A delivery whose id was
stored before is acknowledged and not stored again. Nothing is kept in memory: without Kafka the answer is
503, and MQ-Pay sends it again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple

from aiohttp import web

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.claims import Claimed, Claims, LocalClaims
from cdc_sync.dispatcher.errors import NotPublished, Reject
from cdc_sync.dispatcher.events import MqPayEvent
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.producer import Headers, Producers, cloud_event
from cdc_sync.dispatcher.reading import read
from cdc_sync.errors import ConfigError, DecodeError

__all__ = ["MAX_BODY", "Refused", "Verifier", "Webhooks", "secret_bytes", "sign"]

MAX_BODY: Final = 262_144
MAX_ID: Final = 256
READ_WITHIN_S: Final = 10.0
STORE_WITHIN_S: Final = 10.0
RETRY_AFTER: Final = {"Retry-After": "5"}
BASE64: Final = "whsec_"


class Refused(Exception):
    """What is answered; the reason is a metric's label, the sender is told nothing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def secret_bytes(secret: str, setting: str) -> bytes:
    """The key: `whsec_…` is base64, anything else is taken as it is. Raises `ConfigError`."""
    if not secret.startswith(BASE64):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(BASE64), validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{setting}: after whsec_ base64 is expected") from error


def sign(secret: bytes, delivery_id: str, timestamp_s: int, body: bytes) -> str:
    """The signature that a receiver expects, with its version."""
    content = b".".join((delivery_id.encode(), str(timestamp_s).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, content, sha256).digest()).decode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """Whether a webhook is from who knows a secret, and of now. Several secrets, to change them."""

    secrets: tuple[bytes, ...]
    tolerance_s: float

    def check(self, headers: Mapping[str, str], body: bytes, now: float) -> str:
        """The delivery's id. Raises `Refused`."""
        delivery_id = headers.get("webhook-id", "")
        timestamp = headers.get("webhook-timestamp", "")
        given = headers.get("webhook-signature", "")
        is_text = (delivery_id + timestamp + given).isascii() and len(delivery_id) <= MAX_ID
        if not (is_text and delivery_id and given and timestamp.isdigit()):
            raise Refused(400, "headers")
        if len(timestamp) > len(str(int(now))) or abs(now - int(timestamp)) > self.tolerance_s:
            raise Refused(401, "stale")
        signatures = [one.encode() for one in given.split(" ")]
        expected = [sign(secret, delivery_id, int(timestamp), body).encode() for secret in self.secrets]
        # Every pair is compared, so that the time taken says nothing.
        if not any([hmac.compare_digest(one, ours) for one in signatures for ours in expected]):  # noqa: C419
            raise Refused(401, "signature")
        return delivery_id


class Accepted(NamedTuple):
    """A webhook that is what it says."""

    delivery_id: str
    event: MqPayEvent
    body: bytes


class Webhooks:
    """Receives. `verifier` None takes unsigned ones from the networks in `unsigned_from` only."""

    def __init__(
        self,
        producers: Producers,
        meters: Meters,
        verifier: Verifier | None,
        claims: Claims | None,
        *,
        tolerance_s: float,
        unsigned_from: Sequence[IPv4Network | IPv6Network] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._producers = producers
        self._meters = meters
        self._verifier = verifier
        self._claims = claims
        self._keep_s = 2 * tolerance_s
        self._local = LocalClaims(self._keep_s)
        self._unsigned_from = tuple(unsigned_from)
        self._clock = clock
        self.is_stopping = False

    async def receive(self, request: web.Request) -> web.Response:
        """202 stored, 200 stored before, 503 try again; else what is wrong with it, without details."""
        try:
            status, outcome = await self._store(await self._accepted(request))
        except Refused as refusal:
            status, outcome = refusal.status, refusal.reason
        self._meters.count("webhooks_total", outcome)
        return web.Response(status=status, headers=RETRY_AFTER if status == 503 else None)

    async def _accepted(self, request: web.Request) -> Accepted:
        if self.is_stopping:
            raise Refused(503, "stopping")
        if request.content_type != "application/json":
            raise Refused(415, "content_type")
        body = await body_of(request)
        delivery_id = self._verified(request, body)
        kind = request.headers.get(catalog.WEBHOOK.header)
        if not kind:
            raise Refused(400, "no_type")
        if kind not in catalog.WEBHOOK_EVENTS:
            raise Refused(422, "unknown_type")
        try:
            event = read(MqPayEvent, body)
            _ = event.subject
        except DecodeError as error:
            raise Refused(400, "undecodable") from error
        if event.event_type != kind:
            raise Refused(400, "type_mismatch")
        return Accepted(delivery_id, event, body)

    def _verified(self, request: web.Request, body: bytes) -> str:
        if self._verifier is not None:
            return self._verifier.check(request.headers, body, self._clock())
        address = ip_address(request.remote or "0.0.0.0")  # noqa: S104  # an address of nobody
        if not any(address in network for network in self._unsigned_from):
            raise Refused(401, "address")
        return request.headers.get("webhook-id") or sha256(body).hexdigest()

    async def _store(self, accepted: Accepted) -> tuple[int, str]:
        """Claimed in this process, and for all replicas where Redis can be asked."""
        async with self._local.hold("webhook", accepted.delivery_id) as local:
            if local.state is not Claimed.WON:
                return known(local.state)
            if self._claims is None:
                return await self._publish(accepted, done=lambda: setattr(local, "is_done", True))
            async with self._claims.hold("webhook", accepted.delivery_id, self._keep_s) as shared:
                if shared.state in (Claimed.DONE, Claimed.HELD):
                    return known(shared.state)

                def done() -> None:
                    local.is_done = shared.is_done = True

                return await self._publish(accepted, done)

    async def _publish(self, accepted: Accepted, done: Callable[[], None]) -> tuple[int, str]:
        event = accepted.event
        headers: Headers = [
            *cloud_event(event.event_type, "mq-pay", accepted.delivery_id),
            (catalog.WEBHOOK.header, event.event_type.encode()),
        ]
        try:
            async with asyncio.timeout(STORE_WITHIN_S):
                await self._producers.send(catalog.INBOX.name, event.key, accepted.body, headers)
        except (NotPublished, TimeoutError) as error:
            self._meters.trouble("webhook not stored", error=str(error))
            return 503, "not_stored"
        except Reject:
            return 413, "too_large"
        done()
        return 202, "stored"


def known(state: Claimed) -> tuple[int, str]:
    """The answer to a delivery that was here before."""
    return (200, "replayed") if state is Claimed.DONE else (503, "in_flight")


async def body_of(request: web.Request) -> bytes:
    """The body, as it came. Raises `Refused` where it is too large or too slow."""
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Refused(413, "too_large") from error
    except TimeoutError as error:
        raise Refused(408, "too_slow") from error
