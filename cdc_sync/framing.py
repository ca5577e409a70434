"""The Confluent wire format: byte 0, the schema's id in four bytes (big-endian), then Avro.

JSON never begins with a byte 0, so one look tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["APICURIO", "HEAD_BYTES", "MAGIC", "head_of", "is_framed", "names_schema_in_headers", "schema_id"]

MAGIC: Final = b"\x00"
HEAD_BYTES: Final = 5


def is_framed(raw: bytes) -> bool:
    """Whether a key or value is in the Confluent wire format."""
    return raw[:1] == MAGIC


def head_of(raw: bytes) -> bytes:
    """The magic byte and the id; shorter where the message is."""
    return raw[:HEAD_BYTES]


def schema_id(raw: bytes) -> int:
    """The id of the schema that a key or value, or its head, was written with."""
    return int.from_bytes(raw[1:HEAD_BYTES], "big")


# Apicurio's other framings ------------------------------------------------------------------------------

APICURIO: Final = (
    "set as-confluent=true, use-id=contentId and headers.enabled=false for Apicurio's converter "
    "(see docs/avro.md)"
)
"""The cure where ids are not in the Confluent wire format."""


def names_schema_in_headers(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a record is bare Avro by Apicurio's converter, whose ids are in `apicurio.value.globalId`."""
    return any(name.startswith("apicurio.") for name, _ in headers)
