"""Validation of documents against a schema, compiled once per schema.

``Validator.passes`` answers in about a microsecond for a document that needs nothing done to it
(the normal case of a sync engine); every other document takes the long way of ``checked_new`` or
``checked_patch``, which coerces, drops or refuses in the order of the schema's fields.
"""

from typing import Any

from .coerce import DROPPED, Mode, checked_value
from .errors import Refusal
from .jsonvalue import INT64_MIN, UINT64_MAX, is_plain, strip_null_members
from .nested import flatten, matching_pattern
from .schema import Field, Schema


class Validator:
    """The rules of one schema. Holds no documents; replaced when the schema changes."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.is_nested = schema.enable_nested_fields and any(
            field.is_object or "." in field.name for field in schema.concrete
        )
        self._always_long = self.is_nested or any(not field.store for field in schema.concrete)
        self._known = {field.name for field in schema.concrete} | {"id"}
        self._uncovered: set[str] = set()
        self._required_names = frozenset(f.name for f in schema.concrete if not f.optional)
        by_kind: dict[str, list[str]] = {"string": [], "int": [], "float": [], "bool": []}
        self._others: list[Field] = []
        for field in schema.concrete:
            kind = "int" if field.type in ("int32", "int64") else field.type
            if kind in by_kind:
                by_kind[kind].append(field.name)
            else:
                self._others.append(field)
        self._strings, self._ints = by_kind["string"], by_kind["int"]
        self._floats, self._bools = by_kind["float"], by_kind["bool"]

    @property
    def default_mode(self) -> Mode:
        """``reject``, or ``coerce_or_reject`` when the schema has dynamic fields (4.1)."""
        return Mode.COERCE_OR_REJECT if self.schema.dynamic else Mode.REJECT

    def passes(self, document: dict[str, Any], *, is_patch: bool = False) -> bool:
        """True when a document (or a patch) without nulls can be stored exactly as it is."""
        if self._always_long or not (is_patch or document.keys() >= self._required_names):
            return False
        get = document.get
        found = 1
        for name in self._strings:
            value = get(name)
            if value is not None:
                if type(value) is not str:
                    return False
                found += 1
        for name in self._ints:
            value = get(name)
            if value is not None:
                if type(value) is not int or not INT64_MIN <= value <= UINT64_MAX:
                    return False
                found += 1
        for name in self._bools:
            value = get(name)
            if value is not None:
                if type(value) is not bool:
                    return False
                found += 1
        found = self._count_floats(document, found)
        found = self._count_others(document, found) if found else 0
        return bool(found) and (found == len(document) or self._extras_pass(document))

    def _count_floats(self, document: dict[str, Any], found: int) -> int:
        for name in self._floats:
            value = document.get(name)
            if value is not None:
                if type(value) not in (float, int) or not is_plain(value):
                    return 0
                found += 1
        return found

    def _count_others(self, document: dict[str, Any], found: int) -> int:
        for field in self._others:
            value = document.get(field.name)
            if value is None:
                continue
            if field.type == "string[]":
                if type(value) is not list or any(type(item) is not str for item in value):
                    return 0
            elif not is_plain(value) or not _accepted(field, value):
                return 0
            found += 1
        return found

    def _extras_pass(self, document: dict[str, Any]) -> bool:
        for key in document.keys() - self._known:
            if self.schema.dynamic and not self.is_uncovered(key):
                return False
            if not is_plain(document[key]):
                return False
        return True

    def is_uncovered(self, key: str) -> bool:
        """True for a key that neither a declared nor a dynamic field covers."""
        if key in self._uncovered:
            return True
        if key in self._known or matching_pattern(self.schema, key) is not None:
            return False
        self._uncovered.add(key)
        return True

    def checked_new(
        self, document: dict[str, Any], mode: Mode, *, needs_sorting_field: bool, replaces: bool
    ) -> dict[str, Any]:
        """A whole document as it is to be stored; raises the refusal of the first bad field.

        ``replaces``: an upsert over an existing document, where a missing required object
        passes. ``needs_sorting_field``: create and upsert name the default sorting field.
        """
        name = self.schema.default_sorting_field
        if needs_sorting_field and name and name not in document:
            text = (
                f"Field `{name}` has been declared as a default sorting field, "
                "but is not found in the document."
            )
            raise Refusal(400, text)
        flat = flatten(document, self.schema, replaces) if self.is_nested else {}
        for field in self.schema.concrete:
            self._check_field(document, flat, field, mode, is_update=False)
        if self.is_nested:
            self._strip_objects(document)
        return document

    def checked_patch(self, document: dict[str, Any], mode: Mode) -> dict[str, Any]:
        """The fields of an update as they are to be merged; nulls of optional fields stay."""
        flat = flatten(document, self.schema, True) if self.is_nested else {}
        for field in self.schema.concrete:
            self._check_field(document, flat, field, mode, is_update=True)
        return document

    def _check_field(
        self,
        document: dict[str, Any],
        flat: dict[str, Any],
        field: Field,
        mode: Mode,
        is_update: bool,
    ) -> None:
        name = field.name
        if field.is_object:
            return
        in_document = name in document
        if not in_document and name not in flat:
            if not (field.optional or is_update):
                text = f"Field `{name}` has been declared in the schema, but is not found in the document."
                raise Refusal(400, text)
            return
        if not in_document:
            checked_value(field, flat[name], mode)  # only the flattened copy would be coerced
            return
        value = document[name]
        if value is None and field.optional:
            if not is_update:
                del document[name]
            return
        checked = checked_value(field, value, mode)
        if checked is DROPPED:
            del document[name]
        else:
            document[name] = checked

    def _strip_objects(self, document: dict[str, Any]) -> None:
        roots = {f.name.split(".")[0] for f in self.schema.concrete if f.is_object or "." in f.name}
        for name in roots & document.keys():
            document[name] = strip_null_members(document[name])

    def stored(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document without the fields that are declared ``store: false``."""
        for field in self.schema.concrete:
            if not field.store:
                document.pop(field.name, None)
        return document


def _accepted(field: Field, value: Any) -> bool:
    try:
        return checked_value(field, value, Mode.REJECT) is not DROPPED
    except Refusal:
        return False
