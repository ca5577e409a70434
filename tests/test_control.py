"""What the owner of a partition is asked for: searched, judged between two polls, done once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.control import Desk, Errand, Replay, Replayed, Rewind
from cdc_sync.control.clerk import Asked, merged, together
from cdc_sync.control.desk import AT_ONCE, STALE_MS
from cdc_sync.control.errands import Fate, decoded, encoded
from cdc_sync.control.search import Evidence, Search, found
from cdc_sync.control.tail import Entries
from cdc_sync.model import Partition, Record

P0, P1 = Partition("t", 0), Partition("t", 1)


def record(offset: int, row: str, partition: Partition = P0) -> Record:
    return Record(partition, offset, row.encode(), b"v")


def identity(record: Record) -> bytes | None:
    return record.key or None


def replay(offset: int = 5, row: str = "a", *, searched_to: int = 10, asked_at_ms: int = 0) -> Replay:
    return Replay(
        f"dlq/0/{offset}", "t", 0, offset, row.encode(), b"v", [("h", None)], 7, searched_to, asked_at_ms
    )


REWIND = Rewind("t", 0, 3, "them", 0)


# The log ------------------------------------------------------------------------------------------------


def look(records: list[Record], row: str, offset: int, *, start: int | None = None, low: int = 0) -> Evidence:
    search = Search(P0, offset if start is None else start, None, {row.encode(): offset})
    return found(records, search, low, 100, identity)


def test_the_first_later_event_of_the_row_is_found() -> None:
    """Not an earlier one, not the event itself, not another row's."""
    log = [record(4, "a"), record(5, "a"), record(6, "b"), record(8, "a"), record(9, "a")]
    evidence = look(log, "a", 5)
    assert {b"a": 8} == evidence.later
    assert evidence.is_superseded(b"a", 5)
    assert not look(log[:3], "a", 5).is_superseded(b"a", 5)


def test_a_record_that_was_compacted_away_had_a_later_one() -> None:
    """Though that may be gone, too: a tombstone is removed after a while."""
    assert look([record(3, "b"), record(6, "b")], "a", 5).is_superseded(b"a", 5)


def test_what_retention_has_removed_says_nothing() -> None:
    """Nothing below the first offset proves anything; nor does what the search did not pass by."""
    assert not look([record(6, "b")], "a", 5, low=6).is_superseded(b"a", 5)
    assert not look([record(6, "b")], "a", 5, start=6).is_superseded(b"a", 5)


@given(
    log=st.lists(st.sampled_from("abc"), max_size=30),
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 29)), max_size=6),
    end=st.one_of(st.none(), st.integers(0, 30)),
)
def test_searches_made_together_find_what_each_would(
    log: list[str], asked: list[tuple[str, int]], end: int | None
) -> None:
    records = [record(offset, row) for offset, row in enumerate(log)]
    searches = [Search(P0, offset, end, {row.encode(): offset}) for row, offset in asked]
    waiting = [Asked(search, lambda _: None) for search in searches]
    groups = together(waiting)
    assert sorted(map(id, waiting)) == sorted(id(a) for group in groups for a in group)
    for group in groups:
        one = merged([a.search for a in group])
        to = len(log) if end is None else end
        within = [r for r in records if one.start <= r.offset < to]
        all_of_them = found(within, one, 0, to, identity)
        for alone in (a.search for a in group):
            [(row, offset)] = alone.after.items()
            own = found([r for r in within if r.offset >= alone.start], alone, 0, to, identity)
            assert own.is_superseded(row, offset) == all_of_them.is_superseded(row, offset)


# The desk -----------------------------------------------------------------------------------------------


class HeldClerk:
    """Answers when told to."""

    def __init__(self) -> None:
        self.searches: list[tuple[Search, Callable[[Evidence], None]]] = []
        self.written: dict[str, Errand | Replayed | None] = {}
        self.news: list[tuple[str, Errand | Replayed | None]] = []

    def search(self, search: Search, on_evidence: Callable[[Evidence], None]) -> None:
        self.searches.append((search, on_evidence))

    def put(self, key: str, value: bytes | None) -> None:
        self.written[key] = None if value is None else decoded(value)

    def deliver(self, on_entry: Callable[[str, Errand | Replayed | None], None]) -> None:
        news, self.news = self.news, []
        for key, entry in news:
            on_entry(key, entry)

    def answer(self, *records: Record, low: int = 0) -> None:
        search, on_evidence = self.searches.pop(0)
        on_evidence(found(records, search, low, search.end or 100, identity))


