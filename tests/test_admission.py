"""Records wait in front of the corridor for their schemas, by topic and in order, and for nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.admission import REFUSED_FOR_S, AdmitAll, AdmitKnown
from cdc_sync.errors import DecodeError, FatalError, RegistryUnavailable, TransientError
from cdc_sync.model import Partition, Record


class FakeRegistry:
    """Knows every id below 100, refuses the others; `away` while it is."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[int] = []
        self.broken: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def find(self, schema_id: int) -> Sequence[str]:
        self.asked.append(schema_id)
        assert self.gate.wait(10)
        if self.broken is not None:
            raise self.broken
        if self.away:
            raise RegistryUnavailable("away")
        if schema_id >= 100:
            raise DecodeError(f"no schema {schema_id}")
        return (f"schema {schema_id}",)


class World:
    """An admission with its registry, and what it has said."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.said: list[object] = []
        self.now = 0.0
        self.admission = AdmitKnown(
            self.registry,
            patience_s=5.0,
            max_backoff_s=0.01,
            clock=lambda: self.now,
            on_trouble=self._on_trouble,
            on_recovery=lambda: self.said.append("back"),
        )
        self.admission.start()

    def _on_trouble(self, error: TransientError, is_new: bool) -> None:
        if is_new:
            self.said.append(str(error))

    def until(self, done: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def admit_all(self, records: Sequence[Record] = ()) -> list[Record]:
        """Turn until nothing is held."""
        admitted = list(self.admission.admit(records))
        deadline = time.monotonic() + 10
        while self.admission.held_records:
            assert time.monotonic() < deadline
            admitted += self.admission.admit([])
        return admitted


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.registry.gate.set()
    world.admission.stop(5)


def framed(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + b"\x02a"


def record(
    topic: str, offset: int, value: int | bytes | None, key: int | bytes | None = b"{}", partition: int = 0
) -> Record:
    """A record; a number is the id of the schema that its key or value names."""
    key, value = (framed(raw) if isinstance(raw, int) else raw for raw in (key, value))
    return Record(Partition(topic, partition), offset, key, value)


def test_what_names_no_schema_is_never_held(world: World) -> None:
    """JSON, tombstones, and bytes that name none: the decoder has its own word for them."""
    world.registry.away = True
    records = [
        record("t", 0, b'{"op":"c"}'),
        record("t", 1, None, None),
        record("t", 2, b"", b""),
        record("t", 3, b"\0\0\1"),
        record("t", 4, 0),
        record("t", 5, b"\xff"),
    ]
    assert records == world.admission.admit(records)
    assert [] == world.registry.asked


@pytest.mark.parametrize(("key", "value"), [(1, None), (b"{}", 1), (1, b"{}"), (1, 2)])
def test_a_new_schema_is_fetched_while_the_poll_waits(
    world: World, key: int | bytes, value: int | bytes | None
) -> None:
    """Of keys and of values; the next record with it is not even looked at twice."""
    records = [record("t", 0, value, key), record("t", 1, value, key)]
    assert records == world.admission.admit(records)
    assert records == world.admission.admit(records)
    wanted = {n for n in (key, value) if isinstance(n, int)}
    assert wanted == set(world.registry.asked)
    assert len(wanted) == len(world.registry.asked)
    assert [(f"schema {n}",) for n in wanted] == [world.admission.find(n) for n in wanted]
    assert [] == world.said


def test_an_unknown_id_goes_on_and_is_refused_by_name(world: World) -> None:
    """It is poison, not an outage; and it is asked for again after a while."""
    records = [record("t", 0, 100), record("t", 1, 1)]
    assert records == world.admission.admit(records)
    with pytest.raises(DecodeError, match="no schema 100"):
        world.admission.find(100)
    world.admission.admit([record("t", 2, 100)])
    assert 1 == world.registry.asked.count(100)
    world.now += REFUSED_FOR_S
    world.admission.admit([record("t", 2, 100)])
    assert 2 == world.registry.asked.count(100)
    assert None is world.admission.trouble


def test_while_the_registry_is_away_only_what_needs_it_is_held(world: World) -> None:
    """Its topic is; behind it in the topic everything; other topics, and known schemas, go on."""
    known = [record("a", 0, 1), record("b", 0, 1)]
    assert known == world.admission.admit(known)
    world.registry.away = True
    polled = [
        record("a", 1, 1),
        record("a", 2, 2),
        record("b", 1, 1),
        record("a", 3, 1),
        record("a", 4, b"{}"),
    ]
    assert [polled[0], polled[2]] == world.admission.admit(polled)
    assert ({"a"}, 3) == (world.admission.holds, world.admission.held_records)
    assert "away" == str(world.admission.trouble)
    world.registry.away = False
    assert [polled[1], polled[3], polled[4]] == world.admit_all()
    assert (set(), None) == (set(world.admission.holds), world.admission.trouble)
    assert ["away", "back"] == world.said


def test_no_poll_waits_for_a_registry_that_is_known_to_be_away(world: World) -> None:
    """The member stays in its group: five seconds of patience are never used up."""
    world.registry.away = True
    began = time.monotonic()
    world.admission.admit([record("a", 0, 1)])
    world.until(lambda: world.admission.trouble is not None)
    for _ in range(50):
        assert [] == world.admission.admit([])
    assert time.monotonic() - began < 4.0


def test_a_registry_that_is_silent_is_waited_for_a_moment_only() -> None:
    """The thread hangs in its request, the poll does not."""
    registry = FakeRegistry()
    registry.gate.clear()
    admission = AdmitKnown(registry, patience_s=0.05)
    admission.start()
    assert [] == admission.admit([record("a", 0, 1)])
    assert {"a"} == admission.holds
    registry.gate.set()
    admission.stop(5)


@pytest.mark.parametrize("schema_id", [1, 100])
def test_a_record_from_elsewhere_is_known_once_its_schema_was_asked_for(world: World, schema_id: int) -> None:
    """A replay: nobody waits for it, and it is never held; what is refused is known to be."""
    world.registry.away = True
    replay = record("t", 7, schema_id, 2)
    assert not world.admission.is_known(replay)
    assert 0 == world.admission.held_records
    world.registry.away = False
    world.until(lambda: world.admission.is_known(replay))
    if schema_id == 100:
        with pytest.raises(DecodeError, match="no schema 100"):
            world.admission.find(schema_id)
    assert AdmitAll().is_known(replay)


def test_what_is_revoked_is_dropped(world: World) -> None:
    """Its next owner reads it; the topic's other partitions stay held, in order."""
    world.registry.away = True
    polled = [record("a", 0, 1), record("a", 0, 1, partition=1), record("a", 1, 1)]
    world.admission.admit(polled)
    world.admission.disown({Partition("a", 0)})
    assert ({"a"}, 1) == (world.admission.holds, world.admission.held_records)
    world.registry.away = False
    assert [polled[1]] == world.admit_all()
    world.registry.away = True
    world.admission.admit([record("b", 0, 2)])
    world.admission.disown({Partition("b", 0)})
    assert (frozenset(), 0) == (world.admission.holds, world.admission.held_records)


