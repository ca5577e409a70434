"""A member writes only while nobody else can have its partitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.lease import Lease

SESSION_S = 6.0


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_written_before_the_broker_has_spoken() -> None:
    clock = Clock()
    lease = Lease(SESSION_S, clock)
    assert not lease.is_held
    lease.renew(clock.now)
    assert lease.is_held


def test_it_counts_from_the_question_not_from_the_answer() -> None:
    """A process may be suspended between the two."""
    clock = Clock()
    lease = Lease(SESSION_S, clock)
    asked_at = clock.now
    clock.now += 4.0
    lease.renew(asked_at)
    assert not lease.is_held


def test_an_older_answer_takes_nothing_back() -> None:
    clock = Clock()
    lease = Lease(SESSION_S, clock)
    lease.renew(clock.now)
    lease.renew(clock.now - 2.9)
    clock.now += 2.5
    assert lease.is_held


def test_who_is_no_member_any_more_has_none() -> None:
    clock = Clock()
    lease = Lease(SESSION_S, clock)
    lease.renew(clock.now)
    lease.end()
    assert not lease.is_held


@given(
    answers=st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=20
    )  # between questions, and until the answer
)
def test_it_is_never_held_half_a_session_after_the_last_question(answers: list[tuple[float, float]]) -> None:
    """Whatever the answers' delays: with one more half for the heartbeat, no session can have ended."""
    clock = Clock()
    lease = Lease(SESSION_S, clock)
    last_question = float("-inf")
    for pause_s, delay_s in answers:
        clock.now += pause_s
        asked_at = clock.now
        clock.now += delay_s
        lease.renew(asked_at)
        last_question = max(last_question, asked_at)
        assert lease.is_held == (clock.now - last_question < SESSION_S / 2)


def test_a_member_that_asks_when_due_always_has_it() -> None:
    """Also when it looks only ten times a second and an answer takes a while; and it asks seldom."""
    clock = Clock()
    lease = Lease(SESSION_S, clock)
    questions = 0
    answers: list[tuple[float, float]] = []
    for _ in range(600):
        clock.now += 0.1
        if lease.is_due():
            questions += 1
            answers.append((clock.now + 0.5, clock.now))
        while answers and answers[0][0] <= clock.now:
            lease.renew(answers.pop(0)[1])
        assert lease.is_held or clock.now < 1_000.7
    assert 60 / SESSION_S <= questions <= 9 * 60 / SESSION_S
