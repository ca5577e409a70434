"""One replica: the real corridor, lanes, desk, lease and sinks, wired like `app.py`'s, with other doors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

from cdc_sync.control import Desk
from cdc_sync.corridor import Corridor
from cdc_sync.decoder import JsonDecoder
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.lane import Lane, Threads
from cdc_sync.lease import Lease
from cdc_sync.mappers import ENRICHMENTS, MAPPERS
from cdc_sync.metrics import Metrics
from cdc_sync.pace import Pace
from cdc_sync.pipeline import Pipeline
from cdc_sync.routing import Router
from cdc_sync.sink import TypesenseSink
from cdc_sync.sink.connection import Connection
from tests.factories import PREFIX
from tests.model.broker import SESSION_S, Broker
from tests.model.hub import Condition, Hub, Process, Thread
from tests.model.source import SimClerk, SimLetters, SimSource
from tests.model.typesense import Server, SimConnection

__all__ = ["Replica"]

POLL_S = 1.0
FINISH_S = 3.0


@cache
def router() -> Router:
    """Pure, so all replicas of all worlds share it."""
    return Router(MAPPERS, ENRICHMENTS)


@cache
def decoder() -> JsonDecoder:
    """Making one costs more than a small world does."""
    return JsonDecoder(PREFIX, router().reads)


class Replica:
    """A process with its threads. `stop` ends it in order; a crash is the hub's, which drops its actors."""

    def __init__(self, hub: Hub, broker: Broker, server: Server, process: Process, metrics: Metrics) -> None:
        self.process = process
        self.metrics = metrics
        self.is_stopping = False
        self._hub = hub
        self._broker = broker
        self.lease = Lease(SESSION_S, lambda: hub.now)
        self._corridor = Corridor(decoder(), router())
        lane_of: dict[str, Lane] = {}
        for names in router().lanes():
            lane_of.update(dict.fromkeys(names, self._lane(names, server)))
        self.lanes = tuple(dict.fromkeys(lane_of.values()))
        self.clerk = SimClerk(hub, broker, process, decoder().identity)
        self.pipeline = self._pipeline(lane_of)
        self.source: SimSource | None = None
        hub.spawn(process, "poll", self._run)

    def _lane(self, names: tuple[str, ...], server: Server) -> Lane:
        pace = Pace(1, 8, answer_s=0.2, max_queued=3)
        sink = self._sink(server, names, pace)
        return Lane(
            names[0],
            names,
            sink,
            self._corridor.change_of,
            may_write=lambda: self.lease.is_held,
            max_waiting_bytes=20_000,
            max_waiting_documents=4,
            max_backoff_s=1.0,
            on_trouble=lambda lane, error, _: self._hub.tell("{} waits: {}", lane.name, error),
            now_ms=self._now_ms,
            pace=pace,
            threads=Threads(self._condition, self._thread, lambda: self._hub.now),
        )

    def _pipeline(self, lane_of: dict[str, Lane]) -> Pipeline:
        hub = self._hub
        return Pipeline(
            self._corridor,
            lane_of,
            {c.name: [f"{PREFIX}.{t}" for t in router().tables_of(c.name)] for c in router().collections},
            SimLetters(hub, self._broker, self.process),
            DeadLetterLimit(count=1_000_000, share=1.0, window_s=60, clock=lambda: hub.now),
            self.lease,
            Desk(self.clerk, decoder().identity, member=self.process.name, now_ms=self._now_ms),
            self.metrics,
            max_records=12,
            poll_timeout_s=POLL_S,
            commit_every_s=1.0,
            revoke_timeout_s=3.0,
            clock=lambda: hub.now,
            sleep=hub.sleep,
        )

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way here."""
        return self.pipeline.is_quiet and self.clerk.is_idle

    @property
    def owes_rewinds(self) -> bool:
        """Whether it has lost partitions, and has not written yet that they shall be read again."""
        source = self.source
        return source is not None and not (source.is_member and self.clerk.has_written)

    def _run(self) -> None:
        """What `Daemon.run` does, less the probes."""
        source = self.source = SimSource(self._hub, self._broker, self.process, self.pipeline)
        for lane in self.lanes:
            lane.start()
        while not self.is_stopping:
            self.pipeline.run_once(source)
        self._hub.tell("finishes")
        self.pipeline.finish(FINISH_S)
        for lane in self.lanes:
            lane.ask_to_stop()
        for lane in self.lanes:
            lane.stop(1.0)
        source.close()
        while not self.clerk.has_written:
            self._hub.sleep(0.05)
        self._hub.tell("has stopped")
        self.process.is_dead = True

    def _sink(self, server: Server, names: tuple[str, ...], pace: Pace) -> TypesenseSink:
        connection = SimConnection(server, self.process, self._may_write)
        return TypesenseSink(
            cast(Connection, connection),
            lambda _: {name: f"{name}_1" for name in names},
            [e for e in ENRICHMENTS if e.parent in names],
            may_write=lambda: self.lease.is_held,
            on_queued=pace.queued,
            clock=lambda: self._hub.now,
        )

    def _may_write(self) -> bool:
        """The rule of `lease.py`, kept apart from it."""
        member = None if self.source is None else self.source.member
        return member is not None and self._hub.now < member.asked_at + SESSION_S / 2

    def _now_ms(self) -> int:
        return int(self._hub.now * 1000)

    def _condition(self) -> Any:
        return Condition(self._hub)

    def _thread(self, *, target: Callable[[], None], name: str, daemon: bool) -> Any:
        return Thread(self._hub, self.process, target, name)
