"""The scenarios: each makes its topics once, and measures as often as it is asked.

A measurement is a dict of figures by name; the names of ratios end in `ratio`, and compare with what was
measured right before or after.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from bench import events
from bench.daemon import CaughtUp, catch_up
from bench.kafka import fill
from bench.latency import latencies_ms
from bench.typesense import Server, documents_of

__all__ = ["SCENARIOS", "Bench", "Figures", "Scenario"]

Figures = dict[str, float]


class Bench(NamedTuple):
    """Where to measure, and how much: `events` of a catch-up, `growth` the sizes of scenario 8."""

    bootstrap: str
    server: Server
    events: int
    growth: tuple[int, ...]
    latency_s: float


Measure = Callable[[], Figures]


class Scenario(NamedTuple):
    """`prepare` fills the topics and returns what measures once."""

    what: str
    goal: str
    prepare: Callable[[Bench], Measure]


def floor_us(bench: Bench, prefix: str, count: int) -> float:
    """The bare loop: CPU an event."""
    command = [sys.executable, "-m", "bench.floor", bench.bootstrap, f"{prefix}.Product", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    found = json.loads(done.stdout)
    return float(found["cpu_s"] / found["events"] * 1e6)


def null_sink(bench: Bench) -> Measure:
    """(1) Beside the floor, which is measured before and after."""
    prefix = fill(bench.bootstrap, events.products(bench.events))

    def measure() -> Figures:
        before = floor_us(bench, prefix, bench.events)
        run = catch_up(bench.bootstrap, prefix, bench.events)
        bare_us = (before + floor_us(bench, prefix, bench.events)) / 2
        return {
            "floor_us": bare_us,
            "daemon_us": run.cpu_us,
            "cpu_ratio": run.cpu_us / bare_us,
            "events_a_second": run.events_a_second,
            "peak_rss_mb": run.peak_rss_mb,
        }

    return measure


def into_typesense(
    make: Callable[[int], Iterator[events.Event]], *, rough: bool = False
) -> Callable[[Bench], Measure]:
    """(2)-(6) Catch-up into the server, beside its raw import of what the events lead to."""

    def prepare(bench: Bench) -> Measure:
        count = bench.events // 2 * 2
        prefix = fill(bench.bootstrap, make(count))
        documents = documents_of(make(count))

        def measure() -> Figures:
            bench.server.arm(FULL_BODY)
            ceiling = bench.server.ceiling(documents)
            bench.server.arm(FULL_BODY, *(BURSTS if rough else ()))
            run = catch_up(bench.bootstrap, prefix, count, bench.server.settings)
            bench.server.arm()
            bench.server.clear()
            return against(ceiling, run)

        return measure

    return prepare


FULL_BODY: Final = {"kind": "delay_before_apply", "path": "/import", "seconds": 0.033}
"""What a Typesense 29 on two cores takes for a full body of such documents (13,000 to 15,000 a second). The
stand-in is several times as fast, and beside it nothing could be said of a real one."""

BURSTS: Final = tuple(
    {"kind": "lagging", "path": "/import", "skip": skip, "count": 5} for skip in range(20, 400, 60)
)
"""Five imports in a row are refused with 503, again and again."""


def against(ceiling: float, run: CaughtUp) -> Figures:
    """A run beside the raw import."""
    return {
        "ceiling_documents_a_second": ceiling,
        "documents_a_second": run.written_a_second,
        "documents_ratio": run.written_a_second / ceiling,
        "events_a_second": run.events_a_second,
        "events_ratio": run.events_a_second / ceiling,
        "coalesced_share": run.outcomes.get("coalesced", 0) / run.events,
        "daemon_us": run.cpu_us,
        "longest_gap_s": run.longest_gap_s,
        "peak_rss_mb": run.peak_rss_mb,
    }


def latency(rate: int) -> Callable[[Bench], Measure]:
    """(7) From produce to readable."""

    def measure_of(bench: Bench) -> Measure:
        def measure() -> Figures:
            found = latencies_ms(bench.bootstrap, bench.server, rate, bench.latency_s)
            cuts = statistics.quantiles(found, n=100)
            return {"p50_ms": cuts[49], "p99_ms": cuts[98], "probes": float(len(found))}

        return measure

    return measure_of


def growth(bench: Bench) -> Measure:
    """(8) The same cost however long the topic."""
    prefixes = {count: fill(bench.bootstrap, events.products(count)) for count in bench.growth}

    def measure() -> Figures:
        figures: Figures = {}
        for count, prefix in prefixes.items():
            run = catch_up(bench.bootstrap, prefix, count)
            figures[f"daemon_us_{count}"] = run.cpu_us
            figures[f"peak_rss_mb_{count}"] = run.peak_rss_mb
        longest = max(prefixes)
        for count in prefixes:
            if count != longest:
                figures[f"growth_{longest}_to_{count}_ratio"] = (
                    figures[f"daemon_us_{longest}"] / figures[f"daemon_us_{count}"]
                )
        return figures

    return measure


IMPORT: Final = "of the raw import"

SCENARIOS: Final = {
    "1": Scenario("Product events, null sink", "CPU ≤ 1.8 floors, ≤ 20 µs", null_sink),
    "2": Scenario("the same into Typesense", f"≥ 95 % {IMPORT}", into_typesense(events.products)),
    "3": Scenario("Product and ProductInfo 1:1", f"≥ 85 % {IMPORT}", into_typesense(events.mixed)),
    "4": Scenario("90 % of the events on 1 % of the keys", "events > raw import", into_typesense(events.hot)),
    "5": Scenario(
        "10 % deletes, 1 % poison, bursts of 503", "none", into_typesense(events.rough, rough=True)
    ),
    "6": Scenario("80 % in one of three partitions", "no idle gaps", into_typesense(events.skewed)),
    "7a": Scenario("latency at 1,000 events/s", "p50 ≤ 30 ms, p99 ≤ 150 ms", latency(1_000)),
    "7b": Scenario("latency at 5,000 events/s", "none", latency(5_000)),
    "8": Scenario("cost an event by length", "flat within 10 %, RSS ≤ 200 MB", growth),
}
