"""What becomes of dead letters: judged by the log, asked of the owners, told to a person or a machine."""

from __future__ import annotations

import argparse
import itertools
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.commands.replay import Report, is_key, offset_range, whole
from cdc_sync.control.errands import Errand, Fate, Replay, Replayed, decoded
from cdc_sync.control.search import Evidence, Search, found
from cdc_sync.control.tail import Tail
from cdc_sync.dlq.browse import LetterLine, Letters, Place
from cdc_sync.dlq.letter import DeadLetter, letter_headers, read_letter
from cdc_sync.errors import CdcSyncError, MappingError
from cdc_sync.model import Partition, Record
from cdc_sync.outbox import Outbox
from cdc_sync.replay import Candidate, Judged, Replayer, candidates, is_settled, judged

ORIGIN = Partition("nx.seller.public.Product", 0)
DLQ = Partition("dlq", 0)
serial = itertools.count()


def candidate(
    offset: int, row: str | None = "a", *, failure: str = "", origin: Partition = ORIGIN
) -> Candidate:
    line = LetterLine(Place(DLQ, next(serial)), origin, offset, "S", "E", "why", 1_000 + offset)
    return Candidate(line, None if row is None else row.encode(), failure)


class Log:
    """One row a record; what is None was compacted away; what lies before `low` was removed by retention."""

    def __init__(self, rows: Sequence[str | None], low: int = 0) -> None:
        self.rows = rows
        self.low = low
        self.searches: list[Search] = []

    def search(self, search: Search) -> Evidence:
        self.searches.append(search)
        records = [
            Record(search.partition, offset, row.encode(), None)
            for offset, row in enumerate(self.rows)
            if row is not None and offset >= max(self.low, search.start)
        ]
        return found(records, search, self.low, len(self.rows), lambda record: record.key)


def fates(log: Log, *wanted: Candidate, **options: bool) -> list[Fate]:
    """In the order of the letters."""
    by_place = {j.line.place: j.fate for j in judged(wanted, log.search, **options)}
    return [by_place[c.line.place] for c in wanted]


@pytest.mark.parametrize(
    ("log", "letter", "fate"),
    [
        (Log("ba"), candidate(1), Fate.REPLAYED),
        (Log("aab"), candidate(1), Fate.REPLAYED),
        (Log("aba"), candidate(0), Fate.SUPERSEDED),
        (
            Log([None, "b"]),
            candidate(0),
            Fate.SUPERSEDED,
        ),  # compacted away by a later one, perhaps a tombstone
        (Log("ab", low=1), candidate(0), Fate.UNPROVEN),
        (Log("aba", low=1), candidate(0), Fate.SUPERSEDED),  # what is left is enough
        (Log("a"), candidate(1), Fate.UNPROVEN),  # the topic was made anew
        (Log("a"), candidate(0, None), Fate.UNPROVEN),
        (Log("a"), candidate(0, failure="still bad"), Fate.FAILED),
        (Log("aa"), candidate(0, failure="still bad"), Fate.SUPERSEDED),
    ],
)
def test_a_letters_fate(log: Log, letter: Candidate, fate: Fate) -> None:
    assert [fate] == fates(log, letter)


def test_what_is_left_of_the_log_may_be_trusted() -> None:
    """On an operator's word."""
    assert [Fate.REPLAYED] == fates(Log("ab", low=1), candidate(0), trust_what_is_left=True)
    assert [Fate.SUPERSEDED] == fates(Log("aba", low=1), candidate(0), trust_what_is_left=True)


def test_of_two_letters_of_a_row_the_later_event_counts() -> None:
    """And of two letters of one event the later letter; the other ones are superseded by it."""
    first, second, again = candidate(0), candidate(1), candidate(1)
    assert [Fate.SUPERSEDED, Fate.SUPERSEDED, Fate.REPLAYED] == fates(Log("aa"), first, second, again)


def test_a_partition_is_searched_once() -> None:
    """From the earliest of its letters on, for all rows together."""
    log = Log("abc")
    other = Partition("nx.seller.public.Product", 1)
    list(judged([candidate(1, "b"), candidate(0), candidate(2, "c", origin=other)], log.search))
    assert [Search(ORIGIN, 0, None, {b"a": 0, b"b": 1}), Search(other, 2, None, {b"c": 2})] == log.searches


