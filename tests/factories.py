"""Builders of what the tests are about: records, rows of every table, and how the wire writes them.

A *row* here is what the database holds: text as `str`, jsonb as its JSON text, `timestamptz` as microseconds
and `date` as days since the epoch, `numeric` as `Decimal`. `wire_row` says how Debezium writes it. A value of
any other type is written as it is, so a test can put anything into a column.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from cdc_sync.decoder import JsonDecoder, WireDecoder
from cdc_sync.mappers import MAPPERS
from cdc_sync.model import ABSENT, ChangeEvent, DocumentChange, Headers, Partition, Record, Skip
from cdc_sync.routing import Router
from tests import avro

Row = dict[str, Any]

PREFIX = "nx.seller.public"
PLACEHOLDER = "__debezium_unavailable_value"
DATA = Path(__file__).parent / "data"
FIXTURES = avro.FIXTURES

CREATED_US = 1_767_323_045_678_901
"""2026-01-02T03:04:05.678901Z."""


class Sql(NamedTuple):
    """A column of the seller database."""

    kind: str
    nullable: bool = False


STAMPS = {
    "status": Sql("text"),
    "created_at": Sql("timestamptz"),
    "modified_at": Sql("timestamptz"),
    "deleted_at": Sql("timestamptz", nullable=True),
}

TABLES: dict[str, dict[str, Sql]] = {
    "Organizer": {
        "id": Sql("text"),
        "name": Sql("localized"),
        "slug": Sql("text"),
        "metadata": Sql("jsonb", nullable=True),
        **STAMPS,
    },
    "Merchant": {
        "id": Sql("text"),
        "organizer_id": Sql("text"),
        "name": Sql("localized"),
        "slug": Sql("text"),
        "phone": Sql("text", nullable=True),
        "email": Sql("text", nullable=True),
        "address": Sql("jsonb", nullable=True),
        "latitude": Sql("double", nullable=True),
        "longitude": Sql("double", nullable=True),
        "currency": Sql("text", nullable=True),
        **STAMPS,
    },
    "Category": {
        "id": Sql("text"),
        "merchant_id": Sql("text"),
        "parent_id": Sql("text", nullable=True),
        "name": Sql("localized"),
        "position": Sql("integer", nullable=True),
        **STAMPS,
    },
    "Device": {
        "id": Sql("text"),
        "merchant_id": Sql("text"),
        "sale_channel_id": Sql("text", nullable=True),
        "name": Sql("text"),
        "serial_number": Sql("text", nullable=True),
        "kind": Sql("text", nullable=True),
        "is_online": Sql("boolean"),
        "last_seen_at": Sql("timestamptz", nullable=True),
        **STAMPS,
    },
    "SaleChannel": {
        "id": Sql("text"),
        "merchant_id": Sql("text"),
        "name": Sql("localized"),
        "kind": Sql("text"),
        "is_default": Sql("boolean"),
        **STAMPS,
    },
    "Product": {
        "id": Sql("text"),
        "merchant_id": Sql("text"),
        "category_id": Sql("text", nullable=True),
        "sku": Sql("text"),
        "barcode": Sql("text", nullable=True),
        "kind": Sql("text"),
        "base_price": Sql("numeric", nullable=True),
        "tags": Sql("text[]", nullable=True),
        "stock": Sql("bigint", nullable=True),
        "is_available": Sql("boolean"),
        "available_from": Sql("date", nullable=True),
        **STAMPS,
    },
    "ProductInfo": {
        "id": Sql("text"),
        "product_id": Sql("text"),
        "name": Sql("localized"),
        "description": Sql("localized", nullable=True),
        "images": Sql("text[]", nullable=True),
        "attributes": Sql("jsonb", nullable=True),
        **{name: sql for name, sql in STAMPS.items() if name != "status"},
    },
}

DEFAULTS = {
    "text": "a",
    "localized": '{"en": "A", "vi": "Á"}',
    "jsonb": '{"a": 1}',
    "double": 1.5,
    "integer": 1,
    "bigint": 1,
    "boolean": True,
    "numeric": Decimal("12.5000"),
    "text[]": ["a"],
    "date": 1,
    "timestamptz": CREATED_US,
}


def row(table: str, **columns: Any) -> Row:
    """A live row of this table with a value in every column, but for those that are given."""
    plain = {name: DEFAULTS[sql.kind] for name, sql in TABLES[table].items()}
    return {**plain, "deleted_at": None, **columns}


# How the wire writes a row ------------------------------------------------------------------------------


Shape = Literal["plain", "schema", "avro", "unwrapped", "unwrapped-schema", "unwrapped-avro"]
SHAPES = get_args(Shape)


class Wire(NamedTuple):
    """One way to write events: the shape of the value, and `decimal.handling.mode`."""

    shape: Shape = "plain"
    decimals: Literal["precise", "string", "double"] = "string"

    @property
    def has_schema(self) -> bool:
        """Whether messages say what their values mean."""
        return self.shape.endswith(("schema", "avro"))


PLAIN = Wire()
WIRES = [Wire(shape, decimals) for shape in SHAPES for decimals in ("precise", "string", "double")]


def iso(microseconds: int) -> str:
    """A `timestamptz` as Debezium writes it: ISO 8601, UTC, astronomical years, six places."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    days, second = divmod(seconds, 86_400)
    year, month, day = civil(days)
    signed = f"{year:04d}" if year >= 0 else f"-{-year:04d}"
    printed = f"+{year}" if year > 9999 else signed
    clock = f"{second // 3600:02d}:{second % 3600 // 60:02d}:{second % 60:02d}"
    return f"{printed}-{month:02d}-{day:02d}T{clock}.{fraction:06d}Z"


