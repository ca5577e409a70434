"""The real parts around the daemon.

Kafka, Connect with Debezium, PostgreSQL, and a registry on request.

`python -m tools.stack up` starts them for a developer; tests make a `Stack` of their own.
"""

from tools.stack.connectors import Connectors, drop_slot, wait_slot
from tools.stack.errors import ConnectorFailed, NotControllable, NotReady, StackError, Unavailable
from tools.stack.part import External, LocalProcess, Part
from tools.stack.stack import Source, Stack
from tools.stack.topics import Topics

__all__ = [
    "ConnectorFailed",
    "Connectors",
    "External",
    "LocalProcess",
    "NotControllable",
    "NotReady",
    "Part",
    "Source",
    "Stack",
    "StackError",
    "Topics",
    "Unavailable",
    "drop_slot",
    "wait_slot",
]
