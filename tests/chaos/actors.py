"""Who carries out a plan's deeds: on replicas, on servers. Each is used by its own track's thread only."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from tests.e2e.daemon import Daemon, DaemonFailed
from tests.e2e.quiet import NotQuiet, wait_streamed
from tests.e2e.world import World
from tools.stack import ConnectorFailed, Part

from .plan import Deed
from .proxy import FaultProxy
from .runlog import RunLog

__all__ = ["Replicas", "Servers"]

SETTINGS: Final[Mapping[str, str]] = {
    # Shorter than the hangs of a plan, so that answers get lost.
    "CDC_SYNC_TYPESENSE__REQUEST_TIMEOUT_S": "5",
    "CDC_SYNC_TYPESENSE__MAX_BACKOFF_S": "2",
    "CDC_SYNC_KAFKA__MAX_POLL_INTERVAL_MS": "60000",
}

_STREAM_S: Final = 40.0
_WORKER_RESTARTS: Final = 3


class Replicas:
    """Replicas by their number, each behind a port of the proxy of its own."""

    def __init__(self, world: World, proxy: FaultProxy, log: RunLog) -> None:
        self._world = world
        self._proxy = proxy
        self._log = log
        self._daemons: dict[int, Daemon] = {}
        self._down: set[int] = set()
        self.problems: list[str] = []

    def do(self, deed: Deed, target: str) -> None:
        """One deed on `replica N`."""
        number = int(target.split()[1])
        match deed:
            case Deed.START:
                self._start(number)
            case Deed.KILL:
                self._say(number, "SIGKILL")
                self._down.add(number)
                self._daemons[number].kill()
            case Deed.TERMINATE:
                self._terminate(number)
            case Deed.SUSPEND:
                self._say(number, "SIGSTOP")
                self._daemons[number].suspend()
            case Deed.RESUME:
                self._say(number, "SIGCONT")
                self._daemons[number].resume()
            case _:
                raise ValueError(deed)

    def check(self) -> None:
        """Note replicas that have ended by themselves. Raises: DaemonFailed, if there is one."""
        for number, daemon in self._daemons.items():
            if number not in self._down and not daemon.is_running():
                self._down.add(number)
                self._fail(number, f"ended by itself, code {daemon.exit_code}\n{daemon.tail()}")
                raise DaemonFailed(self.problems[-1])

    def running(self) -> dict[int, Daemon]:
        """The replicas that should be up."""
        return {number: d for number, d in self._daemons.items() if number not in self._down}

    def _start(self, number: int) -> None:
        daemon = self._daemons.get(number)
        if daemon is None:
            url = self._proxy.open_port(number)
            settings = {**SETTINGS, "CDC_SYNC_TYPESENSE__URL": url}
            daemon = self._daemons[number] = self._world.start_daemon(ready=False, **settings)
        else:
            daemon.start(ready=False)
        self._down.discard(number)
        self._say(number, "started")

    def _terminate(self, number: int) -> None:
        daemon = self._daemons[number]
        pid = daemon.pid
        # Before it listens it has no handler yet, and ends as any process does.
        codes = (0,) if daemon.ask("/healthz")[0] else (0, -signal.SIGTERM)
        self._account(number, daemon)
        self._log.say("replicas", f"replica {number} (pid {pid}): SIGTERM")
        self._down.add(number)
        started = time.monotonic()
        try:
            code = daemon.stop()
        except DaemonFailed as error:
            self._fail(number, str(error))
            return
        took_s = time.monotonic() - started
        self._log.say("replicas", f"replica {number} (pid {pid}): ended with {code} after {took_s:.1f} s")
        if code not in codes:
            self._fail(number, f"SIGTERM ended it with code {code}\n{daemon.tail()}")

    def _account(self, number: int, daemon: Daemon) -> None:
        errors = sum(daemon.metric("cdc_sync_accounting_errors_total").values())
        if errors:
            self._fail(number, f"cdc_sync_accounting_errors_total is {errors:.0f}")

    def _fail(self, number: int, text: str) -> None:
        self.problems.append(f"replica {number}: {text}")
        self._log.say("replicas", f"PROBLEM {self.problems[-1]}")

    def _say(self, number: int, what: str) -> None:
        daemon = self._daemons[number]
        pid = daemon.pid if daemon.is_running() else "gone"
        self._log.say("replicas", f"replica {number} (pid {pid}): {what}")


class Servers:
    """Broker, Connect and the search server, where they are ours to end."""

    def __init__(self, world: World, typesense: Part | None, log: RunLog) -> None:
        self._world = world
        self._log = log
        self._parts: dict[str, Part] = {"broker": world.stack.broker, "connect": world.stack.connect}
        if typesense is not None:
            self._parts["typesense"] = typesense

    def do(self, deed: Deed, target: str) -> bool:
        """One deed on a server by its name; False where it is not ours."""
        part = self._parts.get(target)
        if part is None:
            self._log.say("servers", f"{target}: not ours, {deed} left out")
            return False
        acts: dict[Deed, Callable[[], None]] = {
            Deed.START: part.start,
            Deed.KILL: part.kill,
            Deed.TERMINATE: part.stop,
        }
        self._log.say("servers", f"{target}: {deed}")
        acts[deed]()
        if deed is Deed.START:
            part.wait_ready()
            self._log.say("servers", f"{target}: answers")
            if target != "typesense":
                self.wait_streaming()
        return True

    def wait_ready(self) -> None:
        """Return when all of them answer."""
        for part in self._parts.values():
            part.start()
            part.wait_ready()

    def wait_streaming(self) -> None:
        """Return when what is committed now is in Kafka.

        After the broker was killed, a worker may be RUNNING and deliver nothing (`debezium.md`): it is
        restarted then. Raises: NotQuiet when that does not help.
        """
        for _ in range(_WORKER_RESTARTS):
            try:
                self._world.wait_streaming(deadline_s=_STREAM_S)
                wait_streamed(self._world.conninfo, self._world.name, deadline_s=_STREAM_S)
            except (NotQuiet, ConnectorFailed, TimeoutError, OSError) as error:
                first_line = str(error).split("\n")[0]
                self._log.say("servers", f"connect delivers nothing, the worker is restarted: {first_line}")
                self._world.stack.connect.restart()
            else:
                self._log.say("servers", "connect delivers")
                return
        raise NotQuiet("connect delivers nothing, whatever is restarted")
