"""Avro in the Confluent wire format to a `ChangeEvent`, by the schema that each message names.

The same events as from JSON: bytes as base64, a Decimal as what its schema says, placeholders marked. A new
id in the middle of a topic is a new writer schema, and nothing else; nothing is resolved against a schema
of ours, since columns are taken by their names.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException, UnknownType

from cdc_sync.decoder.json import WITH_ROW, ReadKey, json_key, schema_in_headers
from cdc_sync.decoder.unrolled import (
    Named,
    NotUnrolled,
    ReadFields,
    Schema,
    Take,
    kind_of,
    nullable,
    resolved,
    unrolled,
)
from cdc_sync.envelope import (
    Envelope,
    Meaning,
    Placeholder,
    Source,
    change_event,
    column_meanings,
    key_of,
    unwrapped_event,
)
from cdc_sync.errors import DecodeError
from cdc_sync.framing import (
    APICURIO,
    HEAD_BYTES,
    head_of,
    is_framed,
    names_schema_in_headers,
    schema_id,
)
from cdc_sync.model import ABSENT, ChangeEvent, Key, Operation, Record
from cdc_sync.protocols import Reads, Schemas

__all__ = ["AvroKeys", "AvroTable", "whole_value"]

Convert = Callable[[Any], Any]
Shape = Callable[[Record, bytes], ChangeEvent]

UNREADABLE: Final = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, EOFError, OverflowError, MemoryError,
    RecursionError, struct.error,
)  # fmt: skip
"""What our reader and fastavro's raise for bytes that are not what the schema says."""
NO_SCHEMA: Final = (*UNREADABLE, SchemaParseException, UnknownType, ArithmeticError)
"""What is raised for a text that is no Avro schema."""

LOGICAL: Final = {
    "decimal": "org.apache.kafka.connect.data.Decimal",
    "timestamp-millis": "org.apache.kafka.connect.data.Timestamp",
    "timestamp-micros": "io.debezium.time.MicroTimestamp",
    "timestamp-nanos": "io.debezium.time.NanoTimestamp",
}
"""Avro's own logical types as Connect's names, for a converter that leaves those out."""


# Schemas ------------------------------------------------------------------------------------------------


class WriterSchema:
    """A schema of a registry, ready to read with; `named` are the records in it by their full names."""

    def __init__(self, schema: Schema, named: Named) -> None:
        self.schema = schema
        self.named = named

    def fields(self, schema: Schema) -> Mapping[str, Schema]:
        """Name → schema of a record's fields (of one that may be null, too); none of what is no record."""
        record = resolved(nullable(resolved(schema, self.named))[0], self.named)
        return {f["name"]: f["type"] for f in record["fields"]} if kind_of(record) == "record" else {}

    def column(self, name: str, schema: Schema) -> Mapping[str, Any]:
        """A column's schema in the words of Connect's JSON, as `column_meanings` wants it."""
        kind = resolved(nullable(resolved(schema, self.named))[0], self.named)
        if not isinstance(kind, dict):
            return {"field": name}
        return {
            "field": name,
            "name": kind.get("connect.name", LOGICAL.get(kind.get("was.logicalType", ""))),
            "parameters": kind.get("connect.parameters", {"scale": kind.get("scale", 0)}),
        }

    def reader(self, takes: Sequence[Take]) -> ReadFields:
        """The function that reads these fields: written out, or by fastavro where it has odd types."""
        try:
            return unrolled(self.schema, self.named, takes)
        except NotUnrolled:
            return lambda raw: picked(self.read(raw), takes)

    def read(self, raw: bytes) -> Any:
        """A framed message by fastavro: everything in it, as Python has it."""
        stream = io.BytesIO(raw)
        stream.seek(HEAD_BYTES)
        datum: Any = schemaless_reader(stream, self.schema)
        if stream.tell() != len(raw):
            raise ValueError(f"{len(raw) - stream.tell()} bytes are left over")
        return datum

    def as_json(self, schema: Schema) -> Convert | None:
        """How a value becomes what Connect's JSON would have; None where it is that already."""
        schema = resolved(schema, self.named)
        value, null = nullable(schema)
        if null is not None:
            return self.as_json(value)
        match kind_of(schema):
            case "bytes" | "fixed":
                return base64_text
            case "float":
                return shortest
            case "array" | "map" as kind:
                return within(self.as_json(schema["items" if kind == "array" else "values"]))
            case "record":
                inners = {n: c for n, s in self.fields(schema).items() if (c := self.as_json(s)) is not None}
                return (lambda members: converted(members, inners)) if inners else None
        return None


