"""Hash indexes over the values of fields: built when first asked for, then kept up to date.

A write only notes the sequence number of its document; the next reader of an index re-reads the
documents noted since. So imports cost the same whether or not anything is indexed.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from . import nested
from .coerce import is_float_text, is_integer_text, to_float32
from .schema import Field
from .tokens import Tokenizer

Key = str | int | float | bool
_decode = msgspec.json.Decoder().decode


class Index(Protocol):
    """Something that follows the values of one field."""

    field: Field

    def follow(self, seq: int, value: Any) -> None:
        """Replace what is known of a document; None when it has no such value."""
        ...


class Column:
    """Documents by value and values by document, for filters, sorting and facets."""

    def __init__(self, field: Field, to_key: Callable[[Any], Key | None]) -> None:
        self.field = field
        self._to_key = to_key
        self.values: dict[int, Key | tuple[Key, ...]] = {}
        self.documents: dict[Key, int | set[int]] = {}

    def follow(self, seq: int, value: Any) -> None:
        old = self.values.pop(seq, None)
        if old is not None:
            for key in old if isinstance(old, tuple) else (old,):
                self._discard(key, seq)
        if value is None:
            return
        if isinstance(value, list):
            keys = tuple({k: None for item in value if (k := self._to_key(item)) is not None})
            if keys:
                self.values[seq] = keys
        else:
            single = self._to_key(value)
            if single is None:
                return
            self.values[seq] = single
            keys = (single,)
        for key in keys:
            self._add(key, seq)

    def _add(self, key: Key, seq: int) -> None:
        held = self.documents.get(key)
        if held is None:
            self.documents[key] = seq
        elif isinstance(held, set):
            held.add(seq)
        elif held != seq:
            self.documents[key] = {held, seq}

    def _discard(self, key: Key, seq: int) -> None:
        held = self.documents.get(key)
        if isinstance(held, set):
            held.discard(seq)
            if not held:
                del self.documents[key]
        elif held == seq:
            del self.documents[key]

    def having(self, keys: Iterable[Key]) -> set[int]:
        """Documents with any of these values; costs one look-up each."""
        found: set[int] = set()
        for key in keys:
            held = self.documents.get(key)
            if isinstance(held, set):
                found |= held
            elif held is not None:
                found.add(held)
        return found

    def where(self, holds: Callable[[Any], bool]) -> set[int]:
        """Documents with a value for which ``holds`` is true; costs one call a distinct value."""
        return self.having([key for key in self.documents if holds(key)])


def column_key(field: Field, tokenizer: Tokenizer) -> Callable[[Any], Key | None]:
    """How values are indexed: int32 modulo 2^32, float in 32 bits, text as tokens."""
    match field.item_type:
        case "int32":
            return lambda value: _integer_key(value, 32)
        case "int64":
            return lambda value: _integer_key(value, 64)
        case "float":
            return _float_key
        case "bool":
            return lambda value: value if isinstance(value, bool) else None
        case "string":
            return lambda value: tokenizer.key(value if isinstance(value, str) else str(value))
    return _no_key


def _integer_key(value: Any, bits: int) -> int | None:
    if isinstance(value, str) and is_integer_text(value, 64):
        value = int(value)  # stored before the field was declared
    if not isinstance(value, (int, float)):
        return None
    half = 1 << (bits - 1)
    return (int(value) + half) % (1 << bits) - half


def _no_key(_value: Any) -> None:
    """Types that filters do not know, such as geopoint, are not indexed."""


def _float_key(value: Any) -> float | None:
    if isinstance(value, str) and is_float_text(value):
        value = float(value)
    return to_float32(value) if isinstance(value, (int, float)) else None


class Indexes:
    """All indexes of one collection, by purpose and field name."""

    def __init__(self, documents: dict[int, bytes]) -> None:
        self._documents = documents
        self._active: dict[tuple[str, str], Index] = {}
        self._changed: set[int] = set()

    def note(self, seqs: Iterable[int]) -> None:
        """Documents that were stored or removed."""
        if self._active:
            self._changed.update(seqs)

    def forget(self) -> None:
        """Drop everything: the schema changed or the collection was emptied."""
        self._active.clear()
        self._changed.clear()

    def get(self, purpose: str, field: Field, create: Callable[[], Index]) -> Index:
        """The up-to-date index of a field for a purpose."""
        if self._changed:
            self._catch_up()
        index = self._active.get((purpose, field.name))
        if index is None:
            index = create()
            self._fill(index)
            self._active[purpose, field.name] = index
        return index

    def _catch_up(self) -> None:
        for seq in self._changed:
            raw = self._documents.get(seq)
            document = {} if raw is None else _decode(raw)
            for index in self._active.values():
                index.follow(seq, nested.value_at(document, index.field.name))
        self._changed.clear()

    def _fill(self, index: Index) -> None:
        name = index.field.name
        if "." in name:
            for seq, raw in self._documents.items():
                index.follow(seq, nested.value_at(_decode(raw), name))
            return
        only = msgspec.defstruct("Only", [("value", Any, None)], rename={"value": name})
        decode_only = msgspec.json.Decoder(only).decode
        for seq, raw in self._documents.items():
            index.follow(seq, decode_only(raw).value)  # type: ignore[attr-defined]  # made above
