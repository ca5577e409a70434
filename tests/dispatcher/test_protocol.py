"""The protocol, without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dispatcher.protocol import (
    Action,
    Close,
    Identity,
    Join,
    Leave,
    Refuse,
    Rules,
    Say,
    Session,
    Verify,
)

ROOMS = [f"wr:observation/merchants/{n}" for n in range(60)]
IDENTITY = Identity("u", frozenset(ROOMS), 600.0)


def frame(event: str, data: Any = None) -> str:
    return json.dumps({"event": event, "data": data})


def opened(identity: Identity = IDENTITY) -> Session:
    session = Session("c", Rules(), 0.0)
    assert session.received(frame("authenticate", {"type": "Bearer", "token": "t"}), 1.0) == [Verify("t")]
    said = session.verified(identity, 1.0, "now")
    assert said == [Say("connected", {"id": "c", "userId": "u", "time": "now"})]
    return session


def refusals(actions: list[Action]) -> list[str]:
    return [action.reason for action in actions if isinstance(action, Refuse)]


def test_joining_and_leaving() -> None:
    session = opened()
    assert session.received(frame("join", {"rooms": ROOMS[:2]}), 2.0) == [
        Join(ROOMS[0]),
        Join(ROOMS[1]),
        Say("joined", {"rooms": ROOMS[:2]}),
    ]
    assert session.received(frame("join", {"rooms": ROOMS[:1]}), 2.0) == [Say("joined", {"rooms": ROOMS[:1]})]
    assert session.received(frame("leave", {"rooms": [ROOMS[0], ROOMS[5]]}), 2.0) == [
        Leave(ROOMS[0]),
        Say("left", {"rooms": [ROOMS[0]]}),
    ]
    assert session.rooms == {ROOMS[1]}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, 4003),
        ({"type": "Basic", "token": "x"}, 4003),
        ({"token": 7}, 4003),
        ({"token": ""}, 4003),
        ({"token": "x", "publicKey": "k"}, 4004),
    ],
)
def test_authentication_that_is_none(data: Any, code: int) -> None:
    (action,) = Session("c", Rules(), 0.0).received(frame("authenticate", data), 1.0)
    assert isinstance(action, Close)
    assert action.code == code


def test_a_refused_token_ends_it() -> None:
    session = Session("c", Rules(), 0.0)
    session.received(frame("authenticate", {"token": "t"}), 1.0)
    assert session.refused() == [Close(4003, "authentication failed")]
    assert session.verified(IDENTITY, 1.0, "now") == []
    assert session.tick(1_000.0) == []


@pytest.mark.parametrize(
    ("session", "now", "code"),
    [
        (Session("c", Rules(), 0.0), 5.1, 4001),
        (opened(), 92.0, 4002),
        (opened(Identity("u", frozenset(), 30.0)), 31.0, 4003),
    ],
)
def test_time_ends_it(session: Session, now: float, code: int) -> None:
    assert session.tick(now - 2.0) == []
    (action,) = session.tick(now)
    assert isinstance(action, Close)
    assert action.code == code


def test_a_slow_verification_is_too_late() -> None:
    session = Session("c", Rules(), 0.0)
    session.received(frame("authenticate", {"token": "t"}), 4.0)
    assert [Close(4001, "not authenticated in time")] == session.tick(5.5)
    assert session.verified(IDENTITY, 6.0, "now") == []


MESSAGES = st.one_of(
    st.text(),
    st.builds(
        frame,
        st.sampled_from(["authenticate", "join", "leave", "heartbeat", "ws:a.b.c", "connected"]),
        st.one_of(
            st.none(),
            st.text(),
            st.fixed_dictionaries(
                {"rooms": st.lists(st.sampled_from([*ROOMS[:4], "wr:other/room", "wr:*", ""]) | st.text())}
            ),
            st.fixed_dictionaries({"token": st.just("t")}),
        ),
    ),
)


@given(st.lists(MESSAGES, max_size=12), st.booleans())
def test_whatever_a_client_says(messages: list[str], is_authenticated: bool) -> None:
    """It never raises, joins nothing that its token does not open, and nothing before it is verified."""
    granted = frozenset(ROOMS[:2])
    session = opened(Identity("u", granted, 600.0)) if is_authenticated else Session("c", Rules(), 0.0)
    joined: set[str] = set()
    for message in messages:
        for action in session.received(message, 2.0):
            match action:
                case Join(room):
                    joined.add(room)
                case Leave(room):
                    joined.discard(room)
        assert joined == session.rooms <= granted
    assert is_authenticated or not joined


def test_no_more_rooms_than_the_rules_allow() -> None:
    session = opened()
    assert "too_many_rooms" in refusals(session.received(frame("join", {"rooms": ROOMS[:51]}), 2.0))
    session.received(frame("join", {"rooms": ROOMS[:50]}), 2.0)
    assert refusals(session.received(frame("join", {"rooms": [ROOMS[55]]}), 2.0)) == ["too_many_rooms"]
    assert len(session.rooms) == 50
