"""A lane: one ordered stream of writes; it holds what the sink refuses, and settles each record once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from cdc_sync.compaction import Asked, Batch
from cdc_sync.errors import SinkUnavailable
from cdc_sync.lane import Lane
from cdc_sync.model import Document, DocumentKey, Partition, Record, Rejection, Upsert
from cdc_sync.offsets import OffsetTracker, Outcome, Span
from cdc_sync.pace import Pace
from cdc_sync.settlement import Settlement

P0, P1 = Partition("t", 0), Partition("t", 1)


class ScriptedSink:
    """Applies batches to a dict; `gate` holds a call, `away` fails it, `refuses` a single document."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.batches: list[list[str]] = []
        self.opened_before: list[int] = []
        self.away = False
        self.refuses: Callable[[Document], bool] = lambda _: False
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.aborted = threading.Event()
        self.calls = 0

    def open(self) -> None:
        self.opened_before.append(len(self.batches))

    def write(self, batch: Batch) -> Sequence[Rejection]:
        self.calls += 1
        if self.away:
            raise SinkUnavailable("away")
        self.inside.set()
        while not self.gate.wait(0.005):
            if self.aborted.is_set():
                raise SinkUnavailable("aborted")
        self.inside.clear()
        self.batches.append([pending.change.id for pending in batch])
        rejections = []
        for pending in batch:
            assert isinstance(pending.change, Upsert)
            if self.refuses(pending.change.document):
                rejections.append(Rejection(DocumentKey("c", pending.change.id), "no"))
            else:
                self.documents[pending.change.id] = pending.change.document
        return rejections

    def abort(self) -> None:
        self.aborted.set()


