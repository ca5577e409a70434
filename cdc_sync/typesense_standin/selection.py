"""``include_fields`` and ``exclude_fields``, and the export that uses them."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from .collection import Collection
from .filters import filter_rows
from .jsonvalue import encode, parse
from .schema import Schema

_COPIED_NAME = re.compile(r"[\w-]+")
EXPORT_ROWS = 500
"""Rows in one piece of an export stream."""


class Selection:
    """Which fields of a document are shown."""

    def __init__(self, params: Mapping[str, str], schema: Schema) -> None:
        self._include = _names(params.get("include_fields", ""), schema)
        self._exclude = _names(params.get("exclude_fields", ""), schema)

    @property
    def is_everything(self) -> bool:
        return not (self._include or self._exclude)

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """The shown part of a document."""
        if self._include:
            document = _included(document, self._include)
        for name in self._exclude:
            document = _excluded(document, name.split("."))
        return document

    def renderer(self) -> Callable[[bytes], bytes]:
        """Stored bytes to shown bytes; copies single top-level fields without parsing them."""
        if self.is_everything:
            return lambda raw: raw
        copies = all(_COPIED_NAME.fullmatch(name) for name in self._include)
        if self._include and not self._exclude and copies:
            return _copier(sorted(set(self._include)))
        return lambda raw: encode(self.apply(parse(raw)))


def _names(text: str, schema: Schema) -> list[str]:
    names: list[str] = []
    for part in text.split(","):
        name = part.strip()
        if name.endswith("*"):
            names += [key for key in schema.by_name if key.startswith(name[:-1])]
        elif name:
            names.append(name)
    return names


def _included(document: dict[str, Any], names: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in names:
        if name in document:
            shown[name] = document[name]
        elif "." in name:
            _include_path(document, shown, name.split("."))
    return shown


def _include_path(source: dict[str, Any], target: dict[str, Any], parts: list[str]) -> None:
    head, *rest = parts
    if head not in source:
        return
    value = source[head]
    if not rest:
        target[head] = value
    elif isinstance(value, dict):
        inner = target.setdefault(head, {})
        _include_path(value, inner, rest)
    elif isinstance(value, list):
        items = target.setdefault(head, [{} for _ in value])
        for item, shown in zip(value, items, strict=True):
            if isinstance(item, dict):
                _include_path(item, shown, rest)


def _excluded(document: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    whole = ".".join(parts)
    if whole in document:
        return {key: value for key, value in document.items() if key != whole}
    head, *rest = parts
    value = document.get(head)
    if rest and isinstance(value, dict):
        return document | {head: _excluded(value, rest)}
    if rest and isinstance(value, list):
        items = [_excluded(item, rest) if isinstance(item, dict) else item for item in value]
        return document | {head: items}
    return document


def _copier(names: list[str]) -> Callable[[bytes], bytes]:
    fields: list[Any] = [
        (f"f{number}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for number in range(len(names))
    ]
    renames = {f"f{number}": name for number, name in enumerate(names)}
    shown = msgspec.defstruct("Shown", fields, rename=renames)
    decode = msgspec.json.Decoder(shown).decode
    encode_shown = msgspec.json.Encoder().encode
    return lambda raw: encode_shown(decode(raw))


def export(collection: Collection, params: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The stream of an export, fixed in time by its first step; raises filter errors there."""
    rows = _exported(collection, params)
    render = Selection(params, collection.schema).renderer()
    return _pieces(rows, render)


def _exported(collection: Collection, params: Mapping[str, str]) -> list[bytes]:
    documents = collection.documents
    text = params.get("filter_by", "").strip()
    if not text:
        return list(documents.values())
    strict = params.get("validate_field_names", "true") != "false"
    rows = filter_rows(collection, text, strict_names=strict)
    return [documents[seq] for seq in rows.within(documents)]


async def _pieces(rows: list[bytes], render: Callable[[bytes], bytes]) -> AsyncIterator[bytes]:
    separator = b""
    for start in range(0, len(rows), EXPORT_ROWS):
        piece = b"\n".join([render(raw) for raw in rows[start : start + EXPORT_ROWS]])
        yield separator + piece
        separator = b"\n"
