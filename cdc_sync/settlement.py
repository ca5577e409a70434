"""What a lane puts down for the polling thread: a batch that is done with, and its records' outcomes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cdc_sync.compaction import Asked, Batch
from cdc_sync.errors import IncompleteError, RecordError, RejectedError
from cdc_sync.model import Record, Rejection
from cdc_sync.offsets import Outcome

__all__ = ["Poison", "Settlement", "refusal"]

Poison = tuple[Record, RecordError]
"""A record that can never succeed, and why."""


class Settlement:
    """A batch that is done with: everything in it is applied, or is poison.

    `apart` are the records that were written one by one after all, because their folded change was
    refused.
    """

    __slots__ = ("apart", "batch", "poison", "wrote_at_ms")

    def __init__(
        self, batch: Batch, poison: Sequence[Poison], apart: Collection[Asked], wrote_at_ms: int
    ) -> None:
        self.batch = batch
        self.poison = poison
        self.apart = apart
        self.wrote_at_ms = wrote_at_ms

    def account(self) -> None:
        """Give every record of the batch its outcome, but for the poison, which has its own."""
        span_of = self.batch.find_spans()
        for span, count in self.batch.asked.items():
            span.outcomes[Outcome.WRITTEN] += count
        for record, _ in self.poison:
            span_of(record).outcomes[Outcome.WRITTEN] -= 1
        for asked in self.batch:
            if asked.later and asked not in self.apart:
                for record in asked.records[:-1]:
                    outcomes = span_of(record).outcomes
                    outcomes[Outcome.WRITTEN] -= 1
                    outcomes[Outcome.COALESCED] += 1


def refusal(rejection: Rejection) -> RecordError:
    """Why the change could not be applied, as what is said of its record."""
    return (IncompleteError if rejection.is_incomplete else RejectedError)(rejection.reason)
