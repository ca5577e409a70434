"""What a run did, as it did it: seconds since its start, who, and the facts."""

from __future__ import annotations

import threading
import time
from pathlib import Path

__all__ = ["RunLog"]


class RunLog:
    """Lines in a file, and on the terminal where somebody looks on. For any thread."""

    def __init__(self, path: Path, *, echo: bool = False) -> None:
        self._path = path
        self._echo = echo
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def now_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def say(self, who: str, what: object) -> None:
        """One line."""
        line = f"{self.now_s():7.1f} s  {who:8}  {what}"
        with self._lock:
            with self._path.open("a") as file:
                file.write(line + "\n")
            if self._echo:
                print(line, flush=True)

    def text(self) -> str:
        """All of it."""
        return self._path.read_text() if self._path.exists() else ""
