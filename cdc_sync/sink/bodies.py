"""Documents to import bodies that lose nothing on the way.

A body of 196,605 bytes or more is cut into raft entries at arbitrary bytes, and a UTF-8 character cut in
two is silently dropped (`typesense-v29.md`, 4.9). So bodies stay below that, and a document that is larger
by itself goes alone and in pure ASCII, which may be cut anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from cdc_sync.model import Document

__all__ = ["MAX_BODY_BYTES", "chunked", "import_bodies"]

MAX_BODY_BYTES: Final = 190_000

encode = msgspec.json.Encoder().encode


def import_bodies(documents: Iterable[Document]) -> Iterator[tuple[bytes, int]]:
    """JSONL bodies in the order of the documents, each with the number of its lines."""
    lines: list[bytes] = []
    size = 0
    for document in documents:
        line = encode(document)
        if size + len(line) >= MAX_BODY_BYTES and lines:
            yield b"\n".join(lines), len(lines)
            lines, size = [], 0
        if len(line) >= MAX_BODY_BYTES:
            yield ascii_json(line), 1
            continue
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield b"\n".join(lines), len(lines)


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
