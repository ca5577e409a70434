"""Collection schemas: fields, defaults, the checks of create and alter with their exact texts.

Source: typesense-v29.md section 2 and the recorded cases of topics ``collections`` and ``alter``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .errors import BAD_REQUEST, Refusal

SCALARS = ("string", "int32", "int64", "float", "bool", "geopoint", "object")
TYPES = frozenset([*SCALARS, *(kind + "[]" for kind in SCALARS), "geopolygon", "image", "auto", "string*"])
NUMERIC = frozenset(["int32", "int64", "float", "int32[]", "int64[]", "float[]"])
SORTED_BY_DEFAULT = frozenset(["int32", "int64", "float", "bool", "geopoint", "geopoint[]"])
FLAGS = ("store", "facet", "optional", "index", "sort", "infix", "stem", "range_index")

WRONG_FORMAT = (
    "Wrong format for `fields`. It should be an array of objects containing `name`, `type`, "
    "`optional` and `facet` properties."
)
FIELDS_NOT_AN_ARRAY = (
    "The `fields` value should be an array of objects containing `name`, `type` and optionally, "
    "`facet` properties."
)
NEEDS_NESTING = (
    "Type `object` or `object[]` can be used only when nested fields are enabled by setting` "
    "enable_nested_fields` to true."
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a schema with every default filled in."""

    name: str
    type: str
    facet: bool = False
    optional: bool = False
    index: bool = True
    sort: bool = False
    infix: bool = False
    locale: str = ""
    stem: bool = False
    stem_dictionary: str = ""
    store: bool = True
    range_index: bool = False
    num_dim: int = 0

    @property
    def is_dynamic(self) -> bool:
        """True for patterns and for types that are decided by the first value."""
        return ".*" in self.name or self.type in ("auto", "string*")

    @property
    def is_object(self) -> bool:
        return self.type in ("object", "object[]")

    @property
    def is_array(self) -> bool:
        return self.type.endswith("[]")

    @property
    def item_type(self) -> str:
        return self.type.removesuffix("[]")

    def to_json(self) -> dict[str, Any]:
        """The field as the collection object shows it."""
        shown: dict[str, Any] = {name: getattr(self, name) for name in _SHOWN}
        if self.range_index:
            shown["range_index"] = True
        if self.num_dim:
            shown |= {"num_dim": self.num_dim, "vec_dist": "cosine", "hnsw_params": _HNSW}
        return shown

    def to_alter_json(self) -> dict[str, Any]:
        """The field as the answer of PATCH echoes it: with every default."""
        return self.to_json() | {
            "async_reference": False,
            "embed": None,
            "hnsw_params": _HNSW,
            "nested": False,
            "nested_array": 0,
            "num_dim": self.num_dim,
            "range_index": self.range_index,
            "reference": "",
            "symbols_to_index": [],
            "token_separators": [],
            "vec_dist": "cosine",
        }


_SHOWN = (
    "name",
    "type",
    "facet",
    "optional",
    "index",
    "sort",
    "infix",
    "locale",
    "stem",
    "stem_dictionary",
    "store",
)
_HNSW = {"M": 16, "ef_construction": 200}


