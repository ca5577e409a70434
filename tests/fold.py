"""The reference: raw records to rows, and rows to documents, by a second reading of `documents.md`.

Plain Python and slow on purpose; nothing comes from the package, so that both readings can disagree.
A *row* is that of `tests.factories`: jsonb as text, times as microseconds and days, numeric as `Decimal`.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from tests import avro
from tests.factories import TABLES, Row

Document = dict[str, Any]

COLLECTIONS = {
    "Organizer": "organizers",
    "Merchant": "merchants",
    "Category": "categories",
    "Device": "devices",
    "SaleChannel": "sale-channels",
    "Product": "products",
}

LARGE = {"__debezium_unavailable_value", '["__debezium_unavailable_value"]'}


class Poison(Exception):
    """A row that no document can hold."""


class Raw(NamedTuple):
    """A record of one topic as bytes."""

    key: bytes | None
    value: bytes | None


# Raw records to rows ------------------------------------------------------------------------------------


def fold_rows(table: str, raw: Iterable[Raw]) -> dict[str, Row]:
    """The rows that are there after these records, by id. A value out of sight stays as it was."""
    rows: dict[str, Row] = {}
    for key, value in raw:
        message = None if value is None else avro.plain(value)
        if message is not None and message.keys() == {"schema", "payload"}:
            message = message["payload"]
        after = None
        if message is not None:
            unwrapped = "__deleted" in message
            deleted = message["__deleted"] == "true" if unwrapped else message["op"] == "d"
            after = None if deleted else message if unwrapped else message["after"]
        if after is None:
            rows.pop(key_id(key), None)
            continue
        old = rows.get(after["id"], {})
        rows[after["id"]] = {
            name: old.get(name) if in_large(after[name]) else row_value(sql.kind, after[name])
            for name, sql in TABLES[table].items()
        }
    return rows


def key_id(key: bytes | None) -> str:
    """The id in a key, with or without its schema."""
    decoded = avro.plain(key or b"{}")
    return str(decoded.get("payload", decoded)["id"])


def in_large(value: Any) -> bool:
    """Whether this is Debezium's word for an unchanged large value."""
    return (
        value is not None and (value if isinstance(value, str) else json.dumps(value, default=str)) in LARGE
    )


def row_value(kind: str, value: Any) -> Any:
    """A value of the wire as the database has it."""
    if value is None:
        return None
    if kind == "timestamptz":
        return microseconds(value)
    if kind == "numeric":
        return price(value)
    return value


