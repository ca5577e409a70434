"""The one list of the dispatcher's metrics, and the counters behind it; `docs/metrics.md` has them, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cdc_sync.metrics import PREFIX, REQUEST_BUCKETS, Definition
from cdc_sync.troubles import Notices

__all__ = ["DISPATCHER_METRICS", "Meters"]

EVENT: Final = ("service", "topic")

DISPATCHER_METRICS: Final = (
    Definition("dispatcher_events_consumed_total", "counter", EVENT, "Events read from Kafka and settled."),
    Definition(
        "dispatcher_events_total",
        "counter",
        (*EVENT, "outcome"),
        "Settled events: handled or dead_lettered. The sum equals "
        "`cdc_sync_dispatcher_events_consumed_total`.",
    ),
    Definition(
        "dispatcher_duplicates_total",
        "counter",
        (*EVENT, "transport"),
        "Events that their other delivery had handled already.",
    ),
    Definition(
        "dispatcher_dead_letters_total", "counter", (*EVENT, "error"), "Dead letters, by class of error."
    ),
    Definition(
        "dispatcher_retries_total", "counter", (*EVENT, "error"), "Tries that failed and are made again."
    ),
    Definition(
        "dispatcher_handler_timeouts_total",
        "counter",
        (*EVENT, "handler"),
        "Times that a handler was at work for longer than its deadline.",
    ),
    Definition(
        "dispatcher_handler_seconds",
        "histogram",
        (*EVENT, "handler"),
        "Time that a handler took, where it succeeded.",
        REQUEST_BUCKETS,
    ),
    Definition("dispatcher_waiting", "gauge", ("client_id",), "Events that are read and not settled."),
    Definition(
        "dispatcher_paused_partitions", "gauge", ("client_id",), "Partitions that are not read for now."
    ),
    Definition("dispatcher_assigned_partitions", "gauge", ("client_id",), "Partitions that a member owns."),
    Definition(
        "dispatcher_lag_records", "gauge", (*EVENT, "partition"), "Records between our position and the end."
    ),
    Definition("dispatcher_rebalances_total", "counter", ("client_id", "kind"), "Partitions came or went."),
    Definition(
        "dispatcher_published_total",
        "counter",
        ("topic", "outcome"),
        "Events published to Kafka: stored or failed.",
    ),
    Definition(
        "dispatcher_redis_events_total",
        "counter",
        (*EVENT, "outcome"),
        "Events from Redis: handled, failed, undecodable, dropped (queue full), or by what the claim said.",
    ),
    Definition(
        "dispatcher_redis_published_total",
        "counter",
        ("outcome",),
        "Messages to Redis: received by somebody, unheard, or failed.",
    ),
    Definition(
        "dispatcher_redis_gaps_total",
        "counter",
        ("subscriber",),
        "Times that a subscription was cut: what was published meanwhile is lost.",
    ),
    Definition("dispatcher_webhooks_total", "counter", ("outcome",), "Webhooks by what was answered."),
    Definition("dispatcher_websocket_connections", "gauge", (), "Clients that are connected."),
    Definition("dispatcher_websocket_deliveries_total", "counter", (), "Frames written to clients."),
    Definition("dispatcher_websocket_closed_total", "counter", ("reason",), "Connections that we ended."),
    Definition(
        "dispatcher_websocket_refused_total", "counter", ("reason",), "What clients asked for in vain."
    ),
    Definition("dispatcher_loop_lag_seconds", "gauge", (), "How late the event loop last woke up."),
)
"""Without the prefix `cdc_sync_`."""

OURS: Final = "dispatcher_"


class Meters:
    """What the dispatcher counts, by its names without `dispatcher_`, and what it says once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._notices = Notices("dispatcher")
        self._found: dict[tuple[str, ...], Any] = {}
        for full, kind, labels, text, buckets in DISPATCHER_METRICS:
            name = full.removeprefix(OURS)
            if kind == "counter":
                self._counters[name] = Counter(PREFIX + full, text, labels, registry=registry)
            elif kind == "gauge":
                self._gauges[name] = Gauge(PREFIX + full, text, labels, registry=registry)
            else:
                self._histograms[name] = Histogram(
                    PREFIX + full, text, labels, buckets=buckets, registry=registry
                )

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        self._child(self._counters, name, labels).inc(by)

    def set(self, name: str, value: float, *labels: str) -> None:
        """A gauge's value."""
        self._child(self._gauges, name, labels).set(value)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """One observation of a histogram."""
        self._child(self._histograms, name, labels).observe(value)

    def _child(self, kind: Mapping[str, Any], name: str, labels: tuple[str, ...]) -> Any:
        """The metric with these labels; kept, since to look it up costs more than to count (2 µs)."""
        key = (name, *labels)
        child = self._found.get(key)
        if child is None:
            child = self._found[key] = kind[name].labels(*labels) if labels else kind[name]
        return child

    def trouble(self, event: str, **facts: Any) -> None:
        """Something is wrong; the same is said once a minute."""
        self._notices.say(event, facts)