@dataclass(frozen=True)
class Schema:
    """What a collection was declared with, plus the fields detected since."""

    fields: tuple[Field, ...]
    default_sorting_field: str = ""
    enable_nested_fields: bool = False
    token_separators: tuple[str, ...] = ()
    symbols_to_index: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Concrete and dynamic fields by name."""
        return {item.name: item for item in self.fields}

    @cached_property
    def concrete(self) -> tuple[Field, ...]:
        return tuple(item for item in self.fields if not item.is_dynamic)

    @cached_property
    def dynamic(self) -> tuple[Field, ...]:
        """Dynamic fields, the fallback ``.*`` last."""
        found = [item for item in self.fields if item.is_dynamic]
        return tuple(sorted(found, key=lambda item: item.name == ".*"))

    def with_fields(self, added: Iterable[Field]) -> "Schema":
        return replace(self, fields=(*self.fields, *added))

    def without_fields(self, names: set[str]) -> "Schema":
        return replace(self, fields=tuple(f for f in self.fields if f.name not in names))

    def to_json(self) -> dict[str, Any]:
        """The schema part of the collection object (2.1)."""
        shown: dict[str, Any] = {
            "default_sorting_field": self.default_sorting_field,
            "enable_nested_fields": self.enable_nested_fields,
            "fields": [item.to_json() for item in self.fields if not item.name.endswith("_sequence_id")],
            "symbols_to_index": list(self.symbols_to_index),
            "token_separators": list(self.token_separators),
        }
        if self.metadata:
            shown["metadata"] = self.metadata
        return shown


def parse_schema(body: dict[str, Any]) -> Schema:
    """A schema from the body of ``POST /collections`` (its name is checked by the caller)."""
    if "fields" not in body:
        raise Refusal(400, "Parameter `fields` is required.")
    if not isinstance(body["fields"], list) or not body["fields"]:
        raise Refusal(400, FIELDS_NOT_AN_ARRAY)
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        raise Refusal(400, "The `metadata` value should be an object.")
    sorting_field = body.get("default_sorting_field", "")
    if not isinstance(sorting_field, str):
        raise Refusal(
            400,
            "`default_sorting_field` should be a string. It should contain the name of an int32/float field.",
        )
    nesting = body.get("enable_nested_fields", False)
    if not isinstance(nesting, bool):
        raise Refusal(400, "`enable_nested_fields` should be a boolean.")
    schema = Schema(
        fields=tuple(_parse_fields(body["fields"], nesting)),
        default_sorting_field=sorting_field,
        enable_nested_fields=nesting,
        token_separators=_symbols(body, "token_separators"),
        symbols_to_index=_symbols(body, "symbols_to_index"),
        metadata=metadata,
    )
    _check_default_sorting_field(schema)
    return schema


def _symbols(body: dict[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key, [])
    well_formed = isinstance(value, list) and all(isinstance(item, str) and len(item) == 1 for item in value)
    if not well_formed:
        raise Refusal(400, f"`{key}` should be an array of character symbols.")
    return tuple(value)


def _parse_fields(entries: list[Any], nesting: bool) -> Iterator[Field]:
    seen: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict) or "name" not in entry:
            raise Refusal(400, BAD_REQUEST)
        if entry["name"] == "id":
            continue
        parsed = parse_field(entry, nesting)
        if parsed.name == ".*" and parsed.name in seen:
            raise Refusal(400, "There can be only one field named `.*`.")
        if parsed.name in seen:
            raise Refusal(400, "There are duplicate field names in the schema.")
        seen.add(parsed.name)
        yield parsed


def parse_field(entry: dict[str, Any], nesting: bool) -> Field:
    """One field definition with its defaults. Its type is checked apart: see ``check_types``."""
    name, kind = entry.get("name"), entry.get("type")
    if not isinstance(name, str) or not isinstance(kind, str):
        raise Refusal(400, WRONG_FORMAT)
    if "drop" in entry:
        text = f"Invalid property `drop` on field `{name}`: "
        text += "it is allowed only during schema update."
        raise Refusal(400, text)
    for flag in FLAGS:
        if flag in entry and not isinstance(entry[flag], bool):
            raise Refusal(400, f"The `{flag}` property of the field `{name}` should be a boolean.")
    locale = entry.get("locale", "")
    if not isinstance(locale, str):
        raise Refusal(400, f"The `locale` property of the field `{name}` should be a string.")
    if kind in ("object", "object[]") and not nesting:
        raise Refusal(400, NEEDS_NESTING)
    dynamic = ".*" in name or kind in ("auto", "string*")
    given = {flag: entry[flag] for flag in FLAGS if flag in entry}
    given.setdefault("optional", dynamic)
    given.setdefault("sort", kind in SORTED_BY_DEFAULT)
    num_dim = entry.get("num_dim", 0)
    parsed = Field(name, kind, locale=locale, num_dim=num_dim, **given)
    _check_flags(parsed)
    return parsed


def _check_flags(item: Field) -> None:
    name = item.name
    if item.is_dynamic and not item.optional:
        raise Refusal(400, f"Field `{name}` must be an optional field.")
    if name == ".*" and item.facet:
        raise Refusal(400, "Field `.*` cannot be a facet field.")
    if name == ".*" and not item.index:
        raise Refusal(400, "Field `.*` must be an index field.")
    if item.facet and not item.index:
        text = f"Field `{name}` cannot be a facet since it's marked as non-indexable."
        raise Refusal(400, text)
    if item.sort and item.type not in SORTED_BY_DEFAULT and item.type != "string":
        raise Refusal(400, f"Field `{name}` cannot be a sortable field.")
    if item.range_index and item.type not in NUMERIC:
        raise Refusal(400, "The `range_index` property is only allowed for the numerical fields`")


def check_types(fields: Iterable[Field]) -> None:
    """Refuses unknown data types. On create this comes after the 409 for a name in use."""
    for item in fields:
        if item.type not in TYPES:
            text = (
                f"Field `{item.name}` has an invalid data type `{item.type}`, "
                "see docs for supported data types."
            )
            raise Refusal(400, text)


def _check_default_sorting_field(schema: Schema) -> None:
    name = schema.default_sorting_field
    if not name:
        return
    if name == "id":
        raise Refusal(400, "Invalid `default_sorting_field` value: cannot be `id`.")
    found = schema.by_name.get(name)
    if found is None:
        text = f"Default sorting field is defined as `{name}` but is not found in the schema."
        raise Refusal(400, text)
    if found.type not in ("int32", "int64", "float", "bool") and not found.sort:
        raise Refusal(400, f"Default sorting field `{name}` is not a sortable type.")
    if found.optional:
        raise Refusal(400, f"Default sorting field `{name}` cannot be an optional field.")
