"""What an answer of Typesense means to a writer (`typesense-v29.md`, sections 1.3, 1.4, 4 and 7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from cdc_sync.errors import SinkAmbiguous, SinkMisconfigured, SinkUnavailable, TransientError
from cdc_sync.model import Document
from cdc_sync.sink.requests import LineError

__all__ = ["Answer", "failure", "import_lines", "message_of", "queued_writes", "stored_documents"]

SUCCESS: Final = b'{"success":true}'
NOT_TAKEN: Final = (
    "Rejecting write",
    "Skipping write",
    "Another collection update",
    "Could not find a leader",
)

decode = msgspec.json.Decoder().decode


class Answer(NamedTuple):
    """Status and whole body of a response."""

    status: int
    body: bytes


def message_of(answer: Answer) -> str:
    """The server's own words; its error bodies are not always JSON (0.3)."""
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)["message"]
    except (ValueError, TypeError, KeyError):
        return text[:300]
    return str(found)[:300]


def failure(operation: str, answer: Answer) -> TransientError | None:
    """Why the request as a whole failed; None when it did not.

    None of these is about a document, so none of them makes a dead letter.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    reason = f"{operation}: Typesense answered {status}: {message_of(answer)}"
    if status in (503, 429) or any(text in reason for text in NOT_TAKEN):
        return SinkUnavailable(reason)
    if status == 401:
        return SinkMisconfigured(f"{reason}; check CDC_SYNC_TYPESENSE__API_KEY")
    if status == 404 and "Collection not found" in reason:
        return SinkMisconfigured(f"{reason}; run `cdc-sync doctor`")
    if 400 <= status < 500:
        return SinkMisconfigured(reason)
    return SinkAmbiguous(reason)


def import_lines(answer: Answer, expected: int) -> Sequence[LineError | None]:
    """One outcome a document, in the order they were sent.

    Raises `SinkUnavailable` or `SinkAmbiguous` where lines are missing: the rest is unknown, and upserts
    may be sent again.
    """
    lines = answer.body.split(b"\n")
    if len(lines) == expected and answer.body.count(SUCCESS) == expected:
        return [None] * expected
    if lines and b'"message"' in lines[-1] and b'"success"' not in lines[-1]:
        raise SinkUnavailable(
            f"import: Typesense stopped in the middle: {lines[-1].decode('utf-8', 'replace')[-300:]}"
        )
    if len(lines) != expected:
        raise SinkAmbiguous(f"import: {len(lines)} answers to {expected} documents")
    return [None if line == SUCCESS else line_error(line) for line in lines]


def line_error(line: bytes) -> LineError | None:
    """The error that a result line tells of."""
    try:
        result: Any = decode(line)
        if result["success"] is True:
            return None
        return LineError(int(result["code"]), str(result["error"]))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise SinkAmbiguous(f"import: an answer that is none: {line[:200]!r}") from error


def stored_documents(answer: Answer) -> list[Document]:
    """The documents of an export."""
    try:
        return [decode(line) for line in answer.body.split(b"\n") if line]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SinkUnavailable(f"export: the answer is not JSONL: {error}") from error


def queued_writes(answer: Answer) -> int | None:
    """How many writes wait inside Typesense, from its `/stats.json` (1.2); None where it does not say."""
    try:
        return int(decode(answer.body)["pending_write_batches"]) if answer.status == 200 else None
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return None
