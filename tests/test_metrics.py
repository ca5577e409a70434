"""The one list of metrics: all of it is exposed and moved somewhere, and its counts add up."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from cdc_sync.compaction import Asked, Batch
from cdc_sync.errors import DecodeError, RejectedError, SinkAmbiguous
from cdc_sync.metrics import FRESHNESS_BUCKETS, METRICS, PREFIX, Freshness, Metrics, table_of
from cdc_sync.model import Partition, Upsert
from cdc_sync.offsets import Outcome, Span
from cdc_sync.settlement import Settlement
from tests.factories import record

PACKAGE = Path(__file__).parents[1] / "cdc_sync"
FRESHNESS = next(d for d in METRICS if d.name == "freshness_seconds")
TOPIC = "nx.seller.public.Product"


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Label values to value."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == PREFIX + name
    }


# Freshness ----------------------------------------------------------------------------------------------

BOUNDS_MS = [int(bound * 1000) for bound in FRESHNESS_BUCKETS]
ages_ms = st.integers(-10_000, 10_000_000) | st.sampled_from(BOUNDS_MS).flatmap(
    lambda bound: st.integers(bound - 1, bound + 1)
)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(ages_ms), st.integers(10**12, 2 * 10**12))))
def test_freshness_counts_as_a_histogram_does(calls: list[tuple[str, list[int], int]]) -> None:
    """One that is told of each duration by itself; edges of buckets and clocks that are late included."""
    freshness = Freshness(FRESHNESS)
    registry = CollectorRegistry()
    registry.register(freshness)
    naive = CollectorRegistry()
    histogram = Histogram(
        PREFIX + FRESHNESS.name, FRESHNESS.help, FRESHNESS.labels, buckets=FRESHNESS.buckets, registry=naive
    )
    for table, ages, now_ms in calls:
        freshness.observe(table, [now_ms - age for age in ages], now_ms)
        for age in ages:
            histogram.labels(table).observe(age / 1000)
        histogram.labels(table)  # a call without a duration makes the series, too
    for part in ("bucket", "count"):
        name = f"freshness_seconds_{part}"
        assert samples(naive, name) == samples(registry, name)
    sums = samples(registry, "freshness_seconds_sum")
    assert pytest.approx(samples(naive, "freshness_seconds_sum"), abs=1e-6) == sums


# Accounting ---------------------------------------------------------------------------------------------


def span(count: int, **outcomes: int) -> Span:
    """A settled span."""
    records = [record("Product", offset=n) for n in range(count)]
    made = Span(records[0])
    made.count = count
    made.outcomes = Counter({Outcome[name.upper()]: n for name, n in outcomes.items()})
    return made


OUTCOMES = st.fixed_dictionaries({o.value: st.integers(0, 5) for o in Outcome})


@given(st.lists(OUTCOMES.filter(lambda found: sum(found.values()) > 0)))
def test_events_in_are_events_out(spans: list[dict[str, int]]) -> None:
    """Promise 10: by table, consumed is the sum of the outcomes, and no span is wrong."""
    metrics = Metrics("0")
    for outcomes in spans:
        metrics.accounted(span(sum(outcomes.values()), **outcomes))
    total: Counter[tuple[str, ...]] = Counter()
    for outcomes in spans:
        total.update({("Product", name): n for name, n in outcomes.items() if n})
    assert dict(total) == samples(metrics.registry, "events_total")
    assert sum(total.values()) == sum(samples(metrics.registry, "events_consumed_total").values())
    assert {} == samples(metrics.registry, "accounting_errors_total")


@pytest.mark.parametrize("written", [1, 3])
def test_an_account_that_is_wrong_is_counted(written: int) -> None:
    """An event without an outcome, and one with two."""
    metrics = Metrics("0")
    metrics.accounted(span(2, written=written))
    assert {("Product",): 1.0} == samples(metrics.registry, "accounting_errors_total")


def test_a_batch_is_counted_with_the_age_of_each_change() -> None:
    """But for those without a time: snapshots are as old as they are."""
    batch = Batch()
    for offset, at_ms in enumerate([1_000, 2_000, None]):
        asked = record("Product", offset=offset)
        batch.add(Asked(asked, Upsert("products", {"id": str(offset)}), at_ms))
    metrics = Metrics("0")
    metrics.wrote("products", Settlement(batch, [], [], 2_500))
    assert {("products",): 3.0} == samples(metrics.registry, "batch_documents_sum")
    assert {("Product",): 2.0} == samples(metrics.registry, "freshness_seconds_sum")
    assert {("Product",): 2.0} == samples(metrics.registry, "freshness_seconds_count")


# The list -----------------------------------------------------------------------------------------------


def test_everything_that_happens_has_its_metric() -> None:
    """With the labels that the list tells."""
    metrics = Metrics("1.2")
    metrics.skipped(TOPIC, "tombstone")
    metrics.dead_lettered(TOPIC, DecodeError("x"))
    metrics.dead_lettered(TOPIC, RejectedError("x"))
    metrics.requested("import", "lost", 0.5)
    metrics.retried("products", SinkAmbiguous("x"))
    metrics.rebalanced("lost")
    registry = metrics.registry
    assert {("Product", "tombstone"): 1.0} == samples(registry, "skipped_total")
    assert {
        ("Product", "VALUE_CONVERTER", "DecodeError"): 1.0,
        ("Product", "TASK_PUT", "RejectedError"): 1.0,
    } == (samples(registry, "dead_letters_total"))
    assert {("import", "lost"): 0.5} == samples(registry, "request_duration_seconds_sum")
    assert {("products", "SinkAmbiguous"): 1.0} == samples(registry, "retries_total")
    assert {("lost",): 1.0} == samples(registry, "rebalances_total")
    assert {("1.2",): 1.0} == samples(registry, "build_info")


def test_a_gauge_is_set_and_forgotten() -> None:
    """What is not ours any more must not stay as it was."""
    metrics = Metrics("0")
    metrics.set("lag_records", 5, "Product", "0")
    metrics.set("open_spans", 2)
    assert ({("Product", "0"): 5.0}, {(): 2.0}) == (
        samples(metrics.registry, "lag_records"),
        samples(metrics.registry, "open_spans"),
    )
    metrics.forget("lag_records")
    assert {} == samples(metrics.registry, "lag_records")


def test_the_whole_list_is_exposed() -> None:
    """Under its name, as its kind, with its words; and nothing else is."""
    text = generate_latest(Metrics("0").registry).decode()
    kinds = dict(re.findall(r"(?m)^# TYPE cdc_sync_(\S+) (\w+)$", text))
    made = {name for name in kinds if name.endswith("_created")}
    assert {d.name: d.kind for d in METRICS} == {n: k for n, k in kinds.items() if n not in made}


@pytest.mark.parametrize("name", [d.name for d in METRICS])
def test_every_metric_is_moved_somewhere(name: str) -> None:
    """A metric that nobody counts would be 0 for ever, and believed."""
    sources = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py") if path.name != "reference.py"]
    moves = rf'(_counters|_gauges|_histograms)\["{name}"\]|\.set\(\s*"{name}"|name == "{name}"'
    assert any(re.search(moves, source) for source in sources)


def test_every_metric_says_what_it_is() -> None:
    """Names as Prometheus wants them, a sentence each, ascending buckets where it is a histogram."""
    assert len({d.name for d in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith("."), metric.name
        assert (metric.kind == "histogram") == bool(metric.buckets), metric.name
        assert all(a < b for a, b in pairwise(metric.buckets)), metric.name


def test_a_table_is_the_last_part_of_its_topic() -> None:
    assert ("Product", "Product", "") == (table_of(TOPIC), table_of("Product"), table_of("a."))
    assert "Product" == table_of(Partition(TOPIC, 3).topic)