class World:
    """A desk whose process owns partition 0 and has read it up to `next_offset`."""

    def __init__(self, now_ms: int = 0) -> None:
        self.clerk = HeldClerk()
        self.counted: list[tuple[str, str]] = []
        self.desk = Desk(
            self.clerk,
            identity,
            member="me",
            now_ms=lambda: now_ms,
            on_replayed=lambda *what: self.counted.append(what),
        )
        self.owned = {P0}
        self.next_offset: int | None = 20

    def ask(self, *errands: Errand) -> None:
        self.clerk.news += [(errand.key, errand) for errand in errands]

    def serve(self) -> list[Errand]:
        return list(self.desk.serve(self.owned, lambda _: self.next_offset))

    def fate(self, errand: Replay) -> Fate | None:
        entry = self.clerk.written.get(errand.key)
        return entry.fate if isinstance(entry, Replayed) else None


def test_a_replay_is_handed_out_when_no_later_event_is_found() -> None:
    """Searched from where the asker stopped up to what was polled; handed out once."""
    world = World()
    world.ask(replay())
    assert [] == world.serve()
    assert Search(P0, 10, 20, {b"a": 5}) == world.clerk.searches[0][0]
    world.clerk.answer(record(12, "b"))
    assert [replay()] == world.serve()
    assert [] == world.serve()
    world.desk.done(replay(), Fate.REPLAYED)
    assert (Fate.REPLAYED, [("t", "replayed")]) == (world.fate(replay()), world.counted)


def test_no_search_where_the_asker_has_seen_more_than_we_have_polled() -> None:
    world = World()
    world.ask(replay(searched_to=20))
    assert [replay(searched_to=20)] == world.serve()


@pytest.mark.parametrize("is_polled_meanwhile", [True, False])
def test_a_later_event_supersedes(is_polled_meanwhile: bool) -> None:
    """Found in the log, or polled while the log was searched."""
    world = World()
    world.ask(replay())
    world.serve()
    world.desk.passed([record(21, "b"), record(22, "a")] if is_polled_meanwhile else [])
    world.clerk.answer(*([] if is_polled_meanwhile else [record(15, "a")]))
    assert ([], Fate.SUPERSEDED) == (world.serve(), world.fate(replay()))


def test_a_later_event_supersedes_every_letter_of_its_row() -> None:
    """One event may have two letters, after a crash, and both be asked for by two runs."""
    world = World()
    twins = [replay(), msgspec.structs.replace(replay(), letter="dlq/1/5")]
    world.ask(*twins)
    world.serve()
    world.desk.passed([record(22, "a")])
    for _ in twins:
        world.clerk.answer()
    assert ([], [Fate.SUPERSEDED] * 2) == (world.serve(), [world.fate(twin) for twin in twins])


def test_an_earlier_event_that_is_read_again_supersedes_nothing() -> None:
    world = World()
    world.ask(replay())
    world.serve()
    world.desk.passed([record(4, "a"), record(22, "a", P1)])
    world.clerk.answer()
    assert [replay()] == world.serve()


def test_what_the_log_has_lost_is_not_replayed() -> None:
    world = World()
    world.ask(replay())
    world.serve()
    world.clerk.answer(low=11)
    assert ([], Fate.UNPROVEN) == (world.serve(), world.fate(replay()))


def test_an_old_request_is_not_believed() -> None:
    """Its asker's search may miss a delete that compaction has removed since."""
    world = World(now_ms=STALE_MS + 1)
    world.ask(replay())
    assert ([], Fate.UNPROVEN, []) == (world.serve(), world.fate(replay()), world.clerk.searches)


def test_a_row_that_cannot_be_told_is_not_replayed() -> None:
    world = World()
    world.ask(replay(row=""))
    assert ([], Fate.UNPROVEN) == (world.serve(), world.fate(replay(row="")))


@pytest.mark.parametrize("next_offset", [None, 5])
def test_a_replay_waits_until_its_own_record_was_passed(next_offset: int | None) -> None:
    """While its partition is being read again, or its position is not known."""
    world = World()
    world.next_offset = next_offset
    world.ask(replay())
    assert ([], []) == (world.serve(), world.clerk.searches)
    world.next_offset = 20
    world.serve()
    assert 1 == len(world.clerk.searches)


def test_only_the_owner_does_it() -> None:
    world = World()
    world.owned = {P1}
    world.ask(replay(), REWIND)
    assert ([], []) == (world.serve(), world.clerk.searches)