@given(
    rows=st.lists(st.sampled_from("abc"), min_size=1, max_size=20),
    offsets=st.lists(st.integers(0, 19), max_size=10),
)
def test_only_what_is_the_last_word_of_its_row_is_replayed(rows: list[str], offsets: list[int]) -> None:
    """Whichever letters there are; and each event at most once."""
    wanted = [candidate(offset, rows[offset]) for offset in offsets if offset < len(rows)]
    replayed = [c for c, fate in zip(wanted, fates(Log(rows), *wanted), strict=True) if fate is Fate.REPLAYED]
    assert len(replayed) == len({c.line.origin_offset for c in replayed})
    last = {row: offset for offset, row in enumerate(rows)}
    asked = {c.line.origin_offset for c in wanted}
    expected = {offset for offset in asked if offset == last[rows[offset]]}
    assert expected == {c.line.origin_offset for c in replayed}


# Letters ------------------------------------------------------------------------------------------------


def letter(offset: int, key: bytes | None = b"a", *, stored: int = 0) -> DeadLetter:
    """As it lies in the queue, at the place of its own offset."""
    record = Record(ORIGIN, offset, key, b"v%d" % offset, lambda: (1, 77), lambda: [("own", b"h")])
    headers = letter_headers(record, MappingError("why"), group="g")
    found = read_letter(Record(DLQ, offset, key, record.value, lambda: (1, stored), lambda: headers))
    assert found is not None
    return found


def test_candidates_are_tried_out() -> None:
    """Only those that are wanted; the reason of one that fails again is kept."""

    def change_of(record: Record) -> Any:
        if record.offset == 2:
            raise MappingError("again")

    letters = [letter(n) for n in range(4)]
    wanted = candidates(letters, lambda line, _: line.origin_offset > 0, lambda r: r.key, change_of)
    assert [(1, b"a", ""), (2, b"a", "again"), (3, b"a", "")] == [
        (c.line.origin_offset, c.row, c.failure) for c in wanted
    ]


@pytest.mark.parametrize(
    ("fate", "settled", "for_good"),
    [
        (Fate.REPLAYED, True, True),
        (Fate.SUPERSEDED, True, True),
        (Fate.FAILED, True, False),
        (Fate.UNPROVEN, False, False),
    ],
)
def test_what_needs_no_replay_any_more(fate: Fate, settled: bool, for_good: bool) -> None:
    outcome = Replayed("dlq/0/1", fate, "", 0)
    assert (settled, for_good) == (is_settled(outcome), is_settled(outcome, for_good=True))
    assert not is_settled(None)
    assert not is_settled(Replay("dlq/0/1", "t", 0, 1, None, None, [], 0, 0, 0))


class Owner:
    """Answers what is asked, through the control topic; some of it never."""

    def __init__(self, silent: Iterable[int] = ()) -> None:
        self.silent = set(silent)
        self.stored: list[tuple[str, Errand | Replayed | None]] = []
        self.most_asked = 0
        self._news: deque[tuple[str, Replayed]] = deque()

    # As an outbox
    def put(self, key: bytes, value: bytes | None, headers: object, on_stored: object) -> None:
        entry = None if value is None else decoded(value)
        self.stored.append((key.decode(), entry))
        if isinstance(entry, Replay) and entry.offset not in self.silent:
            self._news.append((key.decode(), Replayed(entry.letter, Fate.REPLAYED, "", 0)))
            self.most_asked = max(self.most_asked, len(self._news))

    def serve(self) -> None:
        pass

    def flush(self, timeout_s: float) -> bool:
        return True

    # As a tail
    def read(self, timeout_s: float) -> Iterator[tuple[str, Replayed]]:
        while self._news:
            yield self._news.popleft()


class Stored:
    """Letters that were read before."""

    def __init__(self, letters: Iterable[DeadLetter]) -> None:
        self._letters = list(letters)

    def between(self, places: Iterable[Place]) -> Iterator[DeadLetter]:
        assert list(places)
        return iter(self._letters)


def replayer(owner: Owner, told: list[Judged], patience_s: float = 60.0) -> Replayer:
    ticks = itertools.count()
    return Replayer(
        cast(Tail, owner),
        cast(Outbox, owner),
        told.append,
        now_ms=lambda: 5,
        patience_s=patience_s,
        clock=lambda: float(next(ticks)),
    )