def civil(days: int) -> tuple[int, int, int]:
    """Year, month, day of a day since the epoch, in the proleptic Gregorian calendar (Howard Hinnant's)."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return (
        year_of_era + era * 400 + (month <= 2),
        month,
        day_of_year - (153 * shifted + 2) // 5 + 1,
    )


def base64_of(unscaled: int) -> str:
    """Connect's `Decimal` in JSON: base64 of the big-endian two's complement, as short as Java makes it."""
    length = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return base64.b64encode(unscaled.to_bytes(length, "big", signed=True)).decode()


def wire_value(kind: str, value: Any, wire: Wire) -> Any:
    """A column's value as it stands in the JSON of an event."""
    if kind == "timestamptz" and type(value) is int:
        return iso(value)
    if kind == "numeric" and isinstance(value, Decimal):
        match wire.decimals:
            case "precise":
                return base64_of(int(value.scaleb(4)))
            case "string":
                return f"{value:.4f}"
            case "double":
                return float(value)
    if kind == "double" and isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def wire_row(table: str, row: Mapping[str, Any], wire: Wire = PLAIN) -> Row:
    """The row's columns as an event has them."""
    kinds = TABLES[table]
    return {name: wire_value(kinds[name].kind if name in kinds else "", v, wire) for name, v in row.items()}


def column_schema(name: str, sql: Sql, wire: Wire) -> dict[str, Any]:
    """A column's Connect schema."""
    spec: dict[str, Any]
    match sql.kind:
        case "numeric" if wire.decimals == "precise":
            spec = {
                "type": "bytes",
                "name": "org.apache.kafka.connect.data.Decimal",
                "version": 1,
                "parameters": {"scale": "4", "connect.decimal.precision": "18"},
            }
        case "numeric":
            spec = {"type": "string" if wire.decimals == "string" else "double"}
        case "localized" | "jsonb":
            spec = {"type": "string", "name": "io.debezium.data.Json", "version": 1}
        case "timestamptz":
            spec = {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1}
        case "date":
            spec = {"type": "int32", "name": "io.debezium.time.Date", "version": 1}
        case "text[]":
            spec = {"type": "array", "items": {"type": "string", "optional": True}}
        case other:
            kinds = {"text": "string", "double": "double", "integer": "int32", "bigint": "int64"}
            spec = {"type": kinds.get(other, other)}
    return {**spec, "optional": sql.nullable, "field": name}


SOURCE = {
    "type": "struct",
    "name": "io.debezium.connector.postgresql.Source",
    "field": "source",
    "fields": [
        {"type": "string", "field": "version"},
        {"type": "int64", "optional": True, "field": "ts_ms"},
        {"type": "string", "name": "io.debezium.data.Enum", "optional": True, "field": "snapshot"},
        {"type": "string", "field": "table"},
    ],
}


def value_schema(table: str, wire: Wire) -> dict[str, Any]:
    """The Connect schema of a value."""
    fields = [column_schema(name, sql, wire) for name, sql in TABLES[table].items()]
    if wire.shape.startswith("unwrapped"):
        extra = [{"type": "string", "optional": True, "field": name} for name in ("__deleted", "__op")]
        extra.append({"type": "int64", "optional": True, "field": "__source_ts_ms"})
        return {"type": "struct", "fields": fields + extra, "optional": False, "name": f"{table}.Value"}
    rows = [
        {"type": "struct", "fields": fields, "optional": True, "name": f"{table}.Value", "field": name}
        for name in ("before", "after")
    ]
    rest = [
        {"type": "string", "optional": True, "field": "transaction"},
        {"type": "string", "optional": False, "field": "op"},
        {"type": "int64", "optional": True, "field": "ts_ms"},
    ]
    return {
        "type": "struct",
        "fields": [*rows, SOURCE, *rest],
        "optional": False,
        "name": f"{table}.Envelope",
    }


