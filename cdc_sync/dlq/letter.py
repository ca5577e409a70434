"""A dead letter: the record as it was, and headers that say where it came from and why it is here.

Header names are Kafka Connect's (KIP-298), so that existing tools read them; the record's own headers come
first, unchanged. What Connect has no word for is under `__cdc_sync.`.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from cdc_sync import __version__
from cdc_sync.errors import RecordError
from cdc_sync.model import Headers, Partition, Record

__all__ = ["DeadLetter", "letter_headers", "read_letter"]

CONNECT: Final = "__connect.errors."
OURS: Final = "__cdc_sync."


class DeadLetter(Struct, frozen=True):
    """A letter as it is read from the queue; `position` is where it lies in the dead letter topic."""

    position: Record
    origin: Partition
    origin_offset: int
    stage: str
    error_class: str
    reason: str
    stored_at_ms: int

    @property
    def key(self) -> bytes | None:
        """The original key."""
        return self.position.key

    @property
    def value(self) -> bytes | None:
        """The original value."""
        return self.position.value

    @property
    def headers(self) -> Headers:
        """The original headers."""
        return [(n, v) for n, v in self.position.headers if not n.startswith((CONNECT, OURS))]

    @property
    def record(self) -> Record:
        """The record that the letter is about, as it was read."""
        stated = dict(self.position.headers).get(f"{OURS}timestamp") or b""
        timestamp = (1, int(stated)) if stated.isdigit() else (0, 0)
        return Record(
            self.origin, self.origin_offset, self.key, self.value, lambda: timestamp, lambda: self.headers
        )


def letter_headers(record: Record, error: RecordError, *, group: str) -> list[tuple[str, bytes | None]]:
    """The headers of the letter for this record and error."""
    cause = error.__cause__ or error
    facts = {
        f"{CONNECT}topic": record.partition.topic,
        f"{CONNECT}partition": str(record.partition.number),
        f"{CONNECT}offset": str(record.offset),
        f"{CONNECT}connector.name": group,
        f"{CONNECT}task.id": "0",
        f"{CONNECT}stage": error.stage,
        f"{CONNECT}class.name": "cdc_sync",
        f"{CONNECT}exception.class.name": type(error).__name__,
        f"{CONNECT}exception.message": str(error),
        f"{CONNECT}exception.stacktrace": "".join(traceback.format_exception_only(cause)).strip()[:4000],
        f"{OURS}timestamp": str(record.timestamp_ms),
        f"{OURS}version": __version__,
    }
    ours = [(name, text.encode("utf-8", "replace")) for name, text in facts.items()]
    return [*record.headers, *ours]


def read_letter(record: Record) -> DeadLetter | None:
    """The letter in a record of the dead letter topic; None when it is not one."""
    facts: Mapping[str, str] = {
        name: (value or b"").decode("utf-8", "replace") for name, value in record.headers
    }
    try:
        return DeadLetter(
            position=record,
            origin=Partition(facts[f"{CONNECT}topic"], int(facts[f"{CONNECT}partition"])),
            origin_offset=int(facts[f"{CONNECT}offset"]),
            stage=facts.get(f"{CONNECT}stage", ""),
            error_class=facts.get(f"{CONNECT}exception.class.name", ""),
            reason=facts.get(f"{CONNECT}exception.message", ""),
            stored_at_ms=record.timestamp_ms,
        )
    except (KeyError, ValueError):
        return None
