"""Whether Typesense answers, for readiness."""

from __future__ import annotations

import threading
import time
from typing import Final

from cdc_sync.errors import TransientError
from cdc_sync.sink.connection import Connection

__all__ = ["Probe"]

PROBE_EVERY_S: Final = 5.0


class Probe:
    """Asks Typesense for its health, at most every few seconds, on a connection of its own."""

    def __init__(self, connection: Connection, every_s: float = PROBE_EVERY_S) -> None:
        self._connection = connection
        self._every_s = every_s
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._answer: list[str] = []

    def problems(self) -> list[str]:
        """What is wrong with Typesense, if anything is."""
        with self._lock:
            if time.monotonic() - self._asked_at > self._every_s:
                self._answer = self._ask()
                self._asked_at = time.monotonic()
            return self._answer

    def _ask(self) -> list[str]:
        try:
            if not self._connection.is_open:
                self._connection.open()
            answer = self._connection.request("health", "GET", "/health")
        except TransientError as error:
            return [str(error)]
        return [] if answer.status == 200 else [f"Typesense is not healthy: {answer.status}"]
