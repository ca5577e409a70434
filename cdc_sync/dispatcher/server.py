"""The dispatcher while it runs: starts its parts on one event loop, watches them, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from cdc_sync.dispatcher.channels import ChannelQueues
from cdc_sync.dispatcher.consumer import GroupMember
from cdc_sync.dispatcher.edge import Edge
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.producer import Producers
from cdc_sync.dispatcher.pubsub import Subscriber
from cdc_sync.dispatcher.webhooks import MAX_BODY, Webhooks
from cdc_sync.errors import ConfigError, FatalError
from cdc_sync.log import get_logger

__all__ = ["Dispatcher", "Parts", "Sessions"]

LOOK_EVERY_S: Final = 0.1
STUCK_AFTER_S: Final = 60.0
FLUSH_S: Final = 5.0
PREPARE_AGAIN_S: Final = 5.0

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sessions:
    """The HTTP session of outgoing requests: it can be made only where the loop runs."""

    def __init__(self, make: Callable[[], aiohttp.ClientSession]) -> None:
        self._make = make
        self._session: aiohttp.ClientSession | None = None

    def __call__(self) -> aiohttp.ClientSession:
        """The session."""
        if self._session is None:
            self._session = self._make()
        return self._session

    async def close(self) -> None:
        """Close it, if there is one."""
        if self._session is not None:
            await self._session.close()


@dataclass(frozen=True, slots=True)
class Parts:
    """What the dispatcher is made of; what is not asked for is missing."""

    members: Sequence[Callable[[asyncio.AbstractEventLoop], GroupMember]]
    producers: Producers
    sessions: Sessions
    subscribers: Sequence[Subscriber] = ()
    queues: ChannelQueues | None = None
    webhooks: Webhooks | None = None
    edge: Edge | None = None
    prepare: Sequence[Callable[[], str | None]] = ()
    """What has to be there first; tried until it returns no reason why not. They may block."""
    routes: Sequence[tuple[str, str, Serve]] = ()
    close: Sequence[Callable[[], Awaitable[object]]] = field(default=())


class Dispatcher:
    """`run` until `stop` is set; then what was begun is finished, within `drain_s` seconds."""

    def __init__(self, parts: Parts, meters: Meters, *, address: tuple[str, int], drain_s: float) -> None:
        self._parts = parts
        self._meters = meters
        self._address = address
        self._drain_s = drain_s
        self._members: list[GroupMember] = []
        self._turned_at = time.monotonic()
        self._has_started = False
        self._log = get_logger("dispatcher")
        self.port = 0

    # Probes ------------------------------------------------------------------------------------------

    def problems_of_life(self) -> list[str]:
        """Why the process should be restarted."""
        age_s = time.monotonic() - self._turned_at
        return [f"the event loop has not turned for {age_s:.0f} s"] if age_s > STUCK_AFTER_S else []

    def problems(self) -> list[str]:
        """Why not everything is handled now."""
        found = self.problems_of_life()
        if not self._has_started:
            found.append("the dispatcher is starting")
        for member in self._members:
            found += member.problems()
        if not all(subscriber.is_connected for subscriber in self._parts.subscribers):
            found.append("not subscribed to Redis")
        return found

    # Running -----------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Raises `FatalError` where a part broke, or did not come to its end in time."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        runner = await self._listen()
        tasks = [loop.create_task(work) for work in self._background()]
        self._members = [make(loop) for make in self._parts.members]
        try:
            for member in self._members:
                member.start()
            self._has_started = True
            self._log.info("dispatcher started", members=len(self._members), http_port=self.port)
            while not stop.is_set() and not self._broken(tasks):
                self._turned_at = time.monotonic()
                await asyncio.sleep(LOOK_EVERY_S)
                late_s = time.monotonic() - self._turned_at - LOOK_EVERY_S
                self._meters.set("loop_lag_seconds", max(0.0, late_s))
            broken = self._broken(tasks)
        finally:
            complete = await self._finish(runner, tasks)
        self._log.info("dispatcher stopped", all_handled=complete)
        if broken:
            raise FatalError(f"the dispatcher broke: {'; '.join(broken)}")
        if not complete:
            raise FatalError("a handler did not come to its end in time; its event is handled again")

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        work = [subscriber.run() for subscriber in self._parts.subscribers]
        work += [self._prepare(make) for make in self._parts.prepare]
        if self._parts.queues is not None:
            work.append(self._parts.queues.run())
        if self._parts.edge is not None:
            work.append(self._parts.edge.sweep())
        return work

    async def _prepare(self, make: Callable[[], str | None]) -> None:
        while (reason := await asyncio.to_thread(make)) is not None:
            self._meters.trouble("topic not made", reason=reason)
            await asyncio.sleep(PREPARE_AGAIN_S)

    def _broken(self, tasks: Sequence[asyncio.Task[None]]) -> list[str]:
        failed = [repr(e) for task in tasks if task.done() and (e := task.exception()) is not None]
        return failed + [f"{m.client_id}: {m.crash}" for m in self._members if m.crash is not None]

    async def _listen(self) -> web.AppRunner | None:
        if not self._parts.routes:
            return None
        app = web.Application(client_max_size=MAX_BODY)
        for method, path, serve in self._parts.routes:
            app.router.add_route(method, path, serve)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, *self._address)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            host, port = self._address
            where = f"CDC_SYNC_DISPATCHER__PORT: cannot listen on {host}:{port}"
            raise ConfigError(f"{where}: {error.strerror}; choose a free port") from error
        self.port = runner.addresses[0][1]
        return runner

    async def _finish(self, runner: web.AppRunner | None, tasks: Sequence[asyncio.Task[None]]) -> bool:
        """Take nothing more, finish what was begun, leave; whether all of it came to its end."""
        parts = self._parts
        if parts.webhooks is not None:
            parts.webhooks.is_stopping = True
        for member in self._members:
            member.ask_to_stop()
        ends = [asyncio.to_thread(member.stop, self._drain_s + 8.0) for member in self._members]
        complete = all(await asyncio.gather(*ends))
        if parts.edge is not None:
            await parts.edge.stop()
        if runner is not None:
            await runner.cleanup()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(parts.producers.close, FLUSH_S)
        await parts.sessions.close()
        for close in parts.close:
            with contextlib.suppress(OSError, TimeoutError):
                await close()
        return complete
