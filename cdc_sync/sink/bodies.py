"""Documents to import bodies that lose nothing on the way.

A body of 196,605 bytes or more is cut into raft entries at arbitrary bytes, and a UTF-8 character cut in
two is silently dropped (`typesense-v29.md`, 4.9). So bodies stay below that, and a document that is larger
by itself goes alone and in pure ASCII, which may be cut anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from cdc_sync.model import Document

__all__ = ["MAX_BODY_BYTES", "chunked", "import_bodies"]

MAX_BODY_BYTES: Final = 190_000

TOGETHER: Final = 32
"""Documents that are encoded by one call: half the cost of one by one (measured)."""

encode_lines = msgspec.json.Encoder().encode_lines


def import_bodies(documents: Sequence[Document]) -> Iterator[tuple[bytes, int]]:
    """JSONL bodies in the order of the documents, each with the number of its lines, as full as may be.

    Documents are encoded some at a time; where those do not fit any more, their halves are tried.
    """
    parts: list[bytes] = []
    size, count = 0, 0
    left = [documents[n : n + TOGETHER] for n in reversed(range(0, len(documents), TOGETHER))]
    while left:
        some = left.pop()
        lines = encode_lines(some)
        if size + len(lines) <= MAX_BODY_BYTES:  # and the last line feed is not sent
            parts.append(lines)
            size, count = size + len(lines), count + len(some)
        elif len(some) > 1:
            half = len(some) // 2
            left += (some[half:], some[:half])
        elif parts:
            yield b"".join(parts)[:-1], count
            parts, size, count = [], 0, 0
            left.append(some)
        else:
            yield ascii_json(lines[:-1]), 1
    if parts:
        yield b"".join(parts)[:-1], count


def ascii_json(line: bytes) -> bytes:
    """The same JSON with every character beyond ASCII escaped."""
    return line if line.isascii() else json.dumps(json.loads(line), separators=(",", ":")).encode("ascii")


def chunked(values: Sequence[str], max_chars: int) -> Iterator[Sequence[str]]:
    """Runs of values whose lengths (and a separator each) stay within so many characters."""
    start, size = 0, 0
    for index, value in enumerate(values):
        if size + len(value) + 1 > max_chars and index > start:
            yield values[start:index]
            start, size = index, 0
        size += len(value) + 1
    if start < len(values):
        yield values[start:]