def test_a_bug_of_the_thread_ends_the_process(world: World) -> None:
    """Instead of holding records for ever, ready and silent."""
    world.registry.broken = KeyError("oops")
    world.admission._patience_s = 0.0
    world.admission.admit([record("a", 0, 1)])
    world.until(lambda: world.admission._crash is not None)
    with pytest.raises(FatalError, match="KeyError"):
        world.admission.admit([])


def test_an_end_while_the_registry_is_away(world: World) -> None:
    """The thread ends at once."""
    world.registry.away = True
    world.admission.admit([record("a", 0, 1)])
    world.admission.stop(5)
    assert not world.admission._thread.is_alive()


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1]), st.sampled_from([b"{}", 1, 2, 3])),
        max_size=12,
    ),
    st.data(),
)
def test_whatever_the_registry_does_nothing_is_lost_or_overtaken(
    drawn: list[tuple[str, int, int | bytes]], data: st.DataObject
) -> None:
    """In each partition the records come out as they went in, each once."""
    records = [record(topic, n, value, partition=number) for n, (topic, number, value) in enumerate(drawn)]
    registry = FakeRegistry()
    admission = AdmitKnown(registry, patience_s=1.0, max_backoff_s=0.001)
    admission.start()
    admitted: list[Record] = []
    try:
        for found in records:
            registry.away = data.draw(st.booleans())
            if found.partition.topic not in admission.holds:  # a held topic is read no further
                admitted += admission.admit([found])
            else:
                admitted += admission.admit(())
                admitted += admission.admit([found])
        registry.away = False
        deadline = time.monotonic() + 10
        while admission.held_records and time.monotonic() < deadline:
            admitted += admission.admit(())
    finally:
        admission.stop(5)
    for partition in {r.partition for r in records}:
        assert [r for r in records if r.partition == partition] == [
            r for r in admitted if r.partition == partition
        ]


def test_without_a_registry_nothing_waits() -> None:
    """All goes on; the decoder says what to set."""
    admission = AdmitAll()
    records = [record("a", 0, 1)]
    assert records == admission.admit(records)
    admission.disown({Partition("a", 0)})
    assert () == admission.holds