def test_a_partition_that_goes_takes_its_errands_along() -> None:
    """An answer that comes later changes nothing; when it comes back, all begins anew."""
    world = World()
    world.ask(replay(), REWIND)
    assert [REWIND] == world.serve()
    world.desk.revoked([P0])
    world.clerk.answer()
    world.owned = set()
    assert [] == world.serve()
    world.owned = {P0}
    assert [REWIND] == world.serve()
    world.clerk.answer()
    assert [replay()] == world.serve()


def test_another_owners_answer_ends_it_here() -> None:
    world = World()
    world.ask(replay())
    world.serve()
    world.clerk.news.append((replay().key, Replayed("dlq/0/5", Fate.REPLAYED, "", 0)))
    world.serve()
    world.clerk.answer()
    assert [] == world.serve()


def test_a_rewind_is_handed_out_until_it_is_done() -> None:
    world = World()
    world.ask(REWIND)
    assert [REWIND] == world.serve()
    assert [] == world.serve()
    world.desk.again(REWIND)
    assert [REWIND] == world.serve()
    world.desk.done(REWIND)
    assert ([], {REWIND.key: None}) == (world.serve(), world.clerk.written)


def test_so_many_are_looked_into_at_once() -> None:
    world = World()
    world.ask(*(replay(n, row=f"r{n}", searched_to=19) for n in range(AT_ONCE + 1)))
    world.next_offset = AT_ONCE + 5
    world.serve()
    assert AT_ONCE == len(world.clerk.searches)
    world.clerk.answer()
    world.serve()
    assert AT_ONCE == len(world.clerk.searches)


def test_a_rewind_is_asked_of_whoever_owns_the_partition() -> None:
    world = World()
    world.desk.ask_rewind(P1, 8)
    [(key, entry)] = world.clerk.written.items()
    assert ("rewind/t/1/me", Rewind("t", 1, 8, "me", 0)) == (key, entry)


@pytest.mark.parametrize(("later", "expected"), [(True, True), (False, False)])
def test_a_look_tells_whether_the_row_has_a_later_event(later: bool, expected: bool) -> None:
    world = World()
    heard: list[bool] = []
    world.desk.look(record(5, "a"), heard.append)
    assert ([], 1, Search(P0, 5, None, {b"a": 5})) == (heard, world.desk.looking, world.clerk.searches[0][0])
    world.clerk.answer(record(5, "a"), *([record(6, "a")] if later else []))
    assert ([expected], 0) == (heard, world.desk.looking)


def test_a_record_without_a_row_has_no_later_event() -> None:
    world = World()
    heard: list[bool] = []
    world.desk.look(record(5, ""), heard.append)
    assert ([False], 0) == (heard, world.desk.looking)


# The entries --------------------------------------------------------------------------------------------


@given(
    key=st.one_of(st.none(), st.binary(max_size=9)),
    value=st.one_of(st.none(), st.binary(max_size=9)),
    headers=st.lists(st.tuples(st.text(max_size=4), st.one_of(st.none(), st.binary(max_size=4)))),
)
def test_a_replay_carries_the_record_byte_by_byte(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    asked = Replay("dlq/0/1", "t", 0, 9, key, value, headers, 77, 10, 0)
    again = decoded(encoded(asked))
    assert isinstance(again, Replay)
    carried = again.record
    assert (P0, 9, key, value, headers, 77) == (
        carried.partition,
        carried.offset,
        carried.key,
        carried.value,
        list(carried.headers),
        carried.timestamp_ms,
    )


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", msgspec.json.encode({"type": "dance"}), b"[]"])
def test_an_entry_of_another_version_is_left_alone(value: bytes) -> None:
    assert decoded(value) is None


@given(steps=st.lists(st.sampled_from(["ask", "answer", "remove", "end", "look"]), max_size=30))
def test_what_is_read_of_the_control_topic_is_handed_on_once_and_whole(steps: list[str]) -> None:
    """Wherever its ends come among the records: no entry is lost, none is shown that an answer follows."""
    entries = Entries()
    asked, answer = replay(), Replayed(replay().letter, Fate.REPLAYED, "", 0)
    values = {"ask": asked, "answer": answer, "remove": None}
    stands: object = "nothing"
    shown: object = "nothing"
    is_at_end = False
    for step in [*steps, "end", "look"]:
        if step in values:
            value = values[step]
            entries.take(asked.key.encode(), None if value is None else encoded(value))
            stands, is_at_end = value, False
        elif step == "end":
            entries.end()
            is_at_end = True
        elif found := entries.fresh():
            assert is_at_end
            [(key, shown)] = found
            assert asked.key == key
    assert stands == shown
