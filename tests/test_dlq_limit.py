"""When dead letters are too many to be about records."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dlq.limit import DeadLetterLimit


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limit(clock: Clock, count: int = 10, share: float = 0.25, window_s: float = 60) -> DeadLetterLimit:
    """A limit of ten letters and a quarter of a minute's records."""
    return DeadLetterLimit(count=count, share=share, window_s=window_s, clock=clock)


TURNS = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 30), st.integers(0, 12)), max_size=12)


@given(TURNS, st.integers(1, 12), st.sampled_from([0, 1, 2, 3, 4]))
def test_broken_when_count_and_share_are_passed_in_a_window(
    turns: list[tuple[int, int, int]], count: int, quarters: int
) -> None:
    """At some time, in the turns of the last minute; and once broken it stays so."""
    clock = Clock()
    found = limit(clock, count=count, share=quarters / 4)
    expected, past = False, []
    for wait, records, letters in turns:
        clock.now += wait
        past.append((clock.now, records, letters))
        found.count(records, letters)
        recent = [(r, n) for at, r, n in past if clock.now - at <= 60]
        all_records, all_letters = sum(r for r, _ in recent), sum(n for _, n in recent)
        expected |= all_letters >= count and all_letters > Fraction(quarters, 4) * all_records
        assert expected is found.is_broken


@pytest.mark.parametrize(
    ("records", "letters", "expected"),
    [(0, 9, False), (0, 10, True), (40, 10, False), (39, 10, True), (1000, 100, False), (9, 9, False)],
)
def test_the_edges(records: int, letters: int, expected: bool) -> None:
    """A few bad rows on a quiet topic, or many in a busy one, do not stop the line."""
    found = limit(Clock())
    found.count(records, letters)
    assert expected is found.is_broken


def test_letters_of_many_turns_add_up() -> None:
    """One a poll is enough, when nothing else comes through."""
    clock = Clock()
    found = limit(clock)
    for _ in range(10):
        assert not found.is_broken
        clock.now += 6
        found.count(1, 1)
    assert found.is_broken


def test_the_window_slides() -> None:
    """Ten letters a quarter of an hour apart are no flood."""
    clock = Clock()
    found = limit(clock)
    for _ in range(30):
        found.count(1, 1)
        clock.now += 7
    assert not found.is_broken


def test_the_window_holds_its_own_end() -> None:
    """What happened exactly so long ago is still in it."""
    clock = Clock()
    found = limit(clock)
    found.count(9, 9)
    clock.now += 60
    found.count(1, 1)
    assert found.is_broken


def test_it_says_what_it_counted() -> None:
    """For the log line of the stop; what has left the window is not in it."""
    clock = Clock()
    found = limit(clock)
    found.count(5, 1)
    clock.now += 61
    found.count(7, 2)
    assert "2 dead letters among 7 records in 60 s" == str(found)
