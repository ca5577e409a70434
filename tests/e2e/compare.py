"""A Typesense server's documents against what they must be, document for document.

Speaks plain HTTP, so that nothing of the daemon's client can hide a difference. Strict about types:
a bool is no number, 1 is not 1.0 and not "1". Two exceptions, where Typesense prints numbers anew:
fields that are declared as float or geopoint may hold 2 for 2.0, and an integer beyond 64 bits
comes back as a double. Fields whose name begins with `_` are the daemon's own and ignored.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from tools.stack.rest import Refused, request

from .oracle import ENRICHMENT, Expected

__all__ = ["Allowed", "Differences", "Server", "compare", "compare_all"]

Document = dict[str, Any]

_FLOATS: Final = frozenset({"basePrice", "location"})
_SHOWN: Final = 8
_ABSENT: Final = "<absent>"


class Server(NamedTuple):
    """A Typesense server."""

    url: str
    api_key: str

    def get(self, path: str) -> bytes:
        """The body of a GET; empty for 404 (an alias that nothing has made yet)."""
        try:
            return request(self.url + path, headers={"X-TYPESENSE-API-KEY": self.api_key}, timeout_s=60)
        except Refused as error:
            if error.code == 404:
                return b""
            raise

    def export(self, collection: str) -> list[Document]:
        """Every document, through the alias."""
        body = self.get(f"/collections/{urllib.parse.quote(collection, safe='')}/documents/export")
        # Not splitlines(): texts may hold U+2028, which is a line end to Python and not to JSONL.
        return [json.loads(line) for line in body.split(b"\n") if line]


@dataclass(frozen=True)
class Allowed:
    """What may differ, because it was dead-lettered: (table, id) of each letter's row."""

    letters: Set[tuple[str, str]] = frozenset()
    exact_decimals: bool = True
    """False.

    `basePriceExact` is compared as a number (decimals that came as doubles have no scale).
    """

    def row(self, table: str, identity: str) -> bool:
        """Whether a letter names this row."""
        return (table, identity) in self.letters


@dataclass
class Differences:
    """What is wrong with one collection; empty when nothing is."""

    collection: str
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    different: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)
    """Poison rows that no dead letter names."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.twice or self.different or self.unnamed)

    def __str__(self) -> str:
        lines = [
            f"{self.collection}: {kind} {len(ids)}: {ids[:_SHOWN]}"
            for kind, ids in (
                ("missing", self.missing),
                ("extra", self.extra),
                ("stored twice", self.twice),
                ("poison without a letter", self.unnamed),
            )
            if ids
        ]
        for identity, fields in list(self.different.items())[:_SHOWN]:
            for name, (expected, actual) in fields.items():
                lines.append(
                    f"{self.collection}/{identity}.{name}: expected {_short(expected)}, "
                    f"found {_short(actual)}"
                )
        return "\n".join(lines)


def compare_all(
    server: Server,
    expected: Mapping[str, Expected],
    allowed: Allowed | None = None,
) -> list[Differences]:
    """The collections that differ, with what differs."""
    found = (
        compare(collection, content, server.export(collection), allowed or Allowed())
        for collection, content in expected.items()
    )
    return [differences for differences in found if differences]


def compare(
    collection: str,
    expected: Expected,
    actual: list[Document],
    allowed: Allowed,
) -> Differences:
    """What differs in one collection and is not allowed to."""
    differences = Differences(collection)
    table = _TABLES[collection]
    stored: dict[str, Document] = {}
    for document in actual:
        if document["id"] in stored:
            differences.twice.append(document["id"])
        stored[document["id"]] = document
    ids = [
        *expected.documents,
        *(identity for identity in stored if identity not in expected.documents),
    ]
    for identity in ids:
        if not allowed.row(table, identity):
            _compare_one(differences, expected, stored.get(identity), identity, allowed)
    _name_poison(differences, table, expected, allowed)
    return differences


def _compare_one(
    differences: Differences,
    expected: Expected,
    actual: Document | None,
    identity: str,
    allowed: Allowed,
) -> None:
    wanted = expected.documents.get(identity)
    if wanted is None:
        differences.extra.append(identity)
    elif actual is None:
        differences.missing.append(identity)
    else:
        fields = _different_fields(wanted, actual, allowed)
        infos = {wanted.get("infoId"), actual.get("infoId"), expected.poison_info.get(identity)}
        if any(info and allowed.row("ProductInfo", info) for info in infos):
            fields = {name: pair for name, pair in fields.items() if not ENRICHMENT.fullmatch(name)}
        if fields:
            differences.different[identity] = fields


def _name_poison(
    differences: Differences,
    table: str,
    expected: Expected,
    allowed: Allowed,
) -> None:
    rows = [(table, identity) for identity in expected.poison]
    rows += [("ProductInfo", info) for info in expected.poison_info.values()]
    differences.unnamed += [
        f"{name} {identity!r}" for name, identity in rows if not allowed.row(name, identity)
    ]


def _different_fields(
    wanted: Document,
    actual: Document,
    allowed: Allowed,
) -> dict[str, tuple[Any, Any]]:
    names = sorted(set(wanted) | {name for name in actual if not name.startswith("_")})
    pairs = {name: (wanted.get(name, _ABSENT), actual.get(name, _ABSENT)) for name in names}
    return {
        name: pair
        for name, pair in pairs.items()
        if not _same(*pair, as_float=name in _FLOATS)
        and not (name == "basePriceExact" and not allowed.exact_decimals and _same_decimal(*pair))
    }


def _same(expected: Any, actual: Any, *, as_float: bool) -> bool:
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            _same(expected[name], actual[name], as_float=as_float) for name in expected
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(
            _same(one, other, as_float=as_float) for one, other in zip(expected, actual, strict=True)
        )
    if type(expected) is type(actual):
        return bool(expected == actual)
    if {type(expected), type(actual)} != {int, float}:  # a bool is neither
        return False
    beyond_64_bits = isinstance(expected, int) and not -(2**63) <= expected < 2**64
    return (as_float or beyond_64_bits) and float(expected) == float(actual)


def _same_decimal(expected: Any, actual: Any) -> bool:
    try:
        return isinstance(actual, str) and Decimal(expected) == Decimal(actual)
    except InvalidOperation:
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"


_TABLES: Final = {
    "organizers": "Organizer",
    "merchants": "Merchant",
    "categories": "Category",
    "devices": "Device",
    "sale-channels": "SaleChannel",
    "products": "Product",
}
