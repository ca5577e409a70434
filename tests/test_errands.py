"""What a pipeline does besides its stream: looks into the log, reads again, applies dead letters."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from cdc_sync.control.errands import Fate, Replay, Replayed, Rewind, decoded, encoded
from cdc_sync.model import Document, Partition, Record, Rejection
from cdc_sync.model import Upsert as UpsertChange
from tests.corridor import PREFIX, World, category, names
from tests.factories import Wire, change, record, row

CATEGORY = Partition(f"{PREFIX}.Category", 0)


@pytest.fixture
def world() -> Iterator[World]:
    """A world whose lanes are stopped at the end."""
    world = World()
    yield world
    world.admission.stop(2.0)
    for lane in world.lanes:
        lane.stop(2.0)


def turn(world: World, times: int = 3) -> None:
    """Some turns of the loop."""
    for _ in range(times):
        world.pipeline.run_once(world.source)


def settled(world: World) -> dict[str, float]:
    """Events by outcome."""
    outcomes = ("written", "coalesced", "skipped", "dead_lettered")
    counts = {o: world.sample("events_total", table="Category", outcome=o) for o in outcomes}
    return {o: count for o, count in counts.items() if count}


# Incomplete rows ----------------------------------------------------------------------------------------


def partial_rows_need_a_document(world: World) -> None:
    """The sink of these tests takes a row named `partial` for one that lacks values, as Typesense's does."""

    def incomplete(change: UpsertChange) -> bool:
        key = change.id
        return change.document.get("name_en") == "partial" and key not in names(world)

    world.sink.incomplete = incomplete


def test_an_incomplete_row_is_no_letter_when_a_later_event_decides(world: World) -> None:
    """It was applied once, and a later delete as well, and then a crash made both be read again."""
    partial_rows_need_a_document(world)
    for name in ("whole", "partial"):
        world.produce("Category", "a", category("a", name))
    world.run()
    world.produce("Category", "a", None)
    world.run()
    assert {} == names(world)

    world.committed[CATEGORY] = 1  # as far as the one who crashed had come
    world.clerk.is_away = True
    world.start()
    world.pipeline._max_records = 1  # so that nothing is folded into the delete
    world.run()
    assert ([], {}) == (world.letters.letters, names(world))


def test_an_incomplete_row_without_a_later_event_is_a_letter(world: World) -> None:
    """Nobody knows its values; what comes of another row decides nothing."""
    partial_rows_need_a_document(world)
    world.produce("Category", "a", category("a", "partial"))
    world.produce("Category", "b", category("b"))
    world.run()
    assert [(0, "IncompleteError")] == [(r.offset, type(e).__name__) for r, e in world.letters.letters]
    assert {"written": 1, "dead_lettered": 1} == settled(world)


def test_nothing_is_committed_before_the_log_has_answered(world: World) -> None:
    """And the record has one outcome: coalesced, for its later event holds all of it."""
    partial_rows_need_a_document(world)
    world.pipeline._max_records = 1
    world.clerk.is_away = True
    world.produce("Category", "a", category("a", "partial"))
    world.run(until=lambda: world.pipeline._desk.looking == 1)
    world.produce("Category", "a", category("a", "whole"))
    world.run(until=lambda: "a" in names(world))
    turn(world)
    assert world.committed.get(CATEGORY, 0) == 0
    world.clerk.is_away = False
    world.run()
    assert ({"written": 1, "coalesced": 1}, []) == (settled(world), world.letters.letters)


# The lease ----------------------------------------------------------------------------------------------


def test_nothing_is_written_without_the_brokers_word(world: World) -> None:
    """A fenced member holds what it has read; it goes on when it is called a member again."""
    world.source.is_fenced = True
    world.produce("Category", "a", category("a"))
    turn(world, 5)
    time.sleep(0.1)
    assert {} == names(world)
    assert world.source.renewals
    world.source.is_fenced = False
    world.lease.renew(time.monotonic())
    world.run()
    assert {"a": "x"} == names(world)


def test_lost_partitions_are_read_again_by_whoever_has_them(world: World) -> None:
    """From what was committed: all beyond that may have been written after others had it."""
    world.run_all("Category", "a", "b")
    assert world.lease.is_held
    world.pipeline._commit_every_s = 1e9
    world.produce("Category", "c", category("c"))
    turn(world)
    world.pipeline.on_revoked({CATEGORY}, lost=True)
    assert not world.lease.is_held
    [(key, value)] = world.control.items()
    rewind = decoded(value)
    assert isinstance(rewind, Rewind)
    assert (CATEGORY, 2, key) == (rewind.origin, rewind.offset, rewind.key)


def test_nobody_is_asked_before_the_last_request_has_ended(world: World) -> None:
    """What is read again before that would be undone by it."""
    begun = threading.Event()
    asked: list[int] = []

    def slow() -> bool:
        begun.set()
        time.sleep(0.3)
        asked.append(len(world.control))
        return False

    world.run_all("Category", "a")
    world.sink.fails = slow
    world.produce("Category", "b", category("b"))
    world.run(until=begun.is_set)
    world.pipeline.on_revoked({CATEGORY}, lost=True)
    assert ([0], 1) == (asked, len(world.control))


