"""One line of the doctor's report."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["Finding", "Level", "error", "ok", "warning"]


class Level(str, Enum):
    """`OK`: nothing to do. `WARNING`: it works, with a loss that is named. `ERROR`: it cannot work so."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """What was found about a subject; `cure` says what to do, where something is to be done."""

    level: Level
    subject: str
    text: str
    cure: str = ""


def ok(subject: str, text: str, cure: str = "") -> Finding:
    """All is well; `cure` may say what could be better still."""
    return Finding(Level.OK, subject, text, cure)


def warning(subject: str, text: str, cure: str) -> Finding:
    """It works, with a loss."""
    return Finding(Level.WARNING, subject, text, cure)


def error(subject: str, text: str, cure: str) -> Finding:
    """It cannot work so."""
    return Finding(Level.ERROR, subject, text, cure)
