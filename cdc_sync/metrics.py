"""The one list of metrics, and the counters behind it. `docs/metrics.md` is generated from `METRICS`.

Tables are named by their topic's last part. What is counted for every event is counted a batch or a span
at a time, so that the hot path stays free of locks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cdc_sync.errors import RecordError, TransientError
from cdc_sync.offsets import Span
from cdc_sync.settlement import Settlement

__all__ = ["METRICS", "Definition", "Metrics"]


class Definition(NamedTuple):
    """One metric: its name, kind, labels and meaning; buckets where it is a histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


FRESHNESS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
BATCH_BUCKETS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 50000)

METRICS: Final = (
    Definition("events_consumed_total", "counter", ("table",), "Events read and settled."),
    Definition(
        "events_total",
        "counter",
        ("table", "outcome"),
        "Settled events by outcome: written, coalesced, skipped or dead_lettered. The sum equals "
        "`cdc_sync_events_consumed_total`.",
    ),
    Definition(
        "accounting_errors_total",
        "counter",
        ("table",),
        "Spans whose outcomes do not add up to their events. Anything but 0 is a bug.",
    ),
    Definition("skipped_total", "counter", ("table", "reason"), "Events that change no document, by reason."),
    Definition(
        "dead_letters_total",
        "counter",
        ("table", "stage", "error"),
        "Dead letters, by stage and class of error.",
    ),
    Definition("dead_letters_waiting", "gauge", (), "Dead letters that no broker has acknowledged yet."),
    Definition(
        "dead_letter_limit_broken",
        "gauge",
        (),
        "1 when a flood of dead letters has stopped the line, else 0.",
    ),
    Definition(
        "replays_total",
        "counter",
        ("table", "fate"),
        "Dead letters that were replayed here, by fate: replayed, superseded, failed or unproven. They are "
        "no events read, and not in `cdc_sync_events_total`.",
    ),
    Definition(
        "lease_held",
        "gauge",
        (),
        "1 while the broker has lately called this process a member of its group; else it writes nothing.",
    ),
    Definition(
        "freshness_seconds",
        "histogram",
        ("table",),
        "From the commit in the database (`source.ts_ms`) to searchable; snapshot reads are left out.",
        FRESHNESS_BUCKETS,
    ),
    Definition(
        "lag_records", "gauge", ("table", "partition"), "Records between our position and the topic's end."
    ),
    Definition(
        "lag_seconds",
        "gauge",
        ("table",),
        "Age of the newest record taken (its Kafka timestamp) while there are more to take, else 0.",
    ),
    Definition("batch_documents", "histogram", ("lane",), "Documents a written batch.", BATCH_BUCKETS),
    Definition(
        "batch_limit_documents",
        "gauge",
        ("lane",),
        "Documents that the next batch may have: more while Typesense answers soon, fewer when it does not.",
    ),
    Definition(
        "request_duration_seconds",
        "histogram",
        ("operation", "outcome"),
        "Requests to Typesense by outcome: an HTTP status, or lost when no answer came.",
        REQUEST_BUCKETS,
    ),
    Definition(
        "retries_total", "counter", ("lane", "error"), "Writes that have to be made again, by class of error."
    ),
    Definition("in_flight_documents", "gauge", ("lane",), "Documents that are being written, or held."),
    Definition(
        "lane_waiting", "gauge", ("lane",), "1 while the lane holds its batch because Typesense is away."
    ),
    Definition(
        "waiting_bytes", "gauge", ("lane",), "Bytes of records that wait to be written, folded ones included."
    ),
    Definition("waiting_documents", "gauge", ("lane",), "Documents that wait to be written."),
    Definition("open_spans", "gauge", (), "Runs of records that are read but not settled."),
    Definition(
        "schema_requests_total",
        "counter",
        ("outcome",),
        "Requests to the schema registry by outcome: found, unknown or unavailable.",
    ),
    Definition(
        "registry_waiting", "gauge", (), "1 while a schema is needed and the schema registry does not answer."
    ),
    Definition("held_records", "gauge", (), "Records that wait for a schema before they are decoded."),
    Definition(
        "rebalances_total", "counter", ("kind",), "Partitions assigned, revoked or lost: times it happened."
    ),
    Definition("assigned_partitions", "gauge", (), "Partitions that this member owns."),
    Definition(
        "schema_differences", "gauge", ("collection",), "Ways in which a collection differs from its mapper."
    ),
    Definition("build_info", "gauge", ("version",), "Always 1; the version that runs."),
)
"""Without the prefix `cdc_sync_`."""

