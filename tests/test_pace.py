"""The pace of a lane: never out of bounds, down when it is refused, up again when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.pace import Pace

ANSWER_S = 0.5

Happening = tuple[str, float]
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("answered"), st.floats(0, 1000)),
        st.tuples(st.just("queued"), st.floats(0, 1000)),
        st.tuples(st.just("refused"), st.just(0.0)),
    ),
    max_size=60,
)


def pace_after(history: list[Happening], least: int = 50, most: int = 5_000) -> Pace:
    """A pace that has been told all this; every answer is about a full batch."""
    pace = Pace(least, most, answer_s=ANSWER_S, max_queued=100)
    for what, value in history:
        if what == "answered":
            pace.answered(pace.limit, value)
        elif what == "queued":
            pace.queued(int(value))
        else:
            pace.refused()
    return pace


@given(happenings, st.integers(1, 200), st.integers(1, 20_000))
def test_no_history_leads_out_of_bounds(history: list[Happening], least: int, most: int) -> None:
    """Also where the least is set above the most: then the most counts."""
    assert min(least, most) <= pace_after(history, least, most).limit <= most


@given(happenings)
def test_a_refusal_halves_it(history: list[Happening]) -> None:
    """Down to the least."""
    pace = pace_after(history)
    before = pace.limit
    pace.refused()
    assert max(50, before // 2) == pace.limit


@given(happenings)
def test_it_grows_back_to_the_most(history: list[Happening]) -> None:
    """However low it has come, a few full batches that are answered soon are enough."""
    pace = pace_after(history)
    for _ in range(7):  # 50 · 2⁷ > 5,000
        pace.answered(pace.limit, 0.01)
    assert 5_000 == pace.limit


@given(happenings, st.floats(0, 1000), st.integers(0, 10_000))
def test_a_batch_that_was_not_full_never_makes_it_grow(
    history: list[Happening], seconds: float, documents: int
) -> None:
    """It says nothing of what a larger one would take."""
    pace = pace_after(history)
    before = pace.limit
    pace.answered(min(documents, before - 1), seconds)
    assert pace.limit <= before


@given(happenings, st.floats(ANSWER_S, 1000, exclude_min=True))
def test_a_slow_answer_makes_it_what_fits(history: list[Happening], seconds: float) -> None:
    """But by a half at most, for one slow answer."""
    pace = pace_after(history)
    before = pace.limit
    pace.answered(before, seconds)
    assert max(50, before // 2, int(before * ANSWER_S / seconds)) == pace.limit


def test_a_full_queue_is_a_refusal_and_another_is_nothing() -> None:
    """`pending_write_batches` may be as high as is allowed."""
    pace = pace_after([("answered", 0.0)] * 7)
    pace.queued(100)
    assert 5_000 == pace.limit
    pace.queued(101)
    assert 2_500 == pace.limit


@pytest.mark.parametrize("documents_a_second", [300, 2_000, 14_000])
def test_it_settles_where_a_batch_takes_about_the_time_that_is_allowed(documents_a_second: int) -> None:
    """Between a half of it and all of it, within its bounds."""
    pace = Pace(50, 5_000, answer_s=ANSWER_S)
    for _ in range(20):
        pace.answered(pace.limit, pace.limit / documents_a_second)
    assert pace.limit in (50, 5_000) or ANSWER_S / 2 <= pace.limit / documents_a_second <= ANSWER_S