def asked(offset: int) -> Judged:
    line = LetterLine(Place(DLQ, offset), ORIGIN, offset, "S", "E", "why", 0)
    return Judged(line, Fate.REPLAYED, "", searched_to=9)


def test_owners_are_asked_with_the_record_as_it_was() -> None:
    """And nothing is asked of the letters between the wanted ones."""
    owner, told = Owner(), list[Judged]()
    replayer(owner, told).ask(cast(Letters, Stored(map(letter, range(4)))), [asked(1), asked(3)])
    errands = [entry for _, entry in owner.stored if isinstance(entry, Replay)]
    assert [Replay("dlq/0/1", *ORIGIN, 1, b"a", b"v1", [("own", b"h")], 77, 9, 5)] == errands[:1]
    assert ([1, 3], [Fate.REPLAYED] * 2) == ([e.offset for e in errands], [j.fate for j in told])


def test_what_needs_nobody_is_written_down() -> None:
    """So that it is not looked at again; but not what may be proven on another day."""
    owner, told = Owner(), list[Judged]()
    both = [asked(1)._replace(fate=Fate.SUPERSEDED, reason="r"), asked(2)._replace(fate=Fate.UNPROVEN)]
    replayer(owner, told).record(both)
    assert [("replay/dlq/0/1", Replayed("dlq/0/1", Fate.SUPERSEDED, "r", 5))] == owner.stored
    assert both == told


def test_silence_is_an_error_that_names_the_partitions() -> None:
    owner, told = Owner(silent=[2]), list[Judged]()
    with pytest.raises(CdcSyncError, match=r"1 letters of nx\.seller\.public\.Product/0.*CONTROL_TOPIC"):
        replayer(owner, told, patience_s=30).ask(
            cast(Letters, Stored(map(letter, range(4)))), [asked(1), asked(2)]
        )
    assert [1] == [j.line.origin_offset for j in told]


def test_an_interrupted_run_asks_no_longer() -> None:
    owner, told = Owner(silent=[2]), list[Judged]()
    asking = replayer(owner, told, patience_s=30)
    with pytest.raises(CdcSyncError):
        asking.ask(cast(Letters, Stored(map(letter, range(4)))), [asked(2)])
    asking.withdraw()
    assert ("replay/dlq/0/2", None) == owner.stored[-1]


# The command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("p-1", [["id", "p-1"]], True),
        ("7", [["id", 7]], True),
        ('{"id": 7}', [["id", 7]], True),
        ('{"a": 1, "b": "x"}', [["a", 1], ["b", "x"]], True),
        ("p-2", [["id", "p-1"]], False),
        ("x", [["a", 1], ["b", "x"]], False),
        ("{", [["id", "p-1"]], False),
    ],
)
def test_a_person_names_a_row(text: str, row: Any, expected: bool) -> None:
    assert expected == is_key(text, json.dumps(row).encode())


def test_offsets_of_an_option() -> None:
    assert ((3, 9), (4, 4), 0) == (offset_range("3-9"), offset_range("4"), whole("0"))
    for wrong in ("9-3", "a-b", "-", "", "1-2-3"):
        with pytest.raises(argparse.ArgumentTypeError):
            offset_range(wrong)


def test_a_report_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True)
    report.told(Judged(asked(4).line, Fate.SUPERSEDED, "later"))
    report.finish(is_dry=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert {
        "letter": "dlq/0/4",
        "topic": ORIGIN.topic,
        "partition": 0,
        "offset": 4,
        "fate": "superseded",
        "reason": "later",
    } == json.loads(line)


def test_a_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """By table, fate and reason, the most frequent first, with an example each."""
    report = Report(as_json=False, expected=3)
    for offset, fate, reason in ((4, Fate.REPLAYED, ""), (5, Fate.FAILED, "no 5"), (6, Fate.FAILED, "no 6")):
        report.told(Judged(asked(offset).line, fate, reason))
    report.finish(is_dry=True)
    assert report.has_failed
    assert [
        "2  Product  failed  no …",
        "   e.g. dlq/0/5",
        "1  Product  replayed",
        "   e.g. dlq/0/4",
        "nothing was changed: this was a dry run",
    ] == capsys.readouterr().out.splitlines()
