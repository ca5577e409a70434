"""Carries out a plan: a world, its workload, four tracks beside each other, then quiet and the verdict."""

from __future__ import annotations

import os
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.compare import Server
from tests.e2e.daemon import DaemonFailed
from tests.e2e.quiet import NotQuiet
from tests.e2e.servers import real_server, standin_part
from tests.e2e.workload import Workload
from tests.e2e.world import World
from tools.stack import Part, Stack, Topics

from .actors import Replicas, Servers
from .plan import Deed, Plan, Step, Track
from .poison import Injected, Poisoner
from .proxy import FaultProxy
from .runlog import RunLog
from .verdict import judge

__all__ = ["Campaign", "own_stack", "search_server"]

_PARTITIONS: Final = 3
_POISON_ROWS: Final = 8
_MAX_ROWS: Final = 150
_SETTLE_S: Final = 180.0


def own_stack() -> Stack:
    """A stack that nobody else uses: its parts are going to be killed. Not started yet."""
    containers = {name: value for name, value in os.environ.items() if name == "CDC_SYNC_TEST_CONTAINERS"}
    return Stack(environment=containers)


@contextmanager
def search_server(folder: Path) -> Iterator[tuple[Server, Part | None]]:
    """The real Typesense that the environment names, emptied; else a stand-in that keeps its data."""
    real = real_server()
    if real is not None:
        yield real, None
        return
    server, part = standin_part(folder, data=folder / "typesense")
    part.start()
    try:
        part.wait_ready()
        yield server, part
    finally:
        part.kill()


class Campaign:
    """One run of a plan. `run` once, then `close`; `carried_out` are the kinds that did happen."""

    def __init__(
        self,
        plan: Plan,
        stack: Stack,
        server: Server,
        typesense: Part | None,
        folder: Path,
        log: RunLog,
    ) -> None:
        """`typesense` is the process behind `server` where it is ours to end."""
        self._plan = plan
        self._folder = folder
        self._log = log
        address = urllib.parse.urlsplit(server.url)
        self._proxy = FaultProxy(
            (address.hostname or "127.0.0.1", address.port or 80),
            folder / "requests.jsonl",
            with_bodies=True,
            now_s=log.now_s,
        )
        self._world = World(stack, Topics(stack.broker.address), lambda: server, folder)
        self._replicas = Replicas(self._world, self._proxy, log)
        self._servers = Servers(self._world, typesense, log)
        self._poisoner = Poisoner(stack.broker.address, plan.seed)
        self._may_be_dead_lettered: set[tuple[str, str]] = set()
        self._quiet = threading.Event()
        self._broken = threading.Event()
        self.carried_out: Counter[str] = Counter()

    def run(self) -> list[str]:
        """Everything that is wrong at the end; nothing when the promises held."""
        self._proxy.start()
        self._begin()
        with ThreadPoolExecutor(len(Track) + 1) as threads:
            workload = threads.submit(self._change_rows)
            tracks = [threads.submit(self._follow, track) for track in Track]
            wait(tracks)
            self._quiet.set()
        failures = [str(e) for e in (job.exception() for job in [*tracks, workload]) if e is not None]
        if self._broken.is_set():
            return list(dict.fromkeys([*self._replicas.problems, *failures]))
        return [*self._replicas.problems, *self._judge()]

    def close(self) -> None:
        """End what is left."""
        self._servers.wait_ready()
        self._world.close()
        self._proxy.stop()

    # The run

    def _begin(self) -> None:
        plan = self._plan
        if plan.is_full:
            self._world.set_replica_identity("FULL")
        self._workload = Workload(
            self._world.conninfo,
            plan.seed,
            is_full=plan.is_full,
            poison=_POISON_ROWS,
            pace_s=plan.pace_s,
            max_rows=_MAX_ROWS,
        )
        self._workload.fill(plan.rows)
        self._world.start_connector()
        for number in range(1, plan.replicas + 1):
            self._replicas.do(Deed.START, f"replica {number}")
        self._log.say("begin", "the connector streams, the faults begin")

    def _change_rows(self) -> None:
        transactions = 0
        while not (self._quiet.is_set() or self._broken.is_set()):
            self._workload.run(10)
            transactions += 10
        self._workload.close()
        self._log.say("workload", f"{transactions} transactions")

    def _follow(self, track: Track) -> None:
        """Do the steps of one track, each at its time, by a clock that stands while one takes its time."""
        do: Callable[[Step], bool] = {
            Track.REPLICAS: self._do_replica,
            Track.SERVERS: lambda step: self._servers.do(step.deed, step.target),
            Track.NETWORK: self._do_network,
            Track.DATABASE: self._do_database,
        }[track]
        zero_s = time.monotonic()
        try:
            for step in self._plan.steps:
                if step.track is not track:
                    continue
                if self._broken.wait(max(0.0, zero_s + step.at_s - time.monotonic())):
                    return
                began_s = time.monotonic()
                if do(step) and step.kind:
                    self.carried_out[step.kind] += 1
                zero_s += time.monotonic() - began_s
        except BaseException as error:
            self._log.say(track, f"broken: {error!r}")
            self._broken.set()
            raise

    def _do_replica(self, step: Step) -> bool:
        self._replicas.check()
        self._replicas.do(step.deed, step.target)
        return True

    def _do_network(self, step: Step) -> bool:
        assert step.fault is not None
        self._proxy.arm(step.fault)
        self._log.say("network", step.fault)
        return False  # what counts is whether it hit something; the proxy knows

    def _do_database(self, step: Step) -> bool:
        if step.deed is Deed.SNAPSHOT:
            self._world.snapshot([step.target])
            self._log.say("database", f"incremental snapshot of {step.target}")
        else:
            places = self._poisoner.inject(f"{self._world.prefix}.public.{step.target}", _PARTITIONS)
            self._log.say("database", f"poison in {places}")
        return True

    # The end

    def _judge(self) -> list[str]:
        self._proxy.clear()
        self._log.say("quiet", f"faults are over; requests hit: {self._hits()}")
        self.carried_out.update({str(kind): count for kind, count in self._proxy.fired().items()})
        self._servers.wait_ready()
        try:
            self._replicas.check()
            self._servers.wait_streaming()
            self._world.settle(deadline_s=_SETTLE_S)
            for daemon in self._replicas.running().values():
                daemon.wait_ready()
        except (NotQuiet, DaemonFailed) as error:
            return [str(error)]
        self._log.say("quiet", "settled")
        problems = judge(
            self._world,
            self._replicas.running(),
            self._poisoner.injected,
            self._workload.may_be_dead_lettered,
            self._folder,
        )
        self._log.say("quiet", f"{len(self._world.letters())} dead letters, {len(self.injected)} injected")
        return problems

    @property
    def injected(self) -> list[Injected]:
        """The poison that was written into topics."""
        return self._poisoner.injected

    def _hits(self) -> str:
        return ", ".join(f"{kind} {count}" for kind, count in sorted(self._proxy.fired().items()))
