"""Who handles an event that comes by two ways, or to several replicas: the first to claim its key.

A claim is taken, kept while the work goes on, and then either done, so that a later delivery finds it so, or
given back. Whoever dies in between leaves a claim that expires.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

__all__ = ["Claim", "Claimed", "Claims", "LocalClaims"]

MAX_KEYS: Final = 100_000


class Claimed(str, Enum):
    """What became of an attempt to claim."""

    WON = "won"
    DONE = "done"
    HELD = "held"
    UNSURE = "unsure"
    """Nobody could be asked."""


@dataclass(slots=True)
class Claim:
    """A claim; whoever won it says when the work `is_done`, else it is given back at the end."""

    state: Claimed
    is_done: bool = False


class Claims(Protocol):
    """Where claims are kept."""

    def hold(self, service: str, key: str, keep_s: float | None = None) -> AbstractAsyncContextManager[Claim]:
        """Claim it for as long as the body runs; what is done is remembered for `keep_s` seconds."""


class LocalClaims:
    """Claims within one process; a bounded number of them."""

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._held: set[tuple[str, str]] = set()
        self._done: dict[tuple[str, str], float] = {}

    @asynccontextmanager
    async def hold(self, service: str, key: str, keep_s: float | None = None) -> AsyncIterator[Claim]:
        """As `Claims.hold`."""
        self._forget()
        name = (service, key)
        if name in self._done or name in self._held:
            yield Claim(Claimed.DONE if name in self._done else Claimed.HELD)
            return
        claim = Claim(Claimed.WON)
        self._held.add(name)
        try:
            yield claim
        finally:
            self._held.discard(name)
            if claim.is_done:
                self._done[name] = self._clock() + (self._keep_s if keep_s is None else keep_s)

    def _forget(self) -> None:
        """What is over, and the oldest of too many."""
        now = self._clock()
        while self._done:
            name = next(iter(self._done))
            if self._done[name] > now and len(self._done) < MAX_KEYS:
                return
            del self._done[name]
