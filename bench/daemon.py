"""One run of the whole daemon as a process of its own, in a new group, until it has settled what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from statistics import median
from typing import Final, NamedTuple

from bench.kafka import make_topics
from bench.processes import cpu_s, peak_rss_mb
from tools.stack.layout import free_port

__all__ = ["CaughtUp", "Daemon", "catch_up", "running"]

NULL_SINK: Final = {"CDC_SYNC_SYNC__SINK": "null"}
LOOK_S: Final = 0.5
"""Between two looks at the metrics: each costs the daemon some milliseconds."""
STARTS: Final = 3
JOINED: Final = re.compile(r"(?m)^cdc_sync_assigned_partitions [1-9]")
SAMPLE: Final = re.compile(r'(?m)^cdc_sync_events_total\{outcome="(\w+)",table="\w+"\} (\S+)$')


class CaughtUp(NamedTuple):
    """What it took. `cpu_s` is less what the process needs to start; `longest_gap_s` is without progress."""

    events: int
    outcomes: dict[str, int]
    cpu_s: float
    events_a_second: float
    longest_gap_s: float
    peak_rss_mb: float

    @property
    def written_a_second(self) -> float:
        """Documents written a second."""
        return self.events_a_second * self.outcomes.get("written", 0) / self.events

    @property
    def cpu_us(self) -> float:
        """CPU an event, in microseconds."""
        return self.cpu_s / self.events * 1e6


class Daemon:
    """A daemon that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self._port = port

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def metrics(self) -> str:
        """What it exposes; nothing while it is still starting."""
        if self.process.poll() is not None:
            raise SystemExit(f"the daemon ended with exit code {self.process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def outcomes(self) -> Counter[str]:
        """Events settled so far, by outcome."""
        found: Counter[str] = Counter()
        for outcome, count in SAMPLE.findall(self.metrics()):
            found[outcome] += int(float(count))
        return found


@contextmanager
def running(bootstrap: str, prefix: str, settings: Mapping[str, str]) -> Iterator[Daemon]:
    """A daemon on the topics with this prefix."""
    port = free_port()
    environment = os.environ | {
        "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "CDC_SYNC_KAFKA__TOPIC_PREFIX": prefix,
        "CDC_SYNC_KAFKA__DLQ_TOPIC": f"{prefix}.dlq",
        "CDC_SYNC_KAFKA__GROUP_ID": f"bench-{time.time_ns()}",
        "CDC_SYNC_HTTP__HOST": "127.0.0.1",
        "CDC_SYNC_HTTP__PORT": str(port),
        "CDC_SYNC_LOG__LEVEL": "error",
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", "cdc_sync", "run"], env=environment)
    try:
        yield Daemon(process, port)
    finally:
        process.terminate()
        process.wait(60)


@cache
def start_cpu_s(bootstrap: str) -> float:
    """What a daemon needs until it has partitions and nothing to read: the median of some starts."""
    spent = []
    for _ in range(STARTS):
        with running(bootstrap, make_topics(bootstrap), NULL_SINK) as daemon:
            while not JOINED.search(daemon.metrics()):
                time.sleep(LOOK_S)
            spent.append(cpu_s(daemon.pid))
    return median(spent)


def catch_up(bootstrap: str, prefix: str, events: int, settings: Mapping[str, str] = NULL_SINK) -> CaughtUp:
    """From the first event of the topics to the last; the clock starts when the first ones are settled."""
    start_s = start_cpu_s(bootstrap)
    with running(bootstrap, prefix, settings) as daemon:
        while not (outcomes := daemon.outcomes()):
            time.sleep(LOOK_S)
        first, began = outcomes.total(), time.monotonic()
        settled, moved_at, gap_s = first, began, 0.0
        while settled < events:
            time.sleep(LOOK_S)
            outcomes = daemon.outcomes()
            if outcomes.total() > settled:
                settled, moved_at = outcomes.total(), time.monotonic()
            gap_s = max(gap_s, time.monotonic() - moved_at)
        return CaughtUp(
            events=settled,
            outcomes=dict(outcomes),
            cpu_s=cpu_s(daemon.pid) - start_s,
            events_a_second=(settled - first) / max(moved_at - began, LOOK_S),
            longest_gap_s=gap_s,
            peak_rss_mb=peak_rss_mb(daemon.pid),
        )