def price(value: Any) -> Decimal:
    """`numeric(18, 4)` of any decimal mode."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, float | int):
        return Decimal(repr(value)).quantize(Decimal("0.0001"))
    if "." in value:
        return Decimal(value)
    unscaled = int.from_bytes(base64.b64decode(value), "big", signed=True)
    return Decimal(f"{unscaled}E-4")


INSTANT = re.compile(r"([+-]?\d+)-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(Z|\+00:00)")


def microseconds(text: str) -> int:
    """An ISO timestamp in UTC as microseconds since the epoch."""
    found = INSTANT.fullmatch(text)
    if found is None:
        raise Poison(f"not an instant: {text}")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    return seconds * 1_000_000 + int((found[7] or "").ljust(6, "0"))


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since the epoch in the proleptic Gregorian calendar (Howard Hinnant's)."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def printed_rows(table: str, printed: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """Rows as `row_to_json` prints them (read with exact decimals), by id."""
    rows = {}
    for line in printed:
        row: Row = {}
        for name, sql in TABLES[table].items():
            value = line[name]
            if value is None:
                row[name] = None
            elif sql.kind in ("localized", "jsonb"):
                row[name] = json.dumps(value, default=float)
            elif sql.kind == "timestamptz":
                row[name] = microseconds(value)
            elif sql.kind == "date":
                row[name] = days_from_civil(*(int(part) for part in value.split("-")))
            else:
                row[name] = float(value) if sql.kind == "double" else value
        rows[row["id"]] = row
    return rows


# Rows to documents --------------------------------------------------------------------------------------


def expected_documents(tables: Mapping[str, Mapping[str, Row]]) -> dict[str, dict[str, Document]]:
    """Collection → id → document, for these rows by table and id. Poison rows have no document."""
    collections: dict[str, dict[str, Document]] = {}
    for table, collection in COLLECTIONS.items():
        documents = collections[collection] = {}
        for row in tables.get(table, {}).values():
            try:
                document = expected_document(table, row)
            except Poison:
                continue
            if document is not None:
                documents[document["id"]] = document
    for info in tables.get("ProductInfo", {}).values():
        product = collections["products"].get(info["product_id"])
        if product is not None and info["deleted_at"] is None:
            product.update(expected_enrichment(info))
    return collections


def expected_document(table: str, row: Row) -> Document | None:
    """The document of one row on its own; None when there is none. Raises `Poison`."""
    if row["deleted_at"] is not None:
        return None
    if row["id"] == "":
        raise Poison("an empty id")
    fields: Document = {"id": row["id"]}
    for name, sql in TABLES[table].items():
        if name in ("id", "deleted_at", "latitude", "longitude"):
            continue
        fields |= column_fields(lower_camel(name), sql.kind, row[name])
    if table == "Merchant":
        fields |= merchant_fields(row)
    return fields


def expected_enrichment(info: Row) -> Document:
    """What a live info row gives to its product. Raises `Poison`."""
    fields: Document = {"infoId": info["id"], "infoModifiedAt": milliseconds(info["modified_at"])}
    for name in ("name", "description", "images", "attributes"):
        fields |= column_fields(name, TABLES["ProductInfo"][name].kind, info[name])
    return fields


def lower_camel(column: str) -> str:
    """`sale_channel_id` → `saleChannelId`."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), column)


def column_fields(field: str, kind: str, value: Any) -> Document:
    """The fields of one column."""
    if value is None:
        return {}
    match kind:
        case "localized":
            return localized_fields(field, json.loads(value))
        case "jsonb":
            parsed = stripped(json.loads(value))
            return {} if parsed is None else {field: parsed}
        case "timestamptz":
            return {field: milliseconds(value)}
        case "date":
            return {field: value * 86_400_000}
        case "numeric":
            return {field: float(value), f"{field}Exact": f"{value:.4f}"}
        case "text[]":
            return {field: [member for member in value if member is not None]}
        case _:
            return {field: value}


def localized_fields(field: str, value: Any) -> Document:
    """One flat field a locale."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Poison(f"{field} is no object")
    fields = {}
    for locale, text in value.items():
        if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", locale):
            raise Poison(f"{field} has the locale {locale!r}")
        if text is not None and not isinstance(text, str):
            raise Poison(f"{field} has a value that is no text")
        if text is not None:
            fields[f"{field}_{locale}"] = text
    return fields


def merchant_fields(row: Row) -> Document:
    """What a merchant has beyond its columns."""
    fields: Document = {}
    leaves = [] if row["address"] is None else list(string_leaves(json.loads(row["address"])))
    if leaves:
        fields["addressText"] = ", ".join(leaves)
    coordinates = [row["latitude"], row["longitude"]]
    if any(c is not None and not math.isfinite(c) for c in coordinates):
        raise Poison("a coordinate that is no number")
    if None not in coordinates:
        fields["location"] = coordinates
    return fields


def string_leaves(value: Any) -> Iterator[str]:
    """The string leaves, depth first, keys sorted."""
    if isinstance(value, dict):
        value = [value[name] for name in sorted(value)]
    if isinstance(value, list):
        for member in value:
            yield from string_leaves(member)
    elif isinstance(value, str):
        yield value


def stripped(value: Any) -> Any:
    """Without null members, of objects and arrays, at every level."""
    if isinstance(value, dict):
        return {name: stripped(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [stripped(member) for member in value if member is not None]
    return value


def milliseconds(instant: int) -> int:
    """Microseconds rounded down."""
    return math.floor(Decimal(instant) / 1000)
