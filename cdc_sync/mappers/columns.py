"""What a column's value becomes: one word a kind (`text`, `numeric`, `localized`, …).

A kind is a function that makes a `Column`: which columns it reads, which fields it fills, what they are in
Typesense, and how a value converts. Values come as the wire has them: Debezium's JSON, or what a schema
made of it (`Decimal`, `EpochMillis`). A conversion raises `ValueError` with a text that says what was
expected; the mapper adds the table, the key and the column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from cdc_sync.mappers.decimals import finite, printed_decimal
from cdc_sync.mappers.expected import shown
from cdc_sync.mappers.times import day_ms, epoch_ms
from cdc_sync.model import Document
from cdc_sync.schema import Field

__all__ = [
    "Column",
    "bigint",
    "boolean",
    "computed",
    "day",
    "double",
    "free_object",
    "integer",
    "localized",
    "numeric",
    "text",
    "text_array",
    "timestamptz",
]

Convert = Callable[[Any], Any]
Write = Callable[[Document, Any], None]

LOCALE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
MAX_DEPTH: Final = 100
"""Of jsonb. PostgreSQL takes thousands of levels, and a reader that recurses does not."""

parse_json = msgspec.json.Decoder().decode


def refuse(expected: str) -> Convert:
    """What to do with a value that a kind does not know."""

    def convert(value: Any) -> Any:
        raise ValueError(f"expected {expected}, got {shown(value)}")

    return convert


class Column(msgspec.Struct, frozen=True):
    """How one or more columns of a row fill fields of the document.

    `passes`: values of this very type go into the (only) field as they are, without a call. `convert`
    returns the field's value, or None for none; `write(document, value)` fills several fields. A column of
    several `names` has `compute` instead, which gets all their values and returns the field's, or None.
    `binary` says that the column is a bytea or an integer array, whose placeholder is not a text.
    """

    names: tuple[str, ...]
    fields: tuple[Field, ...]
    owns: tuple[str, ...]
    required: bool = False
    passes: type | None = None
    convert: Convert | None = None
    write: Write | None = None
    compute: Callable[..., Any] | None = None
    binary: bool = False


def camel(column: str) -> str:
    """`lowerCamelCase` of a column's name: the field's name unless a mapper says otherwise."""
    head, *rest = column.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def one_field(
    column: str,
    kind: str,
    *,
    passes: type | None = None,
    convert: Convert | None = None,
    expected: str = "",
    field: str | None = None,
    optional: bool = False,
    facet: bool = False,
    sort: bool | None = None,
    index: bool = True,
) -> Column:
    """A column that becomes one declared field; `optional` is the nullable column."""
    name = field or camel(column)
    spec = Field(name, kind, facet=facet, optional=optional, index=index, sort=sort)
    return Column((column,), (spec,), (name,), not optional, passes, convert or refuse(expected))


# Scalars ------------------------------------------------------------------------------------------------


def text(column: str, **options: Any) -> Column:
    """`text` → string, unchanged."""
    return one_field(column, "string", passes=str, expected="text", **options)


def boolean(column: str, **options: Any) -> Column:
    """`boolean` → bool."""
    return one_field(column, "bool", passes=bool, expected="a boolean", **options)


def bigint(column: str, **options: Any) -> Column:
    """`bigint` → int64, exact to the last digit."""
    return one_field(column, "int64", convert=whole_number(64), **options)


def integer(column: str, **options: Any) -> Column:
    """`integer` → int32."""
    return one_field(column, "int32", convert=whole_number(32), **options)


def whole_number(bits: int) -> Convert:
    """A conversion that refuses what does not fit: Typesense takes larger numbers and wraps them."""
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def convert(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"expected an integer of {bits} bits, got {shown(value)}")
        return value

    return convert


def double(column: str, **options: Any) -> Column:
    """`double precision` → float (32 bits in Typesense's index, the double in its document)."""
    return one_field(column, "float", convert=finite, **options)


# Time ---------------------------------------------------------------------------------------------------


def timestamptz(column: str, **options: Any) -> Column:
    """`timestamptz` → int64, milliseconds since the epoch, UTC, rounded down."""
    return one_field(column, "int64", convert=epoch_ms, **options)


def day(column: str, **options: Any) -> Column:
    """`date` → int64, milliseconds of that day's midnight UTC."""
    return one_field(column, "int64", convert=day_ms, **options)


# Numbers with exact decimals ----------------------------------------------------------------------------


def numeric(
    column: str, scale: int, *, field: str | None = None, optional: bool = False, sort: bool | None = None
) -> Column:
    """`numeric(p, scale)` → `x` (float, nearest double) and `xExact` (string, as the database prints it).

    Reads every `decimal.handling.mode`: `string`; `precise` as base64 of the unscaled value (its scale is
    in the schema, so schemaless JSON relies on the one declared here); `double`, which has lost digits
    already: there `xExact` is the double, rounded to the scale.
    """
    name = field or camel(column)
    exact = f"{name}Exact"
    # Any double can hold so many digits. `[0-9]`, since `\d` is all of Unicode's digits, and half as fast.
    is_printed = re.compile(rf"-?[0-9]{{1,300}}\.[0-9]{{{scale}}}").fullmatch

    def write(document: Document, value: Any) -> None:
        as_is = type(value) is str and is_printed(value)
        printed = value if as_is else printed_decimal(value, scale)
        document[name] = float(printed) if as_is else finite(float(printed))
        document[exact] = printed

    fields = (
        Field(name, "float", optional=optional, sort=sort),
        Field(exact, "string", optional=optional, index=False),
    )
    return Column((column,), fields, (name, exact), not optional, write=write)


# Arrays and JSON ----------------------------------------------------------------------------------------


def text_array(column: str, **options: Any) -> Column:
    """`text[]` → string[]; null members are dropped, an empty array stays one."""

    def convert(value: Any) -> list[str]:
        if type(value) is not list:
            raise ValueError(f"expected an array of text, got {shown(value)}")
        for member in value:
            if type(member) is not str:
                return texts_among(value)
        return value

    return one_field(column, "string[]", convert=convert, **options)


def texts_among(members: list[Any]) -> list[str]:
    """The members that are not null. Raises `ValueError` where one is neither null nor text."""
    texts = [member for member in members if member is not None]
    for member in texts:
        if type(member) is not str:
            raise ValueError(f"expected an array of text, got the member {shown(member)}")
    return texts


def json_of(value: Any) -> Any:
    """The value of a jsonb column, which comes as its text."""
    if type(value) is not str:
        raise ValueError(f"expected jsonb as text, got {shown(value)}")
    try:
        parsed = parse_json(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"expected jsonb, got {shown(value)}: {error}") from error
    if value.count("[") + value.count("{") > MAX_DEPTH and is_deeper(parsed, MAX_DEPTH):
        raise ValueError(f"expected jsonb of at most {MAX_DEPTH} levels")
    return parsed


def is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays are nested in more levels than these."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [member for nest in layer if type(nest) in (dict, list) for member in members_of(nest)]
    return bool(layer)


def members_of(nest: dict[str, Any] | list[Any]) -> Iterable[Any]:
    """What is in an object or array."""
    return nest.values() if type(nest) is dict else nest


def localized(column: str, *, optional: bool = False, declared: bool = True) -> Column:
    """`jsonb` like `{"en": "…", "vi": "…"}` → a flat string field a locale: `name_en`, `name_vi`, ….

    Flat, because partial updates of nested objects are not safe (`typesense-v29.md`, 4.5). Anything but an
    object of strings under well-formed locales is refused; a null member gives no field.
    """
    prefix = f"{camel(column)}_"
    names: dict[str, str] = {}

    def write(document: Document, value: Any) -> None:
        members = json_of(value)
        if members is None:
            return
        if type(members) is not dict:
            raise ValueError(f"expected an object of texts by locale, got {shown(members)}")
        for locale, member in members.items():
            name = names.get(locale)
            if name is None:
                if LOCALE.fullmatch(locale) is None:
                    raise ValueError(f"{locale!r} is not a locale")
                if len(names) > 1024:
                    names.clear()
                names[locale] = name = prefix + locale
            if type(member) is str:
                document[name] = member
            elif member is not None:
                raise ValueError(f"locale {locale}: expected text, got {shown(member)}")

    fields = (Field(f"{prefix}.*", "string", optional=True),) if declared else ()
    return Column((column,), fields, (f"{prefix}*",), not optional, write=write)


def free_object(column: str, *, field: str | None = None) -> Column:
    """`jsonb` → its value in a field that the schema does not declare: stored, never indexed or checked.

    Null members are removed at every level; what becomes empty by that stays. jsonb `null` is SQL null.
    """

    def convert(value: Any) -> Any:
        return without_nulls(json_of(value))

    name = field or camel(column)
    return Column((column,), (), (name,), convert=convert)


def without_nulls(value: Any) -> Any:
    """The value without null members, of objects and arrays alike, at every level."""
    if type(value) is dict:
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if type(value) is list:
        return [without_nulls(member) for member in value if member is not None]
    return value


def string_leaves(value: Any) -> Iterator[str]:
    """Every string in a JSON value, depth first, keys sorted."""
    if type(value) is str:
        yield value
    elif type(value) is dict:
        for name in sorted(value):
            yield from string_leaves(value[name])
    elif type(value) is list:
        for member in value:
            yield from string_leaves(member)


def computed(
    columns: tuple[str, ...],
    field: str,
    kind: str,
    compute: Callable[..., Any],
    *,
    declared: bool = True,
    **options: Any,
) -> Column:
    """One field from several columns (or a second one from one): `compute(*values)`, None for no field.

    The values are the raw ones; of several, those that are null or not in the event are None.
    """
    fields = (Field(field, kind, **options),) if declared else ()
    if len(columns) == 1:
        return Column(columns, fields, (field,), convert=compute)
    return Column(columns, fields, (field,), compute=compute)
