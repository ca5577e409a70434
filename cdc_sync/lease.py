"""Until when this member may write.

A process that was suspended, or cut off from the broker, for longer than its session does not know that
others have its partitions by now. What it then writes is older than what they have written. So it writes
only while nobody else can have them: for a part of the session after a moment at which the broker has
still called it a member. Every commit that succeeds says so; an idle member asks by committing again what
is committed.

The lease ends half a session after the question. The broker has heard of us then at the earliest, or, where
commits do not prolong the session (KIP-848), in the last heartbeat before: a few seconds more.

`clock` must go on while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Lease"]


class Lease:
    """Renewed by the polling thread, asked by the lanes' before every write."""

    def __init__(self, session_s: float, clock: Callable[[], float]) -> None:
        self._lasts_s = session_s / 2
        self._clock = clock
        self._until = float("-inf")
        self._asked_at = float("-inf")

    def renew(self, asked_at: float) -> None:
        """The broker has called us a member in answer to a question that was asked then."""
        self._until = max(self._until, asked_at + self._lasts_s)

    def end(self) -> None:
        """We are no member; whoever joins anew proves it anew."""
        self._until = float("-inf")

    @property
    def is_held(self) -> bool:
        """Whether our partitions are certainly still ours."""
        return self._clock() < self._until

    def is_due(self) -> bool:
        """Whether it is time to ask; True at most four times a lease."""
        now = self._clock()
        if self._until - now > self._lasts_s * 3 / 4 or now - self._asked_at < self._lasts_s / 4:
            return False
        self._asked_at = now
        return True
