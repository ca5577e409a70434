"""The `update` that turns some fields of a stored document into others.

Typesense merges like RFC 7396: null removes a field, objects merge member by member, everything else is
replaced whole (`typesense-v29.md`, 4.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["difference", "same"]


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, for Typesense renders numbers anew; 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What to merge into `stored` so that it becomes `wanted`; empty when it is already."""
    patch: dict[str, Any] = {name: None for name in stored if name not in wanted}
    for name, value in wanted.items():
        if name not in stored:
            patch[name] = value
        elif not same(stored[name], value):
            mergeable = isinstance(value, dict) and isinstance(stored[name], dict)
            patch[name] = difference(stored[name], value) if mergeable else value
    return patch