def value_bytes(
    table: str,
    op: str,
    after: Mapping[str, Any] | None,
    wire: Wire = PLAIN,
    *,
    source_ts_ms: int | None = 1_700_000_000_000,
) -> bytes:
    """The value of an event. Of an unwrapped delete, the row is filled with what Debezium makes up."""
    columns = None if after is None else wire_row(table, after, wire)
    payload: dict[str, Any]
    if wire.shape.startswith("unwrapped"):
        made_up = {"id": "", "name": "", "created_at": "1970-01-01T00:00:00.000000Z"}
        deleted = "true" if op == "d" else "false"
        payload = {**(columns or made_up), "__deleted": deleted, "__op": op, "__source_ts_ms": source_ts_ms}
    else:
        before = {"id": "", "name": ""} if op == "d" else None
        source = {"version": "3.6.3.Final", "ts_ms": source_ts_ms, "snapshot": "false", "table": table}
        payload = {"before": before, "after": columns, "source": source, "transaction": None}
        payload |= {"op": op, "ts_ms": 1_700_000_000_999}
    return in_wire(value_schema(table, wire), payload, wire)


def key_bytes(key: Mapping[str, Any], wire: Wire = PLAIN) -> bytes:
    """A record's key."""
    fields = [{"type": "string", "optional": False, "field": name} for name in key]
    schema = {"type": "struct", "fields": fields, "optional": False, "name": "Key"}
    return in_wire(schema, key, wire)


def in_wire(schema: Mapping[str, Any], payload: Mapping[str, Any], wire: Wire) -> bytes:
    """What the converter makes of a value of Connect."""
    if wire.shape.endswith("avro"):
        return avro.framed(avro.avro_schema(schema), avro.as_datum(schema, payload))
    return as_json({"schema": schema, "payload": payload} if wire.has_schema else payload)


def as_json(value: object) -> bytes:
    """JSON as Jackson writes it: compact, beyond ASCII as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# Records -------------------------------------------------------------------------------------


def record(
    table: str = "Organizer",
    key: bytes | None = b'{"id":"a"}',
    value: bytes | None = None,
    *,
    topic: str | None = None,
    partition: int = 0,
    offset: int = 0,
    headers: Headers = (),
    timestamp_ms: int = 0,
) -> Record:
    """A record of this table's topic."""
    where = Partition(topic or f"{PREFIX}.{table}", partition)
    return Record(where, offset, key, value, lambda: (1, timestamp_ms), lambda: headers)


def change(
    table: str, op: str, row: Mapping[str, Any], wire: Wire = PLAIN, *, partition: int = 0, offset: int = 0
) -> Record:
    """The record of one change of this row; a delete has its key only."""
    key = key_bytes({"id": row["id"]}, wire)
    value = value_bytes(table, op, None if op == "d" else row, wire)
    return record(table, key, value, partition=partition, offset=offset)


def tombstone(table: str, row_id: str, wire: Wire = PLAIN) -> Record:
    """What follows a delete."""
    return record(table, key_bytes({"id": row_id}, wire), None)


# What the package makes of them --------------------------------------------------------------------------

MAPPER_OF = {mapper.table: mapper for mapper in MAPPERS}


def json_decoder(prefix: str = PREFIX) -> JsonDecoder:
    """A decoder of the seven tables that has seen nothing yet."""
    return JsonDecoder(prefix, Router(MAPPERS).reads)


def columns(event: ChangeEvent) -> Row | None:
    """The columns that an event has, by name."""
    if event.after is None:
        return None
    named = zip(MAPPER_OF[event.table].reads, event.after, strict=True)
    return {name: value for name, value in named if value is not ABSENT}


def wire_decoder(prefix: str = PREFIX) -> WireDecoder:
    """The same, of Avro too, with the schemas of `tests.avro`."""
    return WireDecoder(prefix, Router(MAPPERS).reads, None, avro.SCHEMAS)


@cache
def common_decoder(prefix: str) -> WireDecoder:
    """One for all tests of a topic prefix: making one costs more than a test's own work."""
    return wire_decoder(prefix)


def mapped(record: Record) -> DocumentChange | Skip:
    """What a record asks for: decoded and mapped. Raises `RecordError`."""
    event = common_decoder(record.partition.topic.rpartition(".")[0]).decode(record)
    return event if isinstance(event, Skip) else MAPPER_OF[event.table].map(event)
