"""What is done with one event: claimed, given to each handler under a deadline, tried again, or refused.

From Kafka an event is handled at least once: errors that pass are waited for without an end and nothing
behind it overtakes; errors that do not pass become a dead letter; one that nobody has classed is tried a few
times first. From Redis it is handled at most once: whatever goes wrong, Kafka delivers it again.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from cdc_sync.dispatcher.claims import Claimed, Claims
from cdc_sync.dispatcher.context import Context, Handler, Outlets
from cdc_sync.dispatcher.errors import Exhausted, RetryLater
from cdc_sync.dispatcher.events import EVENTS, Event, digest
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.reading import read
from cdc_sync.errors import Abandoned, DecodeError, RecordError, TransientError
from cdc_sync.model import Record

__all__ = ["Binding", "Handling", "Policy", "Turn"]

UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
CLAIM_RETRY_S: Final = 0.5
HINT_KEPT_S: Final = 10.0
"""How long replicas remember an event that only Redis has, so that one of them handles it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often. Times in seconds."""

    deadline_s: float = 30.0
    max_attempts: int = 5
    min_backoff_s: float = 0.2
    max_backoff_s: float = 60.0
    transient: tuple[type[BaseException], ...] = ()
    """Other people's errors that pass, beside connections and time-outs."""

    def passes(self, error: BaseException) -> bool:
        """Whether trying again later may help, since nothing is wrong with the event."""
        passing: tuple[type[BaseException], ...]
        passing = (TransientError, ConnectionError, TimeoutError, socket.gaierror, *self.transient)
        return isinstance(error, passing) or (isinstance(error, OSError) and error.errno in UNREACHABLE)

    def backoff_s(self, failures: int, dice: Callable[[], float] = random.random) -> float:
        """The pause after so many failures: doubled each time, half of it by chance."""
        longest = min(self.max_backoff_s, self.min_backoff_s * 2.0 ** min(failures - 1, 16))
        return longest * (0.5 + dice() / 2)


@dataclass(frozen=True, slots=True)
class Binding:
    """A service's handlers of one topic, and the Redis channel that says the same."""

    service: str
    address: str
    handlers: tuple[Handler, ...]
    channel: str | None = None

    @property
    def is_effectful(self) -> bool:
        """Whether any of them does something."""
        return any(handler.is_effectful for handler in self.handlers)


class Turn(Protocol):
    """An event's turn in its lane: it may have to wait, and may be taken away."""

    async def wait(self, seconds: float, why: str) -> None:
        """Return after so many seconds. Raises `Abandoned` when the event is not ours any more."""


