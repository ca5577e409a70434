"""Nested fields and the detection of new ones: ``enable_nested_fields`` and dynamic fields.

Source: typesense-v29.md 2.2, 4.5, 4.6 and the topics ``import_nested`` and ``auto_schema``.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .coerce import Mode
from .errors import Refusal
from .schema import SORTED_BY_DEFAULT, Field, Schema

_HINT = " Hint: field inside an array of objects must be an array type as well."


class _Walk:
    """Follows a dotted path through objects and arrays, and remembers what it went through."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.through_array = False
        self.through_object_array = False

    def follow(self, value: Any, parts: list[str]) -> None:
        if not parts:
            self.values.append(value)
            return
        if not isinstance(value, dict) or parts[0] not in value:
            return
        child = value[parts[0]]
        if not isinstance(child, list):
            self.follow(child, parts[1:])
            return
        self.through_array = True
        for item in child:
            self.through_object_array |= isinstance(item, dict)
            self.follow(item, parts[1:])

    @property
    def value(self) -> Any:
        """The value that the flattened key holds."""
        if not self.through_array:
            return self.values[0]
        flat: list[Any] = []
        for value in self.values:
            flat.extend(value) if isinstance(value, list) else flat.append(value)
        return flat


def value_at(document: dict[str, Any], path: str) -> Any:
    """The value a (dotted) field name addresses, or None."""
    if path in document or "." not in path:
        return document.get(path)
    walk = _Walk()
    walk.follow(document, path.split("."))
    return walk.value if walk.values or walk.through_array else None


def flatten(document: dict[str, Any], schema: Schema, is_update: bool) -> dict[str, Any]:
    """The flattened keys of the declared nested fields; raises what flattening refuses."""
    flat: dict[str, Any] = {}
    for field in schema.concrete:
        if not field.index or not (field.is_object or "." in field.name):
            continue
        walk = _Walk()
        walk.follow(document, field.name.split("."))
        if field.is_object:
            _check_object(field, walk, is_update)
        else:
            _check_leaf(field, walk, _has_declared_parent(field, schema), is_update)
            values = [value for value in walk.values if value is not None]
            if values:
                flat[field.name] = walk.value
    return flat


def _has_declared_parent(field: Field, schema: Schema) -> bool:
    parts = field.name.split(".")
    parents = (".".join(parts[:depth]) for depth in range(1, len(parts)))
    return any(name in schema.by_name and schema.by_name[name].is_object for name in parents)


def _check_object(field: Field, walk: _Walk, is_update: bool) -> None:
    if not walk.values:
        if not (walk.through_array or is_update or field.optional):
            raise Refusal(404, f"Field `{field.name}` not found.")
        return
    for value in walk.values:
        if value is None and field.optional:
            continue
        fits = isinstance(value, dict) and walk.through_array == field.is_array
        if not fits:
            raise _incorrect_type(field, walk)


def _check_leaf(field: Field, walk: _Walk, has_parent: bool, is_update: bool) -> None:
    """Type errors of leaves are the validator's; here only presence and being an array count."""
    if walk.values and walk.through_object_array and not field.is_array:
        raise _incorrect_type(field, walk)
    if has_parent:
        return
    if not walk.values:
        if not (walk.through_array or is_update or field.optional):
            raise Refusal(404, f"Field `{field.name}` not found.")
    elif walk.values[0] is None and not field.optional:
        raise _incorrect_type(field, walk)


def _incorrect_type(field: Field, walk: _Walk) -> Refusal:
    text = f"Field `{field.name}` has an incorrect type."
    if walk.through_object_array and not field.is_array:
        text += _HINT
    return Refusal(400, text)


def infer_type(value: Any) -> str | None:
    """The type that the first value of an undeclared field gives it; None when it tells nothing."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int64"
        case float():
            return "float"
        case str():
            return "string"
        case dict():
            return "object"
        case [first, *_] if not isinstance(first, list):
            inner = infer_type(first)
            return f"{inner}[]" if inner else None
    return None


def detect_dynamic(document: dict[str, Any], schema: Schema, mode: Mode, is_update: bool) -> list[Field]:
    """Concrete fields for keys that dynamic fields cover; drops keys no type can be told of."""
    found: list[Field] = []
    for key, value in list(document.items()):
        pattern = None if key == "id" else matching_pattern(schema, key)
        if pattern is None or not pattern.index:
            continue
        if value is None:
            if not is_update:
                del document[key]
            continue
        kind = _dynamic_type(pattern, value)
        if kind is None:
            if value == []:
                continue
            if mode in (Mode.REJECT, Mode.COERCE_OR_REJECT):
                raise Refusal(400, f"Type of field `{key}` is invalid.")
            del document[key]
        elif schema.enable_nested_fields or not kind.startswith("object"):
            sort = pattern.sort if kind == pattern.type else kind in SORTED_BY_DEFAULT
            found.append(replace(pattern, name=key, type=kind, sort=sort, optional=True))
    return found


def matching_pattern(schema: Schema, key: str) -> Field | None:
    """The dynamic field that covers an undeclared key."""
    if key in schema.by_name:
        return None
    for pattern in schema.dynamic:
        if re.fullmatch(pattern.name, key):
            return pattern
    return None


def _dynamic_type(pattern: Field, value: Any) -> str | None:
    if pattern.type not in ("auto", "string*"):
        return pattern.type
    kind = infer_type(value)
    if pattern.type == "auto" or kind is None or kind.startswith("object"):
        return kind
    return "string[]" if kind.endswith("[]") else "string"


def detect_members(document: dict[str, Any], schema: Schema) -> list[Field]:
    """Fields for the leaves of indexed objects that the schema does not name yet."""
    found: dict[str, Field] = {}
    for field in schema.concrete:
        if not field.is_object or not field.index:
            continue
        value = value_at(document, field.name)
        for name, leaf, many in _leaves(value, field.name, many=field.is_array):
            kind = infer_type(leaf)
            if kind is None or name in schema.by_name or name in found:
                continue
            if many and not kind.endswith("[]"):
                kind += "[]"
            found[name] = Field(name, kind, facet=field.facet, optional=True, sort=kind in SORTED_BY_DEFAULT)
    return list(found.values())


def _leaves(value: Any, path: str, many: bool) -> Iterator[tuple[str, Any, bool]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _leaves(member, f"{path}.{key}", many)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from _leaves(item, path, many=True)
    elif value is not None:
        yield path, value, many
