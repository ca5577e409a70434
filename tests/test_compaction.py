"""Folding many changes into one has the effect of all of them, in their order."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_sync.compaction import Asked, Batch, fold, memory_of
from cdc_sync.errors import MappingError
from cdc_sync.model import Delete, Document, DocumentChange, Partition, Record, Upsert
from cdc_sync.offsets import OffsetTracker, Span
from cdc_sync.sink.plan import write_collection
from tests.factories import record
from tests.fakes import FakeTypesense

PATTERNS = ["a", "b", "name_*"]
"""What an event may not see: two fields, and all locales of a text."""


class Step(NamedTuple):
    """One event of a row: what is true after it, and which unchanged parts it could not see."""

    row_id: str
    truth: Document | None
    unseen: tuple[str, ...] = ()

    @property
    def change(self) -> DocumentChange:
        """What a mapper makes of it."""
        if self.truth is None:
            return Delete("t", self.row_id)
        seen = {n: v for n, v in self.truth.items() if part(n) not in self.unseen}
        return Upsert("t", seen, self.unseen)


def part(field: str) -> str:
    """The pattern that a field belongs to."""
    return "name_*" if field.startswith("name_") else field


VALUES = st.fixed_dictionaries(
    {"n": st.integers(0, 9)},
    optional={
        "a": st.integers(0, 9),
        "b": st.integers(0, 9),
        "name_en": st.sampled_from(["x", "y"]),
        "name_vi": st.sampled_from(["x", "y"]),
    },
)


@st.composite
def steps(draw: st.DrawFn, soft_deletes: bool) -> tuple[dict[str, Document], list[Step]]:
    """The rows at first, and what happens to them.

    A part that is there and unchanged may be out of sight. After a delete the row is new, so all of it is
    in sight; with `soft_deletes` it may have been there all the time.
    """
    first: dict[str, Document] = {}
    for row_id in draw(st.sets(st.sampled_from(["1", "2"]))):
        first[row_id] = {"id": row_id, **draw(VALUES)}
    rows: dict[str, Document] = dict(first)
    live = set(first)
    history: list[Step] = []
    for row_id in draw(st.lists(st.sampled_from(["1", "2"]), max_size=8)):
        if draw(st.integers(0, 3)) == 0:
            history.append(Step(row_id, None))
            live.discard(row_id)
            if not soft_deletes:
                rows.pop(row_id, None)
            continue
        row = {"id": row_id, **draw(VALUES)}
        old = rows.get(row_id, {})
        unseen = []
        for pattern in draw(st.sets(st.sampled_from(PATTERNS))):
            kept = {n: v for n, v in old.items() if part(n) == pattern}
            if kept:
                row = {n: v for n, v in row.items() if part(n) != pattern} | kept
                unseen.append(pattern)
        rows[row_id] = row
        live.add(row_id)
        history.append(Step(row_id, row, tuple(unseen)))
    return first, history


def write(batch: Batch, server: FakeTypesense) -> int:
    """Write a batch; how many changes were refused."""
    return sum(
        len(server.run(write_collection(name, {i: p.change for i, p in pendings.items()})))
        for name, pendings in batch.changes.items()
    )


def fold_all(history: list[Step]) -> tuple[Batch, int]:
    """All steps in one batch; how many could not be folded."""
    batch, refused = Batch(), 0
    for offset, step in enumerate(history):
        try:
            batch.add(Asked(record(offset=offset), step.change))
        except MappingError:
            refused += 1
    return batch, refused


@settings(max_examples=250)
@given(steps(soft_deletes=False), st.data())
def test_one_batch_or_many_lead_to_the_truth(
    story: tuple[dict[str, Document], list[Step]], data: st.DataObject
) -> None:
    """However the changes are cut into batches, the documents are what is true at the end."""
    first, history = story
    cuts = sorted(data.draw(st.sets(st.integers(0, len(history)))))
    server = FakeTypesense()
    server.collections["t"] = dict(first)
    for start, end in zip([0, *cuts], [*cuts, len(history)], strict=True):
        batch, refused = fold_all(history[start:end])
        assert (0, 0) == (refused, write(batch, server))
    expected = dict(first)
    for step in history:
        if step.truth is None:
            expected.pop(step.row_id, None)
        else:
            expected[step.row_id] = step.truth
    assert expected == server.collections["t"]


@settings(max_examples=250)
@given(steps(soft_deletes=True), st.booleans())
def test_what_is_not_known_is_refused_never_guessed(
    story: tuple[dict[str, Document], list[Step]], is_stored: bool
) -> None:
    """A document is the truth, or its last event was refused; there is no half of it.

    The rows may have been there before without their documents, and soft-deleted ones come back.
    """
    first, history = story
    server = FakeTypesense()
    server.collections["t"] = dict(first) if is_stored else {}
    batch, refused = fold_all(history)
    refused += write(batch, server)
    last = {step.row_id: step.truth for step in history}
    wrong = {i for i, truth in last.items() if server.collections["t"].get(i) != truth}
    assert len(wrong) <= refused
    for row_id in wrong:
        seen_whole = [s for s in history if s.row_id == row_id and not s.unseen and s.truth is not None]
        assert not seen_whole or history.index(seen_whole[-1]) < max(
            n for n, s in enumerate(history) if s.row_id == row_id and s.truth is None
        )


def test_a_replayed_record_finds_its_own_span() -> None:
    """Two letters of one event, asked for beside the events that were polled around it."""
    polled = [record(offset=offset) for offset in (3, 5, 6)]
    spans = [*OffsetTracker().open(polled).values()]
    replayed = [record(offset=5), record(offset=5)]
    spans += [Span(one, is_replay=True) for one in replayed]
    batch = Batch()
    batch.spans = spans[::-1]
    span_of = batch.find_spans()
    assert [spans[0]] * 3 == [span_of(one) for one in polled]
    assert spans[1:] == [span_of(one) for one in replayed]


def test_a_refusal_leaves_the_batch_as_it_was() -> None:
    """The record is poison by itself; what it met stays."""
    batch = Batch()
    batch.add(Asked(record(offset=0, value=b"12"), Delete("t", "1"), 5))
    with pytest.raises(MappingError, match=r"t 1: a, name_\*.*FULL"):
        batch.add(Asked(record(offset=1, value=b"12"), Upsert("t", {"id": "1"}, ("a", "name_*")), 6))
    (pending,) = batch
    assert (Delete("t", "1"), [0]) == (pending.change, [r.offset for r in pending.records])
    assert memory_of(record(value=b"12")) == batch.size_bytes
    assert {record().partition.topic: [5]} == batch.commit_times_ms()


def test_changes_are_not_changed() -> None:
    """Folding makes new values: the mapped ones may be needed again, one by one."""
    earlier, later = Upsert("t", {"id": "1", "a": 1}), Upsert("t", {"id": "1"}, ("a",))
    assert Upsert("t", {"id": "1", "a": 1}) == fold(earlier, later)
    assert (Upsert("t", {"id": "1", "a": 1}), Upsert("t", {"id": "1"}, ("a",))) == (earlier, later)


def test_documents_of_one_id_in_two_collections_are_two() -> None:
    """An id is one only within its collection."""
    batch = Batch()
    for collection in ("t", "u"):
        batch.add(Asked(record(), Upsert(collection, {"id": "1"})))
    assert (2, {"t", "u"}) == (len(batch), {pending.change.collection for pending in batch})


# Spans --------------------------------------------------------------------------------------------------

PARTITIONS = [Partition("t", 0), Partition("t", 1), Partition("u", 0)]


class World(NamedTuple):
    """A batch as a lane fills it, and the span that each of its records was read in."""

    batch: Batch
    spans: dict[tuple[Partition, int], Span]
    records: list[Record]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Several polls of several partitions; a key may come from two of them, after a topic has grown."""
    tracker, batch = OffsetTracker(), Batch()
    offsets: Counter[Partition] = Counter()
    spans: dict[tuple[Partition, int], Span] = {}
    taken: list[Record] = []
    for _ in range(draw(st.integers(1, 4))):
        poll = []
        for partition in draw(st.lists(st.sampled_from(PARTITIONS), max_size=6)):
            offsets[partition] += draw(st.integers(1, 3))
            poll.append(
                record(
                    topic=partition.topic,
                    partition=partition.number,
                    offset=offsets[partition],
                    value=b"x" * draw(st.integers(0, 3)),
                )
            )
        opened = tracker.open(poll)
        for found in poll:
            if draw(st.booleans()):
                continue  # skipped, or of another lane
            batch.add(Asked(found, Upsert("t", {"id": draw(st.sampled_from("abc"))})))
            spans[found.partition, found.offset] = opened[found.partition]
            batch.asked[opened[found.partition]] += 1
            taken.append(found)
        batch.spans += [span for span in opened.values() if span in batch.asked]
    return World(batch, spans, taken)


