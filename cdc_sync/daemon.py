"""The daemon while it runs: turns the pipeline, answers probes, keeps the gauges, ends in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from cdc_sync import __version__
from cdc_sync.admission import AdmitKnown
from cdc_sync.control.clerk import KafkaClerk
from cdc_sync.dlq import KafkaDeadLetterQueue
from cdc_sync.health import HealthServer
from cdc_sync.lane import Lane
from cdc_sync.log import get_logger
from cdc_sync.metrics import Metrics
from cdc_sync.pipeline import Pipeline
from cdc_sync.sink.probe import Probe
from cdc_sync.source import KafkaSource

__all__ = ["Daemon"]

GAUGES_EVERY_S: Final = 1.0
STOP_LANES_S: Final = 2.0
FLOOD_CURE: Final = (
    "see `cdc-sync dlq list` for the reasons, mend the cause, then restart; CDC_SYNC_DLQ__LIMIT_COUNT and "
    "CDC_SYNC_DLQ__LIMIT_SHARE set the limit"
)


class Daemon:
    """The wired daemon: `run` until `stop` is set, then finish what was read.

    `admission` is there where a schema registry is. `http` is the host and port of the probes; a turn of the
    loop that takes longer than `max_turn_s` means that the process is stuck.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        lanes: tuple[Lane, ...],
        source: Callable[[], KafkaSource],
        dead_letters: KafkaDeadLetterQueue,
        clerk: KafkaClerk,
        metrics: Metrics,
        probe: Probe | None,
        *,
        admission: AdmitKnown | None = None,
        group: str,
        http: tuple[str, int],
        max_turn_s: float,
        shutdown_timeout_s: float,
    ) -> None:
        self.metrics = metrics
        self._pipeline = pipeline
        self._lanes = lanes
        self._make_source = source
        self._dead_letters = dead_letters
        self._clerk = clerk
        self._probe = probe
        self._admission = admission
        self._group = group
        self._max_turn_s = max_turn_s
        self._shutdown_timeout_s = shutdown_timeout_s
        self._attached: list[Callable[[], list[str]]] = []
        self._log = get_logger("daemon")
        self._turned_at = time.monotonic()
        self._gauges_at = float("-inf")
        self.health = HealthServer(
            *http,
            metrics.registry,
            is_alive=self.problems_of_life,
            is_ready=self.problems,
        )

    def attach(self, problems: Callable[[], list[str]]) -> None:
        """Something else runs in this process; it is ready when that has no problems, too."""
        self._attached.append(problems)

    def run(self, stop: threading.Event) -> None:
        """Serve until asked to stop; then what was read is written and committed, and the group left."""
        source = self._make_source()
        self.health.start()
        for lane in self._lanes:
            lane.start()
        self._clerk.start()
        if self._admission is not None:
            self._admission.start()
        self._log.info("started", version=__version__, http_port=self.health.port)
        flooded = False
        while not stop.is_set():
            self._turned_at = time.monotonic()
            self._pipeline.run_once(source)
            if self._turned_at - self._gauges_at >= GAUGES_EVERY_S:
                self._gauges_at = self._turned_at
                self._set_gauges(source)
            if self._pipeline.is_stopped and not flooded:
                flooded = True
                self._log.error(
                    "stopped by a flood of dead letters", found=str(self._pipeline.limit), cure=FLOOD_CURE
                )
        self._finish(source)

    def _finish(self, source: KafkaSource) -> None:
        complete = self._pipeline.finish(self._shutdown_timeout_s)
        for lane in self._lanes:
            lane.ask_to_stop()
        if self._admission is not None:
            self._admission.stop(0.1)
        deadline = time.monotonic() + STOP_LANES_S
        for lane in self._lanes:
            lane.stop(max(0.0, deadline - time.monotonic()))
        source.close()
        self._dead_letters.flush(1.0)
        self._clerk.stop(1.0)
        self.health.stop()
        self._log.info("stopped", all_written=complete)

    def problems_of_life(self) -> list[str]:
        """Why the process should be restarted."""
        age_s = time.monotonic() - self._turned_at
        if age_s > self._max_turn_s:
            return [f"the loop has not turned for {age_s:.0f} s"]
        return []

    def problems(self) -> list[str]:
        """Why the daemon is not keeping the index in step now."""
        problems = self.problems_of_life()
        if not self._pipeline.has_joined:
            problems.append(f"not a member of {self._group} yet")
        if self._pipeline.is_stopped:
            problems.append(f"stopped by a flood of dead letters: {FLOOD_CURE}")
        troubles = {str(lane.trouble) for lane in self._lanes if lane.trouble is not None}
        problems += sorted(troubles) or (self._probe.problems() if self._probe else [])
        if self._admission is not None and self._admission.trouble is not None:
            problems.append(str(self._admission.trouble))
        if self._dead_letters.waiting:
            problems.append(f"{self._dead_letters.waiting} dead letters are not stored yet")
        return problems + [problem for of in self._attached for problem in of()]

    def _set_gauges(self, source: KafkaSource) -> None:
        self._pipeline.set_gauges()
        metrics = self.metrics
        metrics.set("assigned_partitions", len(source.owned))
        metrics.set("dead_letters_waiting", self._dead_letters.waiting)
        metrics.set("dead_letter_limit_broken", self._pipeline.is_stopped)
        if self._admission is not None:
            metrics.set("registry_waiting", self._admission.trouble is not None)
            metrics.set("held_records", self._admission.held_records)
        metrics.forget("lag_records")
        behind = source.lag()
        for (topic, number), records in behind.items():
            metrics.set("lag_records", records, topic.rpartition(".")[2], str(number))
        self._pipeline.set_lag_seconds({topic for (topic, _), records in behind.items() if records})
