"""Errors, grouped by what the pipeline does about them.

CdcSyncError
├── RecordError           this record can never succeed: dead letter, go on
│   ├── DecodeError           its bytes are not a change event
│   ├── MappingError          its row cannot become a document
│   │   └── IncompleteError       values are not in the log, and nobody knows them; a later event may
│   └── RejectedError         Typesense refused the document for what it contains
├── TransientError        nothing is wrong with the records: wait, try again, lose nothing
│   ├── SinkUnavailable       Typesense did not take the request; it was not applied
│   ├── SinkAmbiguous         the answer got lost; the request may be applied, now or later
│   ├── SinkMisconfigured     wrong key, missing collection or alias: an operator has to act
│   ├── LeaseExpired          the broker has not said lately that the partitions are still ours
│   ├── DeadLetterUnavailable the broker did not acknowledge a dead letter
│   └── RegistryUnavailable   the schema registry does not answer as it should, so nobody knows the schema
├── FatalError            stop: nothing can be done in this process
│   └── ConfigError           an operator's mistake; one line that names the setting and the cure
└── Abandoned             no error: the work in hand was taken away (revoked, shutting down)
"""

from __future__ import annotations

__all__ = [
    "Abandoned",
    "CdcSyncError",
    "ConfigError",
    "DeadLetterUnavailable",
    "DecodeError",
    "FatalError",
    "IncompleteError",
    "LeaseExpired",
    "MappingError",
    "RecordError",
    "RegistryUnavailable",
    "RejectedError",
    "SinkAmbiguous",
    "SinkMisconfigured",
    "SinkUnavailable",
    "TransientError",
]


class CdcSyncError(Exception):
    """Root of everything this package raises on purpose."""


class RecordError(CdcSyncError):
    """One record can never succeed. `stage` uses Kafka Connect's words (`__connect.errors.stage`)."""

    stage = "TRANSFORMATION"


class DecodeError(RecordError):
    """The bytes are not a change event in a format that we read."""

    stage = "VALUE_CONVERTER"


class MappingError(RecordError):
    """The row cannot become a document; the text names the column and the reason."""

    stage = "TRANSFORMATION"


class IncompleteError(MappingError):
    """Large unchanged values are not in the log, and there is nothing stored to take them from.

    No poison where the row has a later event: that decides the document, and the values went with it.
    """


class RejectedError(RecordError):
    """Typesense refused the document for what it contains; the text is Typesense's own."""

    stage = "TASK_PUT"


class TransientError(CdcSyncError):
    """Nothing is wrong with the records. Hold them, wait, and try the same again."""


class SinkUnavailable(TransientError):
    """Typesense is away or refuses work for now; the request was certainly not applied."""


class SinkAmbiguous(TransientError):
    """The outcome is unknown: the request may have been applied, or may be applied later."""


class SinkMisconfigured(TransientError):
    """Typesense answers, but not as it should (401, missing collection): an operator has to act."""


class LeaseExpired(TransientError):
    """Others may have our partitions by now: write nothing until the broker says that we are a member."""

    def __init__(self) -> None:
        super().__init__(
            "the broker has not said lately that the partitions are still ours, so nothing is written"
        )


class DeadLetterUnavailable(TransientError):
    """The broker has not acknowledged a dead letter, so its record is not settled."""


class RegistryUnavailable(TransientError):
    """The schema registry is away, refuses us, or is none: what a message says cannot be known yet."""


class FatalError(CdcSyncError):
    """This process cannot go on."""


class ConfigError(FatalError):
    """An operator's mistake. The message is one line, names the setting and the cure; exit code 2."""


class Abandoned(CdcSyncError):
    """The work in hand was revoked or the process is stopping; what was not settled is read again."""
