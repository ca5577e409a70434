"""How a reason shows the value that was not expected."""

from __future__ import annotations

__all__ = ["shown"]


def shown(value: object) -> str:
    """A value short enough for a reason."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
