"""Recorded messages as records."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdc_sync.model import Partition, Record


def recorded(path: Path, topic: str = "") -> list[Record]:
    """The records of a file of recorded messages, of one topic or all, in the order of the file."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [recorded_line(line) for line in lines if topic in ("", line["topic"])]


def recorded_line(line: Mapping[str, Any]) -> Record:
    """One line of it."""
    headers = [(name, plain(value)) for name, value in line["headers"]]
    return Record(
        Partition(line["topic"], line["partition"]),
        line["offset"],
        plain(line["key"]),
        plain(line["value"]),
        lambda: (1, line["timestamp"]),
        lambda: headers,
    )


def plain(encoded: str | None) -> bytes | None:
    """The bytes behind base64."""
    return None if encoded is None else base64.b64decode(encoded)