class Handling:
    """Gives events to handlers. On the event loop."""

    def __init__(
        self, outlets: Outlets, policy: Policy, meters: Meters, claims: Claims | None = None
    ) -> None:
        self._outlets = outlets
        self._policy = policy
        self._meters = meters
        self._claims = claims

    # Kafka -------------------------------------------------------------------------------------------

    async def from_kafka(self, binding: Binding, record: Record, turn: Turn) -> None:
        """Return when it is handled. Raises `RecordError` where it never can be, `Abandoned`."""
        event = self._event(binding, record)
        context = self._context(binding, event, record)
        left = list(binding.handlers)
        failures = 0
        for tries in count(1):
            try:
                await self._attempt(binding, event, context, left)
            except (RecordError, Abandoned):
                raise
            except Exception as error:  # a handler's: whatever it is, it is about this event alone
                passes = self._policy.passes(error)
                failures += not passes
                if failures >= self._policy.max_attempts:
                    reason = f"{left[0].name} failed {failures} times: {type(error).__name__}: {error}"
                    raise Exhausted(reason) from error
                self._meters.count("retries_total", binding.service, binding.address, type(error).__name__)
                after_s = error.after_s if isinstance(error, RetryLater) else None
                pause_s = self._policy.backoff_s(tries) if after_s is None else after_s
                await turn.wait(
                    pause_s, f"{binding.service} {binding.address}: {type(error).__name__}: {error}"
                )
            else:
                return

    def _event(self, binding: Binding, record: Record) -> Event:
        return read(EVENTS[binding.address], record.value)

    def _context(self, binding: Binding, event: Event, record: Record) -> Context:
        topic, number = record.partition
        ids = [value for name, value in record.headers if name == "ce_id" and value]
        named = ids[0].decode("utf-8", "replace") if ids else f"{topic}-{number}-{record.offset}"
        return Context(
            binding.service,
            binding.address,
            "kafka",
            event.natural_key or named,
            record.value or b"",
            record.headers,
            self._outlets,
        )

    async def _attempt(self, binding: Binding, event: Event, context: Context, left: list[Handler]) -> None:
        """Once through the handlers that have not had it; under a claim where it comes by two ways."""
        if self._claims is None or binding.channel is None:
            await self._run(event, context, left)
            return
        async with self._claims.hold(binding.service, context.idempotency_key) as claim:
            match claim.state:
                case Claimed.DONE:
                    self._meters.count("duplicates_total", binding.service, binding.address, "kafka")
                    return
                case Claimed.HELD:
                    raise RetryLater("its other delivery is being handled", CLAIM_RETRY_S)
                case Claimed.WON | Claimed.UNSURE:  # without Redis, rather twice than never
                    await self._run(event, context, left)
                    claim.is_done = True

    async def _run(self, event: Event, context: Context, left: list[Handler]) -> None:
        while left:
            handler = left[0]
            begun = time.perf_counter()
            if handler.is_async:
                await self._bounded(handler, event, context)
            else:
                await self._on_thread(handler, event, context)
            labels = (context.service, context.address, handler.name)
            self._meters.observe("handler_seconds", time.perf_counter() - begun, *labels)
            del left[0]

    async def _bounded(self, handler: Handler, event: Event, context: Context) -> None:
        """Under the deadline; after it the handler is cancelled, and tried again."""
        clock = asyncio.timeout(self._policy.deadline_s)
        task = asyncio.current_task()
        try:
            async with clock:
                await awaited(handler.call(event, context))
        except TimeoutError as error:
            if not clock.expired():
                raise
            self._meters.count("handler_timeouts_total", context.service, context.address, handler.name)
            raise RetryLater(f"{handler.name} took longer than {self._policy.deadline_s:g} s") from error
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            raise RuntimeError("it cancelled itself") from error  # not us: the lane must not end with it
        except SystemExit as error:
            raise RuntimeError(f"it called exit: {error}") from error

    async def _on_thread(self, handler: Handler, event: Event, context: Context) -> None:
        """On a thread of its own, which nobody can end: after the deadline it is counted, and waited for.

        Run again meanwhile, it would run twice at once.
        """
        done = thread_for(handler, event, context)
        while not done.done():
            finished, _ = await asyncio.wait({done}, timeout=self._policy.deadline_s)
            if not finished:
                labels = (context.service, context.address, handler.name)
                self._meters.count("handler_timeouts_total", *labels)
        error = done.result()
        if error is not None:
            raise error

    # Redis -------------------------------------------------------------------------------------------

    async def from_redis(self, binding: Binding, channel: str, body: bytes) -> None:
        """Handle it at once, if nobody else does. Nothing is raised: what is lost here comes by Kafka."""
        labels = (binding.service, channel)
        try:
            event = read(EVENTS[channel], body)
        except DecodeError:
            self._meters.count("redis_events_total", *labels, "undecodable")
            return
        key = event.natural_key or digest(event)
        context = Context(binding.service, channel, "redis", key, body, (), self._outlets)
        if self._claims is None:
            raise RuntimeError("events from Redis need claims")
        has_twin = binding.channel is not None
        claim_key = key if has_twin else f"{channel}:{key}"
        keep_s = None if has_twin else HINT_KEPT_S
        async with self._claims.hold(binding.service, claim_key, keep_s) as claim:
            if claim.state is not Claimed.WON:
                self._meters.count("redis_events_total", *labels, claim.state.value)
                return
            try:
                await self._run(event, context, list(binding.handlers))
            except Exception as error:  # a handler's; Kafka delivers the event again, where it can
                self._meters.count("redis_events_total", *labels, "failed")
                self._meters.trouble("redis event not handled", channel=channel, error=repr(error))
            else:
                claim.is_done = True
                self._meters.count("redis_events_total", *labels, "handled")


async def awaited(call: Awaitable[None] | None) -> None:
    """The result of a handler that said it is `async`."""
    if call is not None:
        await call


def thread_for(handler: Handler, event: Event, context: Context) -> asyncio.Future[Exception | None]:
    """The error of a plain function, or None. On a daemon thread, which cannot hold up the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Exception | None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if not done.done():
            done.set_result(error)

    def run() -> None:
        error: Exception | None = None
        try:
            handler.call(event, context)
        except Exception as raised:  # a handler's
            error = raised
        except SystemExit as raised:
            error = RuntimeError(f"it called exit: {raised}")
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, name=f"handler-{handler.name}", daemon=True).start()
    return done
