"""What a mapper declares of Typesense: fields, collections, and how one collection enriches another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from cdc_sync.model import Document

__all__ = [
    "Collection",
    "Enrichment",
    "Field",
    "field_matches",
    "filter_safe",
    "lookup_key",
    "safe_id",
    "schema_differences",
]


class Field(Struct, frozen=True):
    """One field of a collection, in Typesense's words.

    A name that ends in `_.*` is dynamic: concrete fields appear in the schema as documents bring them.
    """

    name: str
    type: str
    facet: bool = False
    optional: bool = False
    index: bool = True
    sort: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """The field as `POST /collections` takes it; defaults are left out."""
        spec: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.facet:
            spec["facet"] = True
        if self.optional:
            spec["optional"] = True
        if not self.index:
            spec["index"] = False
        if self.sort is not None and self.index:
            spec["sort"] = self.sort
        return spec


class Collection(Struct, frozen=True):
    """A collection behind an alias of this name; the real one is `<name>_<version>`."""

    name: str
    fields: tuple[Field, ...]

    def as_json(self, name: str | None = None) -> dict[str, Any]:
        """The body of `POST /collections`, under the alias's name unless another is given."""
        return {"name": name or self.name, "fields": [field.as_json() for field in self.fields]}


class Enrichment(Struct, frozen=True):
    """How documents of `parent` get fields from rows that are kept in the collection `side`.

    The rows of a parent are those whose `parent_field` is the parent's id; `lookup_field` holds
    `lookup_key(parent id)`, the only thing of a side row that Typesense indexes. A row counts while its
    `live_field` is true. `fields` are what a parent takes over (`name_*` stands for every locale); the
    parent's own mapper must not touch any of them.
    """

    parent: str
    side: str
    parent_field: str
    lookup_field: str
    live_field: str
    owed_field: str
    order_by: tuple[str, ...]
    fields: tuple[str, ...]

    def of(self, rows: Iterable[Document]) -> Document:
        """The enrichment of one parent: the fields of its live row; none without one.

        The source allows one row a parent. Where two seem live, since their topics' partitions are read
        at different speeds, the choice is arbitrary but the same for everybody who sees the same rows.
        """
        live = [row for row in rows if row.get(self.live_field)]
        if not live:
            return {}
        chosen = max(live, key=lambda row: tuple(str(row.get(name, "")) for name in self.order_by))
        return {name: value for name, value in chosen.items() if field_matches(name, self.fields)}

    def part_of(self, document: Document) -> Document:
        """The enrichment fields that a parent document holds now."""
        return {n: value for n, value in document.items() if field_matches(n, self.fields)}


def field_matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a document's field is named by one of these: exactly, or by `name_*`."""
    for pattern in patterns:
        if name == pattern or (pattern[-1] == "*" and name.startswith(pattern[:-1])):
            return True
    return False


LOOKUP_BITS: Final = 52


@lru_cache(maxsize=32_768)
def lookup_key(text: str) -> int:
    """A number that stands for a text in numeric filters, which know no quoting, folding or tokens.

    52 bits, so that it is exact wherever a double passes by. Collisions are harmless: whoever looks up
    also compares the text. Remembered, since a writer asks for each parent's before and after it writes.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - LOOKUP_BITS)


FILTER_SAFE: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.:~-]{1,512}")


def filter_safe(document_id: str) -> bool:
    """Whether an id may stand in an `id:[…]` filter and mean only itself (`typesense-v29.md`, 6.4, 10.1).

    `*` there means every document; backticks, edge spaces, parentheses and `&&` cannot be expressed.
    """
    return FILTER_SAFE.fullmatch(document_id) is not None


def safe_id(text: str) -> str:
    """An injective encoding into ids that are safe in filters and paths, for collections of our own."""
    if filter_safe(text) and not text.startswith("~"):
        return text
    return "~" + text.encode("utf-8", "surrogatepass").hex()


FIELD_DEFAULTS: Final[Mapping[str, Any]] = {"facet": False, "optional": False, "index": True}
SORTED_BY_DEFAULT: Final = frozenset({"int32", "int64", "float", "bool", "geopoint"})


def schema_differences(wanted: Collection, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between the declared fields and those of a live collection, one line each.

    Fields that a dynamic name brought into the live schema are no difference (`typesense-v29.md` 2.1).
    """
    live = {str(spec["name"]): spec for spec in found}
    lines = []
    for field in wanted.fields:
        spec = live.pop(field.name, None)
        if spec is None:
            lines.append(f"field {field.name} is missing")
            continue
        lines += [
            f"field {field.name}: {name} is {spec[name]!r}, declared {value!r}"
            for name, value in complete(field).items()
            if name in spec and spec[name] != value
        ]
    dynamic = [field.name[:-2] for field in wanted.fields if field.name.endswith(".*")]
    for name in live:
        if not any(name.startswith(prefix) for prefix in dynamic):
            lines.append(f"field {name} is not declared")
    return lines


def complete(field: Field) -> dict[str, Any]:
    """The field with the defaults that Typesense fills in."""
    spec = {**FIELD_DEFAULTS, **field.as_json()}
    if field.index and not field.name.endswith(".*"):
        spec.setdefault("sort", field.type in SORTED_BY_DEFAULT)
    return spec