def places(records: list[Record]) -> list[tuple[Partition, int]]:
    """Where records come from."""
    return [(r.partition, r.offset) for r in records]


@given(worlds())
def test_every_record_finds_the_span_that_it_was_read_in(world: World) -> None:
    """Also with gaps in the offsets, and several spans of one partition."""
    span_of = world.batch.find_spans()
    assert [world.spans[where] for where in places(world.records)] == [span_of(r) for r in world.records]


@given(worlds(), st.sets(st.sampled_from(PARTITIONS)))
def test_what_is_revoked_leaves_the_batch(world: World, gone: set[Partition]) -> None:
    """Its records, its spans, and documents that nobody else asked for; the rest stays whole.

    Every record that is left finds its span, so the batch can be accounted for.
    """
    rest = world.batch.without(gone)
    left = [r for r in world.records if r.partition not in gone]
    assert Counter(places(left)) == Counter(places([r for pending in rest for r in pending.records]))
    assert [span for span in world.batch.spans if span.partition not in gone] == rest.spans
    assert Counter(world.spans[where] for where in places(left)) == rest.asked
    span_of = rest.find_spans()
    assert [world.spans[where] for where in places(left)] == [span_of(r) for r in left]
    assert world.batch.without(()).size_bytes == world.batch.size_bytes
    assert sum(memory_of(r) for r in left) == rest.size_bytes