def test_nothing_is_asked_where_all_was_committed(world: World) -> None:
    """Nothing can have been under way. Nor is anything asked of a partition that was given back in order."""
    world.run_all("Category", "a")
    world.pipeline.on_revoked({CATEGORY}, lost=True)
    assert {} == world.control


def test_a_revocation_in_order_asks_nothing(world: World) -> None:
    world.run_all("Category", "a")
    world.produce("Category", "b", category("b"))
    world.pipeline._commit_every_s = 1e9
    turn(world)
    world.source.revoke_next = {CATEGORY}
    turn(world)
    assert ({}, 2) == (world.control, world.committed[CATEGORY])


# Reading again ------------------------------------------------------------------------------------------


def ask(world: World, errand: Rewind | Replay) -> str:
    """Put it into the control topic; its key."""
    world.control[errand.key] = encoded(errand)
    return errand.key


def test_a_rewind_puts_right_what_a_former_owner_wrote_late(world: World) -> None:
    """Everything from its offset on is written again, in order; the commit goes back first."""
    world.run_all("Category", "a", "b", "c")
    for place in list(world.sink.documents):
        world.sink.documents[place] = {"id": place.id, "name_en": "of long ago"}
    world.source.may_go_back = True
    key = ask(world, Rewind(*CATEGORY, 1, "them", 0))
    turn(world, 1)
    assert (1, 1) == (world.committed[CATEGORY], world.source.positions[CATEGORY])
    world.run()
    assert {"a": "of long ago", "b": "x", "c": "x"} == names(world)
    assert key not in world.control
    assert {"written": 5} == settled(world)  # three, and two of them again


def test_a_rewind_to_where_we_have_not_come_yet_changes_nothing(world: World) -> None:
    world.run_all("Category", "a", "b")
    world.source.may_go_back = True
    key = ask(world, Rewind(*CATEGORY, 2, "them", 0))
    turn(world)
    assert (2, 2, False) == (
        world.committed[CATEGORY],
        world.source.positions[CATEGORY],
        key in world.control,
    )


def test_a_rewind_that_cannot_be_committed_is_tried_again(world: World) -> None:
    """Else a crash would forget it."""
    world.run_all("Category", "a", "b")
    world.source.may_go_back = world.source.refuses_commits = True
    key = ask(world, Rewind(*CATEGORY, 0, "them", 0))
    turn(world)
    assert (True, 2) == (key in world.control, world.source.positions[CATEGORY])
    world.source.refuses_commits = False
    world.run(until=lambda: key not in world.control)
    world.run()
    assert {"written": 4} == settled(world)


# Dead letters applied -----------------------------------------------------------------------------------


def replay_of(record: Record, searched_to: int) -> Replay:
    """As `cdc-sync dlq replay` asks for it."""
    return Replay(
        "dlq/0/0", *record.partition, record.offset, record.key, record.value, [], 1, searched_to, 0
    )


def outcome(world: World, key: str) -> tuple[Fate, str]:
    """What became of it."""
    entry = decoded(world.control[key])
    assert isinstance(entry, Replayed)
    return entry.fate, entry.reason


def refused_once(world: World, row_id: str = "a") -> Record:
    """A record that became a letter, and whose cause is gone now."""
    world.sink.refuses = lambda document: document["id"] == row_id
    record = world.produce("Category", row_id, category(row_id, "of the letter"))
    world.produce("Category", "other", category("other"))
    world.run()
    assert [record] == [r for r, _ in world.letters.letters]
    world.sink.refuses = lambda _: False
    return record


def test_a_replay_applies_the_letter(world: World) -> None:
    """Through the same corridor; it is no event read, so neither commits nor the account move."""
    record = refused_once(world)
    before = settled(world)
    key = ask(world, replay_of(record, 1))
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    assert {"a": "of the letter", "other": "x"} == names(world)
    assert (Fate.REPLAYED, "") == outcome(world, key)
    assert (before, {CATEGORY: 2}) == (settled(world), world.committed)


@pytest.mark.parametrize("schema_id", [None, 1])
def test_a_replay_in_avro_waits_for_the_registry(world: World, schema_id: int | None) -> None:
    """It is neither failed nor unproven meanwhile; a schema that the registry lacks is its failure then."""
    avro = Wire("avro")
    found = change("Category", "u", row("Category", id="a", name='{"en": "of the letter"}'), avro)
    if schema_id is not None:
        found = record("Category", found.key, b"\0" + schema_id.to_bytes(4, "big") + b"\x02a")
    written = world.produce_record(found)
    world.produce("Category", "other", category("other"))
    world.committed[CATEGORY] = 1
    world.start()
    world.run()
    world.registry.away = True
    key = ask(world, replay_of(written, 1))
    turn(world, 20)
    assert not isinstance(decoded(world.control[key]), Replayed)
    world.registry.away = False
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    if schema_id is None:
        assert (Fate.REPLAYED, {"a": "of the letter", "other": "x"}) == (outcome(world, key)[0], names(world))
    else:
        assert (Fate.FAILED, "no schema with the id 1") == outcome(world, key)


