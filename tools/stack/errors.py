"""What can go wrong with the stack, by what the caller does about it.

StackError
├── Unavailable       a part cannot exist on this machine (no Java, no Maven, no PostgreSQL): skip
├── NotReady          a part was started and does not answer: fail, with the tail of its log
├── ConnectorFailed   Connect took the connector and its task died: fail, with the task's trace
└── NotControllable   the part was started by somebody else, so it cannot be killed or restarted
"""

from __future__ import annotations

__all__ = ["ConnectorFailed", "NotControllable", "NotReady", "StackError", "Unavailable"]


class StackError(Exception):
    """Root of what the stack raises on purpose."""


class Unavailable(StackError):
    """A part cannot exist on this machine; the text names what is missing and how to get it."""


class NotReady(StackError):
    """A part was started and does not answer in time; the text ends with the tail of its log."""


class ConnectorFailed(StackError):
    """A connector or its task is FAILED; the text is the trace."""


class NotControllable(StackError):
    """The part came from an address in the environment: it is not ours to stop."""