@given(worlds())
def test_the_batch_itself_is_not_touched(world: World) -> None:
    """Another thread may be writing it."""
    before: Any = {(p.change.id): places(p.records) for p in world.batch}
    world.batch.without(PARTITIONS)
    assert before == {(p.change.id): places(p.records) for p in world.batch}


@given(worlds())
def test_a_batch_is_as_long_as_its_documents(world: World) -> None:
    """At most one change each."""
    assert len({p.change.id for p in world.batch}) == len(world.batch) == len(list(world.batch))


# A part of what waits -----------------------------------------------------------------------------------


@given(worlds(), st.integers(1, 3))
def test_what_is_taken_and_what_is_left_are_the_batch(world: World, documents: int) -> None:
    """No record is lost or twice, each finds its span, and each span is settled by the last part of it."""
    rest = world.batch
    spans, size_bytes, total = list(rest.spans), rest.size_bytes, len(rest)
    parts = []
    while len(rest) > documents:
        parts.append(rest.take(documents))
        assert 1 <= len(parts[-1]) <= documents
    parts.append(rest)
    assert total == sum(map(len, parts))
    assert size_bytes == sum(part.size_bytes for part in parts)
    assert Counter(places(world.records)) == Counter(
        places([r for part in parts for asked in part for r in asked.records])
    )
    for part in parts:
        records = [r for asked in part for r in asked.records]
        span_of = part.find_spans()
        assert [world.spans[where] for where in places(records)] == [span_of(r) for r in records]
        assert Counter(map(span_of, records)) == part.asked
        assert [span for span in spans if span in part.asked] == part.spans
    last = {span: n for n, part in enumerate(parts) for span in part.spans}
    assert last == {span: n for n, part in enumerate(parts) for span in part.settles}
    assert len(spans) == sum(len(part.settles) for part in parts)


def test_every_collection_has_its_share_of_a_part() -> None:
    """So that none waits for ever behind another one of its lane."""
    batch = Batch()
    for offset in range(30):
        collection = "products" if offset < 20 else "product-infos"
        batch.add(Asked(record(offset=offset), Upsert(collection, {"id": str(offset)})))
    batch.spans = list(OffsetTracker().open([record(offset=offset) for offset in range(30)]).values())
    batch.asked = Counter({batch.spans[0]: 30})
    head = batch.take(6)
    assert {"products": ["0", "1", "2", "3"], "product-infos": ["20", "21"]} == {
        name: list(documents) for name, documents in head.changes.items()
    }
    assert ([], [16, 8]) == (head.settles, [len(documents) for documents in batch.changes.values()])