class World:
    """A lane, its sink, and the offsets of what it was given."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.sink = ScriptedSink()
        self.troubles: list[str] = []
        self.lane = Lane(
            "c",
            ["c"],
            self.sink,
            change_of,
            max_waiting_bytes=1_000_000,
            max_waiting_documents=5,
            max_backoff_s=0.02,
            pace=self.pace,
            on_trouble=lambda _, error, is_new: self.troubles.append(str(error)) if is_new else None,
            on_recovery=lambda _: self.troubles.append("back"),
        )
        self.offsets = OffsetTracker()
        self.next = {P0: 0, P1: 0}
        self.settled: list[Settlement] = []

    def give(self, *ids: str, partition: Partition = P0) -> dict[Partition, Span]:
        """Records of one poll, whose value is `<id>=<offset>`."""
        records = []
        for document_id in ids:
            offset = self.next[partition]
            self.next[partition] += 1
            records.append(
                Record(partition, offset, document_id.encode(), f"{document_id}={offset}".encode())
            )
        spans = self.offsets.open(records)
        changes = {spans[partition]: [Asked(record, change_of(record)) for record in records]} if ids else {}
        assert [] == self.lane.add(changes)
        return spans

    def settle(self, count: int = 1, timeout_s: float = 3.0) -> list[Settlement]:
        """Wait until so many batches are settled in all; account and release them."""
        deadline = time.monotonic() + timeout_s
        while len(self.settled) < count and time.monotonic() < deadline:
            for settlement in self.lane.collect():
                settlement.account()
                for span in settlement.batch.settles:
                    span.release()
                self.settled.append(settlement)
            time.sleep(0.002)
        return self.settled


def change_of(record: Record) -> Upsert:
    """The pure middle of these tests."""
    document_id, _, version = (record.value or b"").decode().partition("=")
    return Upsert("c", {"id": document_id, "version": int(version)})


@pytest.fixture
def world() -> Iterator[World]:
    """A lane that runs."""
    world = World()
    world.lane.start()
    yield world
    world.sink.gate.set()
    world.lane.stop(2.0)


def revoke(world: World, timeout_s: float) -> None:
    """Take partition 0 away."""
    world.lane.disown([P0])
    if not world.lane.wait_disowned(timeout_s):
        world.lane.give_up_disowned()


def outcomes(spans: dict[Partition, Span]) -> dict[Outcome, int]:
    """All outcomes of these spans that are not zero."""
    return {o: n for span in spans.values() for o, n in span.outcomes.items() if n}


def test_an_idle_lane_writes_at_once(world: World) -> None:
    """A batch does not wait to be filled."""
    spans = world.give("a")
    world.settle()
    assert {"a": {"id": "a", "version": 0}} == world.sink.documents
    assert {Outcome.WRITTEN: 1} == outcomes(spans)
    assert {P0: 1} == (world.offsets.settle() and world.offsets.committable())


def test_what_waits_is_folded(world: World) -> None:
    """While a batch is in flight, three changes of one document become one write."""
    world.sink.gate.clear()
    first = world.give("a")
    assert world.sink.inside.wait(2)
    second, third = world.give("b", "b"), world.give("b", "c")
    world.sink.gate.set()
    world.settle(2)
    assert [["a"], ["b", "c"]] == world.sink.batches
    assert 3 == world.sink.documents["b"]["version"]
    assert {Outcome.WRITTEN: 1} == outcomes(first)
    assert {Outcome.COALESCED: 2} == outcomes(second)
    assert {Outcome.WRITTEN: 2} == outcomes(third)


def test_nothing_is_settled_while_the_sink_is_away(world: World) -> None:
    """The batch is held, not dropped, and written once the sink is back; said once each."""
    world.sink.away = True
    world.give("a")
    time.sleep(0.1)
    assert [] == world.lane.collect()
    assert world.lane.trouble is not None
    world.sink.away = False
    world.settle()
    assert ["away", "back"] == world.troubles
    assert {"a"} == world.sink.documents.keys()
    assert world.lane.trouble is None


def test_a_refused_document_is_the_only_poison(world: World) -> None:
    """Its neighbours are written."""
    world.sink.refuses = lambda document: document["id"] == "b"
    spans = world.give("a", "b", "c")
    [settlement] = world.settle()
    assert [(1, "no")] == [(record.offset, str(error)) for record, error in settlement.poison]
    assert {"a", "c"} == world.sink.documents.keys()
    assert {Outcome.WRITTEN: 2} == outcomes(spans)


def test_a_refused_fold_is_taken_apart(world: World) -> None:
    """Only the record at fault is poison; those before and after it have their effect, in their order."""
    world.sink.gate.clear()
    world.give("x")
    assert world.sink.inside.wait(2)
    world.sink.refuses = lambda document: document["version"] >= 3
    spans = world.give("a", "a", "a")
    world.sink.gate.set()
    world.settle(2)
    assert [3] == [record.offset for record, _ in world.settled[1].poison]
    assert 2 == world.sink.documents["a"]["version"]
    assert {Outcome.WRITTEN: 2} == outcomes(spans)


def test_a_revoked_partition_is_dropped_and_the_other_kept(world: World) -> None:
    """What waits and what is held of a revoked partition is never written; its offsets never move."""
    world.sink.away = True
    world.give("a", partition=P0)
    world.give("b", partition=P1)
    time.sleep(0.05)
    revoke(world, 2.0)
    world.offsets.revoke([P0])
    world.sink.away = False
    world.settle()
    time.sleep(0.05)
    assert {"b"} == world.sink.documents.keys()
    world.offsets.settle()
    assert {P1: 1} == world.offsets.committable()


def test_revocation_waits_for_the_request_in_flight(world: World) -> None:
    """Nothing of a revoked partition may reach the sink after `revoke` has returned."""
    world.sink.gate.clear()
    world.give("a")
    assert world.sink.inside.wait(2)
    threading.Timer(0.1, world.sink.gate.set).start()
    revoke(world, 2.0)
    assert {"a"} == world.sink.documents.keys()


def test_revocation_gives_up_a_request_that_hangs(world: World) -> None:
    """A sink that never answers does not keep a rebalance for ever."""
    world.sink.gate.clear()
    world.give("a")
    assert world.sink.inside.wait(2)
    started = time.monotonic()
    revoke(world, 0.1)
    assert time.monotonic() - started < 2
    assert world.sink.aborted.is_set()
    assert world.lane.is_idle
    assert {} == world.sink.documents


def test_the_sink_is_opened_anew_after_a_doubt(world: World) -> None:
    """Once, and before anything of the next batch is written."""
    for count, document_id in enumerate("abc", 1):
        world.give(document_id)
        world.settle(count)
        if document_id == "a":
            world.lane.doubt()
    assert [0, 1] == world.sink.opened_before


def test_a_lane_is_full_by_documents_that_wait(world: World) -> None:
    """What is in flight does not count; what waits does, folded."""
    world.sink.gate.clear()
    world.give("a")
    assert world.sink.inside.wait(2)
    world.give("b", "c", "d", "d", "e")
    assert not world.lane.is_full
    world.give("f")
    assert world.lane.is_full


def test_a_batch_has_as_many_documents_as_the_pace_allows(world: World) -> None:
    """It grows while full ones are answered; a span is settled by the last part of it."""
    world.sink.gate.clear()
    world.give("x")
    assert world.sink.inside.wait(2)
    spans = world.give(*"abcdefgh")
    world.pace.limit = 2
    world.sink.gate.set()
    settled = world.settle(4)
    assert [["x"], ["a", "b"], ["c", "d", "e", "f"], ["g", "h"]] == world.sink.batches
    assert {Outcome.WRITTEN: 8} == outcomes(spans)
    assert [1, 0, 0, 1] == [len(settlement.batch.settles) for settlement in settled]
    assert [1, 8] == [span.count for span in world.offsets.settle()]


def test_what_the_pace_holds_back_is_folded(world: World) -> None:
    """A change that comes while the part before it is written becomes one with what still waits."""
    world.pace.limit = 2
    world.sink.away = True
    world.give("a", "b", "c")
    deadline = time.monotonic() + 2
    while not world.lane.in_flight_documents and time.monotonic() < deadline:
        time.sleep(0.005)
    world.give("c")
    assert (2, 1) == (world.lane.in_flight_documents, world.lane.waiting_documents)
    world.sink.away = False
    world.settle(2)
    assert [["a", "b"], ["c"]] == world.sink.batches
    assert 3 == world.sink.documents["c"]["version"]


def test_a_refusal_makes_the_next_batches_smaller(world: World) -> None:
    """Down to the least that the pace has."""
    world.pace.limit = 400
    world.sink.away = True
    world.give("c")
    deadline = time.monotonic() + 2
    while world.lane.batch_limit > 100 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert 100 == world.lane.batch_limit


def test_stop_ends_a_lane_whose_sink_is_away(world: World) -> None:
    """Held work is dropped without being settled: it is read again by the next process."""
    world.sink.away = True
    world.give("a")
    time.sleep(0.05)
    world.lane.stop(2.0)
    assert [] == world.lane.collect()
    calls = world.sink.calls
    time.sleep(0.1)
    assert calls == world.sink.calls


def test_an_error_that_nobody_expected_is_not_silent(world: World) -> None:
    """The lane ends and says why; the process that polls ends with it."""
    world.sink.refuses = lambda document: document["no such field"]
    world.give("a")
    deadline = time.monotonic() + 2
    while world.lane.crash is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert isinstance(world.lane.crash, KeyError)
    assert [] == world.lane.collect()