@pytest.mark.parametrize("is_delete", [False, True])
def test_a_replay_never_undoes_a_later_event(world: World, is_delete: bool) -> None:
    record = refused_once(world)
    world.produce("Category", "a", None if is_delete else category("a", "newer"))
    world.run()
    key = ask(world, replay_of(record, 1))
    turn(world)
    assert Fate.SUPERSEDED == outcome(world, key)[0]
    assert ({"other": "x"} | ({} if is_delete else {"a": "newer"})) == names(world)


def test_a_later_event_that_comes_with_the_same_poll_wins(world: World) -> None:
    """The replay is judged after the poll, and folded behind nothing that is newer."""
    record = refused_once(world)
    world.clerk.is_away = True
    key = ask(world, replay_of(record, 1))
    turn(world)
    world.produce("Category", "a", category("a", "newer"))
    world.clerk.is_away = False
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    world.run()
    assert (Fate.SUPERSEDED, "newer") == (outcome(world, key)[0], names(world)["a"])


def test_a_later_event_after_the_replay_wins(world: World) -> None:
    record = refused_once(world)
    key = ask(world, replay_of(record, 1))
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    world.produce("Category", "a", category("a", "newer"))
    world.run()
    assert "newer" == names(world)["a"]


def test_a_replay_that_fails_again_makes_no_second_letter(world: World) -> None:
    """Refused by the sink, or still undecodable; its reason is told."""
    record = refused_once(world)
    world.sink.refuses = lambda document: document["id"] == "a"
    key = ask(world, replay_of(record, 1))
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    assert ((Fate.FAILED, "refused"), 1) == (outcome(world, key), len(world.letters.letters))

    broken = world.produce_raw("Category", "b", b"garbage")
    world.run()
    key = ask(world, replay_of(broken, 3))
    turn(world)
    fate, reason = outcome(world, key)
    assert (Fate.FAILED, 2) == (fate, len(world.letters.letters))
    assert "not JSON" in reason


def test_a_replay_survives_a_crash_of_the_owner(world: World) -> None:
    """It stands in the control topic until it has an outcome."""
    record = refused_once(world)
    world.sink.fails = lambda: True
    key = ask(world, replay_of(record, 1))
    turn(world)
    world.start()
    world.sink.fails = lambda: False
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    assert "of the letter" == names(world)["a"]


def test_a_rewind_takes_replays_along(world: World) -> None:
    """They begin anew when their own record has come by again."""
    record = refused_once(world)
    world.sink.fails = lambda: True
    key = ask(world, replay_of(record, 1))
    turn(world)
    world.source.may_go_back = True
    world.sink.fails = lambda: False
    ask(world, Rewind(*CATEGORY, 0, "them", 0))
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    world.run()
    assert "of the letter" == names(world)["a"]
    assert 0 == world.sample("accounting_errors_total", table="Category")


def test_a_replay_that_was_looked_into_before_a_rewind_waits_for_its_record(world: World) -> None:
    """What came before it in the log is read again, and must not come after it."""
    tried: list[str] = []

    def refuses(document: Document) -> bool:
        tried.append(document["id"])
        return bool(document["id"] == "last")

    world.sink.refuses = refuses
    for row_id in (*"abcdefghi", "last"):
        world.produce("Category", row_id, category(row_id))
    world.run()
    [(record, _)] = world.letters.letters
    world.clerk.is_away = True
    key = ask(world, replay_of(record, 0))
    turn(world)
    world.source.may_go_back = True
    ask(world, Rewind(*CATEGORY, 0, "them", 0))
    turn(world, 1)
    world.clerk.is_away = False
    tried.clear()
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    assert tried.index("i") < tried.index("last")


def test_a_tombstone_can_be_replayed(world: World) -> None:
    """A null value is no absence of one."""
    tombstone = Record(CATEGORY, 1, msgspec.json.encode({"id": "a"}), None)
    world.run_all("Category", "a", "b")
    key = ask(world, replay_of(tombstone, 2))
    world.run(until=lambda: isinstance(decoded(world.control[key]), Replayed))
    assert ({"b": "x"}, Fate.REPLAYED) == (names(world), outcome(world, key)[0])


def test_a_rejection_says_whether_it_is_about_what_is_missing() -> None:
    """So that the lane knows which error to make of it."""
    from cdc_sync.model import DocumentKey
    from cdc_sync.settlement import refusal

    kinds = [type(refusal(Rejection(DocumentKey("c", "a"), "r", lacks))).__name__ for lacks in (True, False)]
    assert ["IncompleteError", "RejectedError"] == kinds
