"""The WebSocket protocol as a state machine: what came in, what is to be done. Pure; time is an argument.

Frames are `{"event": …, "data": …}`. A client says `authenticate` (`{"type": "Bearer", "token": …}`), then
`join` and `leave` (`{"rooms": […]}`) and now and then `heartbeat`; it hears `connected`, `joined`, `left`,
`error`, and then what is sent to its rooms. It cannot publish. Close codes: 4001 not authenticated in time,
4002 no heartbeat, 4003 refused or expired, 4004 it wants encryption, which is not offered here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from cdc_sync.dispatcher.names import is_room

__all__ = [
    "MAX_FRAME",
    "Action",
    "Close",
    "Identity",
    "Join",
    "Leave",
    "Refuse",
    "Rules",
    "Say",
    "Session",
    "Verify",
]

MAX_FRAME: Final = 131_072
GOING_AWAY: Final = 1001
AUTHENTICATION_TIMEOUT: Final = 4001
HEARTBEAT_TIMEOUT: Final = 4002
AUTHENTICATION_FAILED: Final = 4003
ENCRYPTION_REQUIRED: Final = 4004


class Say(NamedTuple):
    """Send this to the client."""

    event: str
    data: Any


class Close(NamedTuple):
    """End the connection."""

    code: int
    reason: str


class Verify(NamedTuple):
    """Find out whose token this is; then `verified` or `refused`."""

    token: str


class Join(NamedTuple):
    """Add the client to a room."""

    room: str


class Leave(NamedTuple):
    """Take it out of a room."""

    room: str


class Refuse(NamedTuple):
    """Nothing is done; count why."""

    reason: str


Action = Say | Close | Verify | Join | Leave | Refuse


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it was, which rooms it opens, and for how long."""

    user_id: str
    rooms: frozenset[str]
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in seconds."""

    authenticate_within_s: float = 5.0
    heartbeat_within_s: float = 90.0
    max_rooms: int = 50


class State(Enum):
    """Where a session is."""

    NEW = "new"
    VERIFYING = "verifying"
    OPEN = "open"
    CLOSED = "closed"


class Frame(msgspec.Struct):
    """What a client sends; anything more is ignored."""

    event: str
    data: Any = None


class Session:
    """One connection, from its first byte to its end."""

    def __init__(self, client_id: str, rules: Rules, now: float) -> None:
        self.client_id = client_id
        self.rooms: set[str] = set()
        self._rules = rules
        self._state = State.NEW
        self._opened_at = self._heard_at = now
        self._expires_at = float("inf")
        self._identity: Identity | None = None

    def received(self, text: str | bytes, now: float) -> list[Action]:
        """A text frame came in."""
        self._heard_at = now
        try:
            frame = msgspec.json.decode(text, type=Frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [Refuse("malformed"), Say("error", {"message": "expected {event, data} as JSON"})]
        match frame.event:
            case "authenticate":
                return self._authenticate(frame.data)
            case "heartbeat":
                return []
            case "join" | "leave" if self._state is State.OPEN:
                return self._move(frame.event, frame.data)
            case "join" | "leave":
                return [Refuse("unauthenticated"), Say("error", {"message": "authenticate first"})]
        return [Refuse("unknown_event")]

    def verified(self, identity: Identity, now: float, time: str) -> list[Action]:
        """The token is good; `time` is what the client is told."""
        if self._state is not State.VERIFYING:
            return []
        self._state = State.OPEN
        self._identity = identity
        self._expires_at = now + identity.expires_in_s
        return [Say("connected", {"id": self.client_id, "userId": identity.user_id, "time": time})]

    def refused(self) -> list[Action]:
        """The token is not good. Why, the client is not told."""
        return self._close(AUTHENTICATION_FAILED, "authentication failed")

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if self._state is State.CLOSED:
            return []
        late = now - self._opened_at > self._rules.authenticate_within_s
        if self._state in (State.NEW, State.VERIFYING) and late:
            return self._close(AUTHENTICATION_TIMEOUT, "not authenticated in time")
        if now >= self._expires_at:
            return self._close(AUTHENTICATION_FAILED, "token expired")
        if now - self._heard_at > self._rules.heartbeat_within_s:
            return self._close(HEARTBEAT_TIMEOUT, "no heartbeat")
        return []

    def _authenticate(self, data: Any) -> list[Action]:
        if self._state is not State.NEW:
            return [Refuse("authenticated"), Say("error", {"message": "authenticated already"})]
        if not isinstance(data, dict):
            return self.refused()
        if data.get("publicKey") is not None:
            return self._close(ENCRYPTION_REQUIRED, "encryption is not offered here")
        token = data.get("token")
        if data.get("type", "Bearer") != "Bearer" or not isinstance(token, str) or not token:
            return self.refused()
        self._state = State.VERIFYING
        return [Verify(token)]

    def _move(self, event: str, data: Any) -> list[Action]:
        rooms = data.get("rooms") if isinstance(data, dict) else None
        if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
            return [
                Refuse("malformed"),
                Say("error", {"message": f"{event}: expected rooms, a list of names"}),
            ]
        if len(rooms) > self._rules.max_rooms:
            return [Refuse("too_many_rooms"), Say("error", {"message": f"{event}: too many rooms"})]
        return self._join(rooms) if event == "join" else self._leave(rooms)

    def _join(self, rooms: list[str]) -> list[Action]:
        """Exactly what the token opens: no prefix, no wildcard; all else is refused without a reason."""
        granted = self._identity.rooms if self._identity is not None else frozenset()
        actions: list[Action] = []
        joined = []
        for room in dict.fromkeys(rooms):
            if not is_room(room) or room not in granted:
                actions += [Refuse("room"), Say("error", {"message": f"join: refused: {room[:256]}"})]
            elif room not in self.rooms and len(self.rooms) >= self._rules.max_rooms:
                actions += [Refuse("too_many_rooms"), Say("error", {"message": "join: too many rooms"})]
            else:
                if room not in self.rooms:
                    self.rooms.add(room)
                    actions.append(Join(room))
                joined.append(room)
        return [*actions, Say("joined", {"rooms": joined})] if joined else actions

    def _leave(self, rooms: list[str]) -> list[Action]:
        left = [room for room in dict.fromkeys(rooms) if room in self.rooms]
        self.rooms.difference_update(left)
        return [*(Leave(room) for room in left), Say("left", {"rooms": left})]

    def _close(self, code: int, reason: str) -> list[Action]:
        self._state = State.CLOSED
        return [Close(code, reason)]
