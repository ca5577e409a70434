"""When dead letters are too many to be about records: a bad deployment, not bad rows (promise 6)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["DeadLetterLimit"]


class DeadLetterLimit:
    """Counts records and letters over a sliding window; broken when both a count and a share are passed.

    `share` is of the records consumed in the window, between 0 and 1; `count` keeps a few bad rows on a
    quiet topic from stopping the line. Once broken it stays broken.
    """

    def __init__(self, *, count: int, share: float, window_s: float, clock: Callable[[], float]) -> None:
        self._count = count
        self._share = share
        self._window_s = window_s
        self._clock = clock
        self._turns: deque[tuple[float, int, int]] = deque()
        self._records = 0
        self._letters = 0
        self.is_broken = False

    def count(self, records: int, letters: int) -> None:
        """So many records were consumed and so many letters written since the last call."""
        now = self._clock()
        if records or letters:
            self._turns.append((now, records, letters))
            self._records += records
            self._letters += letters
        while self._turns and now - self._turns[0][0] > self._window_s:
            _, old_records, old_letters = self._turns.popleft()
            self._records -= old_records
            self._letters -= old_letters
        if self._letters >= self._count and self._letters > self._share * self._records:
            self.is_broken = True

    def __str__(self) -> str:
        return f"{self._letters} dead letters among {self._records} records in {self._window_s:g} s"
