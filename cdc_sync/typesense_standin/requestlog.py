"""What was asked of the server: a bounded log and counters, for tests."""

from collections import Counter, deque
from typing import Any

from .http import Request

KEPT = 2000


class RequestLog:
    """The last requests, oldest first. ``status`` is None for what was never answered."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.total = 0
        self.by_status: Counter[str] = Counter()

    def began(self, request: Request, received_s: float) -> dict[str, Any]:
        """Note a request; the returned entry is completed by ``ended``."""
        is_import = request.raw_segments[-1:] == ("import",)
        body = request.body
        entry: dict[str, Any] = {
            "method": request.method,
            "path": request.target,
            "bytes": len(body),
            "documents": body.count(b"\n") + (body[-1:] not in (b"\n", b"")) if is_import else 0,
            "received_s": received_s,
            "answered_s": None,
            "status": None,
        }
        self.total += 1
        self._entries.append(entry)
        return entry

    def ended(self, entry: dict[str, Any], status: int | None, answered_s: float) -> None:
        """Note the answer, or that there was none."""
        entry["status"] = status
        entry["answered_s"] = answered_s
        self.by_status[str(status)] += 1

    def clear(self) -> None:
        self._entries.clear()
        self.by_status.clear()
        self.total = 0

    def entries(self) -> list[dict[str, Any]]:
        """Copies of the kept entries."""
        return [dict(entry) for entry in self._entries]
