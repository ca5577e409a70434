"""How much a lane writes at once: as much as Typesense answers soon, and less after it has refused.

A controller and nothing else: it is told what happened and says how many documents the next batch may
have. It doubles while full batches are answered within half of the time that is allowed, and goes down to
what fits into that time, by a half at most, when an answer took longer, when a write was refused (503, 429,
no answer), or when too many writes wait inside Typesense (`typesense-v29.md`, 1.3 and 7). What may not be
written yet waits and is folded meanwhile, so a slow Typesense gets fewer and better documents.

Used by one lane's thread; `limit` may be read by any.
"""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """The limit of a batch, in documents: from `least` to `most`, and `least` to begin with.

    `answer_s` is how long a whole batch may take (s); `max_queued` how many writes, of anybody, may wait
    inside Typesense (`pending_write_batches`).
    """

    def __init__(
        self, least: int = 100, most: int = 10_000, *, answer_s: float = 0.5, max_queued: int = 100
    ) -> None:
        self._least = min(least, most)
        self._most = most
        self._answer_s = answer_s
        self._max_queued = max_queued
        self.limit = self._least

    def answered(self, documents: int, seconds: float) -> None:
        """A batch of so many documents was applied in so many seconds."""
        if seconds > self._answer_s:
            self._shrink_to(int(documents * self._answer_s / seconds))
        elif documents >= self.limit and seconds * 2 <= self._answer_s:
            self.limit = min(self._most, self.limit * 2)

    def queued(self, writes: int) -> None:
        """So many writes wait inside Typesense."""
        if writes > self._max_queued:
            self._shrink_to(0)

    def refused(self) -> None:
        """A batch was not taken, or its answer got lost."""
        self._shrink_to(0)

    def _shrink_to(self, documents: int) -> None:
        """To so many, but by a half at most: a slow answer may be about something else than our batch."""
        self.limit = max(self._least, min(self.limit, max(documents, self.limit // 2)))