def writer_schema(texts: Sequence[str]) -> WriterSchema:
    """The last of these schemas, which may refer to the others. Raises `DecodeError`."""
    named: dict[str, Any] = {}
    parsed: Schema = "null"
    try:
        for text in texts:
            parsed = parse_schema(without_logic(json.loads(text)), named)
    except NO_SCHEMA as error:
        raise DecodeError(f"the registry's schema is not understood: {error}") from error
    return WriterSchema(parsed, named)


def without_logic(schema: Any) -> Any:
    """The schema without what fastavro would act on: logical types (ours are exact) and defaults."""
    if isinstance(schema, list):
        return [without_logic(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: value for name, value in schema.items() if name not in ("logicalType", "default")}
    if "logicalType" in schema:
        plain["was.logicalType"] = schema["logicalType"]
    for name in ("type", "items", "values", "fields"):
        if name in plain:
            plain[name] = without_logic(plain[name])
    return plain


def picked(datum: Any, takes: Sequence[Take]) -> tuple[Any, ...]:
    """The taken fields of what fastavro has read, as the written-out function gives them."""
    values = []
    for take in takes:
        value = datum.get(take.name, ABSENT)
        if value is not None and value is not ABSENT:
            if take.inside:
                value = picked(value, take.inside)
            if take.convert is not None:
                value = take.convert(value)
        values.append(value)
    return tuple(values)


def base64_text(raw: bytes) -> str:
    """Bytes as Connect's JSON has them."""
    return base64.b64encode(raw).decode()


def shortest(number: float) -> float:
    """A float of 32 bits by its shortest digits, as JSON has it: 1.1, not 1.100000023841858."""
    if number - number != 0:  # infinite, or none
        return number
    wanted = struct.pack("<f", number)
    texts = (f"{number:.{digits}g}" for digits in range(6, 10))
    return next((f for t in texts if struct.pack("<f", f := float(t)) == wanted), number)


def within(convert: Convert | None) -> Convert | None:
    """The conversion of each member of an array or map; None where members need none."""
    if convert is None:
        return None

    def each(members: Any) -> Any:
        if isinstance(members, dict):
            return {name: None if m is None else convert(m) for name, m in members.items()}
        return [None if m is None else convert(m) for m in members]

    return each


def converted(members: Mapping[str, Any], inners: Mapping[str, Convert]) -> dict[str, Any]:
    """A record's fields, each by its own conversion."""
    return {n: inners[n](m) if n in inners and m is not None else m for n, m in members.items()}


# Values -------------------------------------------------------------------------------------------------


class AvroTable:
    """The decoder of one table's events. Every schema is looked at once."""

    def __init__(
        self, table: str, reads: Reads, placeholder: Placeholder, schemas: Schemas, read_key: ReadKey
    ) -> None:
        self._table = table
        self._reads = reads.columns
        self._key = frozenset(reads.columns.index(name) for name in reads.key)
        self._placeholder = placeholder
        self._schemas = schemas
        self._read_key = read_key
        self.shapes: dict[bytes, Shape] = {}
        """The functions that read values, by the head of those; `learned` adds to them."""

    def learned(self, record: Record, value: bytes) -> Shape:
        """The function that reads values with the schema of this one. Raises as its call does.

        It raises `DecodeError`, and `TransientError` where a key's schema cannot be asked for.
        """
        schema = found_schema(self._schemas, record, value, "value")
        fields = schema.fields(schema.schema)
        try:
            if "__op" in fields or "__deleted" in fields:
                shape = self._unwrapped(schema, fields)
            else:
                shape = self._envelope(schema, fields)
        except NO_SCHEMA as error:
            raise no_schema(value, error) from error
        self.shapes[head_of(value)] = shape
        return shape

    def _envelope(self, schema: WriterSchema, fields: Mapping[str, Schema]) -> Shape:
        columns = self._columns(schema, schema.fields(fields.get("after", "null")))
        ts_ms = schema.fields(fields.get("source", "null")).get("ts_ms", "long")
        if kind_of(nullable(ts_ms)[0]) not in ("int", "long"):
            raise ValueError("`source.ts_ms` is no number")
        read = schema.reader(
            (Take("op"), Take("source", inside=(Take("ts_ms"),)), Take("after", None, columns))
        )
        table, key, placeholder = self._table, self._key, self._placeholder
        may_be_partial = placeholder.in_avro

        def shape(record: Record, value: bytes) -> ChangeEvent:
            try:
                op, source, after = read(value)
                operation = WITH_ROW.get(op)
            except UNREADABLE as error:
                raise unreadable(value, "value", error) from error
            committed_ms = source[0] if type(source) is tuple and source[0] is not ABSENT else None
            if operation is None or type(after) is not tuple:
                return self._without_row(record, op, committed_ms)
            if may_be_partial(value):
                after = placeholder.marked(after, key)
            return ChangeEvent(table, operation, None, after, committed_ms)

        return shape

    def _without_row(self, record: Record, op: Any, ts_ms: int | None) -> ChangeEvent:
        """A delete, or an event that is no change of a row."""
        key = self._read_key(record) if op == Operation.DELETE.value else None
        return change_event(self._table, Envelope(op=op, source=Source(ts_ms)), key, None)

    def _unwrapped(self, schema: WriterSchema, fields: Mapping[str, Schema]) -> Shape:
        """A row by `ExtractNewRecordState`."""
        words = ("__op", "__deleted", "__source_ts_ms")
        read = schema.reader((*map(Take, words), *self._columns(schema, fields)))

        def shape(record: Record, value: bytes) -> ChangeEvent:
            try:
                values = read(value)
            except UNREADABLE as error:
                raise unreadable(value, "value", error) from error
            after = values[len(words) :]
            if self._placeholder.in_avro(value):
                after = self._placeholder.marked(after, self._key)
            row = {name: v for name, v in zip(words, values, strict=False) if v is not ABSENT}
            return unwrapped_event(self._table, row, after, lambda: self._read_key(record))

        return shape

    def _columns(self, schema: WriterSchema, fields: Mapping[str, Schema]) -> tuple[Take, ...]:
        """The columns that the mapper reads, with what their schema says of their values."""
        mine = {name: fields[name] for name in self._reads if name in fields}
        meanings = column_meanings([schema.column(*column) for column in mine.items()])
        converts = {name: schema.as_json(column) for name, column in mine.items()}
        converts |= {name: meant(name, meaning) for name, meaning in meanings.items()}
        return tuple(Take(name, converts.get(name)) for name in self._reads)


def meant(column: str, meaning: Meaning) -> Convert:
    """The meaning, with the column in the reason where a value has none."""

    def convert(value: Any) -> Any:
        try:
            return meaning(value)
        except (AttributeError, TypeError, ValueError, KeyError, ArithmeticError) as error:
            raise DecodeError(f"column {column}: {value!r} is not what its schema says") from error

    return convert


# Keys ---------------------------------------------------------------------------------------------------


class AvroKeys:
    """Reads keys: in the Confluent wire format, or JSON, whatever the value of the record is."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._known: dict[bytes, Callable[[bytes], Any]] = {}

    def read(self, record: Record) -> Key:
        """The key's columns. Raises `DecodeError`, `TransientError`."""
        raw = record.key
        if raw is None or not is_framed(raw):
            return json_key(record)
        read = self._known.get(head_of(raw))
        if read is None:
            schema = found_schema(self._schemas, record, raw, "key")
            try:
                read = self._known[head_of(raw)] = key_reader(schema)
            except NO_SCHEMA as error:
                raise no_schema(raw, error) from error
        try:
            return key_of(read(raw))
        except UNREADABLE as error:
            raise unreadable(raw, "key", error) from error


def key_reader(schema: WriterSchema) -> Callable[[bytes], Any]:
    """Reads a key as JSON would have it."""
    columns = schema.fields(schema.schema)
    if not columns:
        return schema.read  # no record: `key_of` says what is wrong with it
    read = schema.reader([Take(name, schema.as_json(column)) for name, column in columns.items()])
    return lambda raw: dict(zip(columns, read(raw), strict=True))


def whole_value(schemas: Schemas, raw: bytes) -> Any:
    """All of a framed message as JSON would have it. Raises `DecodeError`, `TransientError`."""
    schema = writer_schema(schemas.find(schema_id(raw)))
    try:
        convert = schema.as_json(schema.schema)
        found = schema.read(raw)
    except UNREADABLE as error:
        raise unreadable(raw, "message", error) from error
    return found if convert is None or found is None else convert(found)


# Reasons ------------------------------------------------------------------------------------------------


def found_schema(schemas: Schemas, record: Record, raw: bytes, what: str) -> WriterSchema:
    """The schema that a key or value names. Raises `DecodeError`, `TransientError`."""
    if len(raw) < HEAD_BYTES:
        raise DecodeError(f"the {what} is cut short: {len(raw)} bytes, where five say which schema it has")
    if names_schema_in_headers(record.headers):
        raise DecodeError(schema_in_headers(what))
    if schema_id(raw) == 0:
        raise DecodeError(
            f"the {what} names the schema 0, which no registry gives out; it may be an id of eight bytes: "
            f"{APICURIO}"
        )
    return writer_schema(schemas.find(schema_id(raw)))


def no_schema(raw: bytes, error: Exception) -> DecodeError:
    """A reason for a schema that says nothing about a row."""
    return DecodeError(f"schema {schema_id(raw)} is not one that Connect writes: {error}")


def unreadable(raw: bytes, what: str, error: Exception) -> DecodeError:
    """A reason that names the schema."""
    return DecodeError(
        f"the {what} is not what its schema {schema_id(raw)} says: {error or type(error).__name__}"
    )
