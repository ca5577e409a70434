"""What a handler may raise to say what shall become of an event; the groups are those of `cdc_sync.errors`.

RecordError
├── Reject                this event can never be handled: dead letter, go on
└── Exhausted             a handler failed for no known reason, as often as it is tried: dead letter, go on
TransientError
├── RetryLater            not now: the same again after a while, nothing behind it overtakes
└── NotPublished          the broker has not acknowledged what was published
"""

from __future__ import annotations

from cdc_sync.errors import RecordError, TransientError

__all__ = ["Exhausted", "NotPublished", "Reject", "RetryLater"]


class Reject(RecordError):
    """This event can never be handled; the text says why."""

    stage = "TASK_PUT"


class Exhausted(RecordError):
    """A handler failed again and again, and not for a reason that passes."""

    stage = "TASK_PUT"


class RetryLater(TransientError):
    """The same again after `after_s` seconds; by the usual pauses without."""

    def __init__(self, reason: str = "", after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class NotPublished(TransientError):
    """The broker has not acknowledged it; it may be stored all the same."""