PREFIX: Final = "cdc_sync_"


class Freshness(Collector):
    """A histogram that takes many observations at once: prometheus_client's costs 1 µs each."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._lock = Lock()
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(definition.buckets) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def observe(self, table: str, times_ms: Sequence[int], now_ms: int) -> None:
        """Count the durations from these times to now; sorting them first spares a look at each."""
        ascending = sorted(times_ms)
        with self._lock:
            counts = self._counts[table]
            counted = 0
            for place, bound_s in enumerate(self._definition.buckets):
                within = len(ascending) - bisect_left(ascending, now_ms - bound_s * 1000)
                counts[place] += within - counted
                counted = within
            counts[-1] += len(ascending) - counted
            self._sums[table] += (now_ms * len(ascending) - sum(ascending)) / 1000

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        name, _, labels, text, buckets = self._definition
        family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
        with self._lock:
            for table, counts in self._counts.items():
                reached, lines = 0, []
                for bound, count in zip((*map(float, buckets), float("inf")), counts, strict=True):
                    reached += count
                    lines.append(("+Inf" if bound == float("inf") else str(bound), float(reached)))
                family.add_metric([table], lines, self._sums[table])
        yield family


class Metrics:
    """What the daemon counts. Safe to call from any thread."""

    def __init__(self, version: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for definition in METRICS:
            self._make(definition)
        self._gauges["build_info"].labels(version).set(1)

    def _make(self, definition: Definition) -> None:
        name, kind, labels, text, buckets = definition
        if name == "freshness_seconds":
            self._freshness = Freshness(definition)
            self.registry.register(self._freshness)
        elif kind == "counter":
            self._counters[name] = Counter(PREFIX + name, text, labels, registry=self.registry)
        elif kind == "gauge":
            self._gauges[name] = Gauge(PREFIX + name, text, labels, registry=self.registry)
        else:
            self._histograms[name] = Histogram(
                PREFIX + name, text, labels, buckets=buckets, registry=self.registry
            )

    # Replays -------------------------------------------------------------------------------------------

    def replayed(self, topic: str, fate: str) -> None:
        """A dead letter was asked to be applied."""
        self._counters["replays_total"].labels(table_of(topic), fate).inc()

    # Events ------------------------------------------------------------------------------------------

    def accounted(self, span: Span) -> None:
        """A span is settled: count its events and their outcomes."""
        table = table_of(span.partition.topic)
        self._counters["events_consumed_total"].labels(table).inc(span.count)
        for outcome, count in span.outcomes.items():
            if count:
                self._counters["events_total"].labels(table, outcome.value).inc(count)
        if span.outcomes.total() != span.count:
            self._counters["accounting_errors_total"].labels(table).inc()

    def skipped(self, topic: str, reason: str) -> None:
        """An event that changes no document."""
        self._counters["skipped_total"].labels(table_of(topic), reason).inc()

    def dead_lettered(self, topic: str, error: RecordError) -> None:
        """An event that became a dead letter."""
        labels = (table_of(topic), error.stage, type(error).__name__)
        self._counters["dead_letters_total"].labels(*labels).inc()

    def wrote(self, lane: str, settlement: Settlement) -> None:
        """A batch that is in the index now."""
        self._histograms["batch_documents"].labels(lane).observe(len(settlement.batch))
        for topic, times_ms in settlement.batch.commit_times_ms().items():
            self._freshness.observe(table_of(topic), times_ms, settlement.wrote_at_ms)

    # The parts ---------------------------------------------------------------------------------------

    def requested(self, operation: str, outcome: str, seconds: float) -> None:
        """A request to Typesense and how it ended."""
        self._histograms["request_duration_seconds"].labels(operation, outcome).observe(seconds)

    def retried(self, lane: str, error: TransientError) -> None:
        """A lane's write has failed and is made again."""
        self._counters["retries_total"].labels(lane, type(error).__name__).inc()

    def schema_asked(self, outcome: str) -> None:
        """A request to the schema registry and how it ended."""
        self._counters["schema_requests_total"].labels(outcome).inc()

    def rebalanced(self, kind: str) -> None:
        """Partitions came or went."""
        self._counters["rebalances_total"].labels(kind).inc()

    def set(self, name: str, value: float, *labels: str) -> None:
        """A gauge of the list."""
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def forget(self, name: str) -> None:
        """Drop every labelled value of a gauge, before it is set anew."""
        self._gauges[name].clear()


def table_of(topic: str) -> str:
    """`nx.seller.public.Product` → `Product`."""
    return topic.rpartition(".")[2]
