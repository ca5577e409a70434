"""Whose token it is, and which rooms it opens: JSON Web Tokens with pinned algorithms.

`iss`, `aud` and `exp` are demanded. Rooms are the room templates filled in with the token's claims
(`{merchantId}`, one name or a list of them); there are no others, and no wildcards.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import aiohttp
import jwt

from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.names import is_room
from cdc_sync.dispatcher.protocol import Identity
from cdc_sync.errors import ConfigError

__all__ = ["JwksKeys", "KeySource", "OneKey", "TokenRefused", "Tokens", "rooms_for"]

CLAIM: Final = re.compile(r"\{(\w+)\}")
REFETCH_AFTER_S: Final = 30.0


class TokenRefused(Exception):
    """The token opens nothing; the text is for the log, not for the client."""


class KeySource(Protocol):
    """Where the keys come from that tokens are signed with."""

    async def key_for(self, token: str) -> Any:
        """The key for this token. Raises `TokenRefused`."""


class OneKey:
    """A public key in PEM, or a shared secret for HS256."""

    def __init__(self, key: str, algorithms: Sequence[str], setting: str) -> None:
        is_pem = key.lstrip().startswith("-----BEGIN")
        if is_pem == any(name.startswith("HS") for name in algorithms):
            wanted = "a shared secret" if is_pem else "a public key in PEM"
            raise ConfigError(f"{setting}: {', '.join(algorithms)} wants {wanted}")
        self._key = key.strip()

    async def key_for(self, token: str) -> Any:
        """As `KeySource.key_for`."""
        return self._key


class JwksKeys:
    """The keys of a JWKS, kept: while it is away, those that are known still serve."""

    def __init__(
        self,
        url: str,
        session: Callable[[], aiohttp.ClientSession],
        meters: Meters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._session = session
        self._meters = meters
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._asked_at = float("-inf")

    async def key_for(self, token: str) -> Any:
        """As `KeySource.key_for`."""
        try:
            kid = str(jwt.get_unverified_header(token).get("kid"))
        except jwt.PyJWTError as error:
            raise TokenRefused(str(error)) from error
        if kid not in self._keys and self._clock() - self._asked_at > REFETCH_AFTER_S:
            self._asked_at = self._clock()
            await self._fetch()
        if kid not in self._keys:
            raise TokenRefused("signed by a key that is not known")
        return self._keys[kid]

    async def _fetch(self) -> None:
        try:
            async with self._session().get(self._url, allow_redirects=False) as answer:
                answer.raise_for_status()
                found = jwt.PyJWKSet.from_dict(await answer.json(content_type=None))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, jwt.PyJWTError) as error:
            self._meters.trouble("no keys to verify tokens with", url=self._url, error=str(error))
            return
        self._keys = {str(key.key_id): key for key in found.keys}


class Tokens:
    """Verifies tokens."""

    def __init__(
        self,
        keys: KeySource,
        *,
        algorithms: Sequence[str],
        issuer: str,
        audience: str,
        room_templates: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._algorithms = list(algorithms)
        self._issuer = issuer
        self._audience = audience
        self._templates = tuple(room_templates)
        self._clock = clock

    async def verify(self, token: str) -> Identity:
        """Who it is. Raises `TokenRefused`."""
        key = await self._keys.key_for(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # the latter: a key of another kind
            raise TokenRefused(str(error)) from error
        user_id = str(claims.get("sub") or claims.get("userId") or "")
        return Identity(
            user_id, frozenset(rooms_for(self._templates, claims)), float(claims["exp"]) - self._clock()
        )


def rooms_for(templates: Iterable[str], claims: Mapping[str, Any]) -> Iterable[str]:
    """The rooms that these claims open."""
    for template in templates:
        for name in CLAIM.findall(template)[:1]:
            value = claims.get(name)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str | int) and not isinstance(one, bool):
                    room = template.replace(f"{{{name}}}", str(one))
                    if is_room(room) and room.count("/") == template.count("/"):
                        yield room
