"""JSON by Connect's JsonConverter, with and without schema, to a `ChangeEvent`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from cdc_sync.envelope import (
    HAVE_AFTER,
    Envelope,
    Meaning,
    Placeholder,
    change_event,
    key_of,
    unwrapped_event,
    value_meanings,
)
from cdc_sync.errors import DecodeError
from cdc_sync.framing import APICURIO, is_framed, names_schema_in_headers
from cdc_sync.model import ABSENT, ChangeEvent, Key, Operation, Record, Row, Skip
from cdc_sync.protocols import Read, Reads

__all__ = ["WITH_ROW", "JsonDecoder", "ReadKey", "json_key", "schema_in_headers"]

ReadKey = Callable[[Record], Key]
"""A record's key columns. Raises `DecodeError`."""

SIDE_TOPIC: Final = Skip("side_topic")
UNROUTED: Final = Skip("unrouted")
DELETE: Final = Operation.DELETE.value
WITH_ROW: Final[Mapping[Any, Operation]] = {op.value: op for op in HAVE_AFTER}
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON of ours; the last of them for bottomless nesting."""

anything = msgspec.json.Decoder().decode
anything_as_bytes = msgspec.json.Encoder().encode
values_of = msgspec.structs.astuple


class JsonDecoder:
    """Debezium events by Connect's JsonConverter, `schemas.enable` true or false.

    `reads` are the columns to decode, by table; a table that is not among them is skipped as unrouted.
    `topic_prefix` is what precedes the table in a topic's name (`nx.seller.public`); records of topics
    outside it are skipped as side topics (heartbeats, transaction metadata). Keys may be in another format
    than values: `read_key` reads them.
    """

    def __init__(
        self,
        topic_prefix: str,
        reads: Mapping[str, Reads],
        placeholder: Placeholder | None = None,
        read_key: ReadKey | None = None,
    ) -> None:
        placeholder = placeholder or Placeholder()
        prefix = topic_prefix.rstrip(".") + "."
        self._prefix = prefix
        self._read_key = read_key or json_key
        self._tables = {
            prefix + table: JsonTable(table, columns, placeholder, self._read_key)
            for table, columns in reads.items()
        }

    def decode(self, record: Record) -> ChangeEvent | Skip:
        """The record's change event, or why it has none. Raises `DecodeError`."""
        return self.reader(record.partition.topic)(record)

    def identity(self, record: Record) -> bytes | None:
        """The row that a record is about, by its key; None where the key does not tell.

        Raises `TransientError` where the key's schema cannot be asked for.
        """
        try:
            return anything_as_bytes(sorted(self._read_key(record).items()))
        except DecodeError:
            return None

    def reader(self, topic: str) -> Read:
        """The function that decodes the records of one topic."""
        table = self._tables.get(topic)
        if table is not None:
            return table.decode
        skip = UNROUTED if topic.startswith(self._prefix) else SIDE_TOPIC
        return lambda _: skip


class JsonTable:
    """The decoder of one table's events."""

    def __init__(self, table: str, reads: Reads, placeholder: Placeholder, read_key: ReadKey) -> None:
        self._table = table
        self._read_key = read_key
        self._reads = reads.columns
        self._key = frozenset(reads.columns.index(name) for name in reads.key)
        self._index = {name: n for n, name in enumerate(reads.columns)}
        self._placeholder = placeholder
        self._may_be_partial = placeholder.in_bytes
        self._decode = msgspec.json.Decoder(Envelope[row_type(self._reads)]).decode  # type: ignore[misc]
        self._meanings: dict[bytes, dict[int, Meaning]] = {}

    def decode(self, record: Record) -> ChangeEvent:
        """The record's change event. Raises `DecodeError`."""
        value = record.value
        if value is None:
            return self._tombstone(record)
        try:
            envelope = self._decode(value)
            operation = WITH_ROW.get(envelope.op)
            if operation is None or not envelope.after:
                return self._other_shape(record, value, envelope)
        except UNREADABLE as error:
            return self._misread(record, value, error)
        after = values_of(envelope.after)
        if self._may_be_partial(value):
            after = self._placeholder.marked(after, self._key)
        source = envelope.source
        return ChangeEvent(self._table, operation, None, after, source.ts_ms if source else None)

    def _tombstone(self, record: Record) -> ChangeEvent:
        return ChangeEvent(self._table, Operation.TOMBSTONE, self._read_key(record), None)

    def _other_shape(self, record: Record, value: bytes, envelope: Envelope[Any]) -> ChangeEvent:
        """A delete, with a schema around it, unwrapped, or nothing that we know."""
        if envelope.is_unwrapped:
            return self._unwrapped(record, value, anything(value), {})
        if envelope.op is not UNSET:
            key = self._read_key(record) if envelope.op == DELETE else None
            return change_event(self._table, envelope, key, None)
        payload = envelope.payload
        if payload is None:
            return self._tombstone(record)
        if isinstance(payload, Envelope):
            return self._with_schema(record, value, self._meanings_of(envelope), payload)
        return change_event(self._table, envelope, None, None)

    def _misread(self, record: Record, value: bytes, error: Exception) -> ChangeEvent:
        """A row that is unwrapped may have a column with a name of the envelope's and a value of its own."""
        try:
            row = anything(value)
        except UNREADABLE as unreadable:
            raise undecodable(record, value, unreadable) from unreadable
        if isinstance(row, dict) and ("__op" in row or "__deleted" in row):
            return self._unwrapped(record, value, row, {})
        raise undecodable(record, value, error) from error

    def _with_schema(
        self, record: Record, value: bytes, meanings: dict[int, Meaning], payload: Envelope[Any]
    ) -> ChangeEvent:
        if payload.is_unwrapped:
            return self._unwrapped(record, value, anything(value)["payload"], meanings)
        after = None
        if payload.after:
            after = self._understood(value, values_of(payload.after), meanings)
        key = self._read_key(record) if payload.op == DELETE else None
        return change_event(self._table, payload, key, after)

    def _unwrapped(
        self, record: Record, value: bytes, row: Mapping[str, Any], meanings: dict[int, Meaning]
    ) -> ChangeEvent:
        after = tuple(row.get(name, ABSENT) for name in self._reads)
        after = self._understood(value, after, meanings)
        return unwrapped_event(self._table, row, after, lambda: self._read_key(record))

    def _understood(self, value: bytes, row: Row, meanings: dict[int, Meaning]) -> Row:
        """The row with placeholders marked, and values as their schema means them."""
        if self._may_be_partial(value):
            row = self._placeholder.marked(row, self._key)
        if not meanings:
            return row
        values = list(row)
        for index, meaning in meanings.items():
            values[index] = self._meant(meaning, values[index], index)
        return tuple(values)

    def _meant(self, meaning: Meaning, value: Any, index: int) -> Any:
        if not isinstance(value, (str, int, dict)):
            return value  # null, absent or unavailable: nothing to understand
        try:
            return meaning(value)
        except (AttributeError, TypeError, ValueError, KeyError, ArithmeticError) as error:
            column = self._reads[index]
            raise DecodeError(f"column {column}: {value!r} is not what its schema says") from error

    def _meanings_of(self, envelope: Envelope[Any]) -> dict[int, Meaning]:
        """By the identity of the schema's bytes: Connect repeats them in every message."""
        raw = bytes(envelope.table_schema) if isinstance(envelope.table_schema, msgspec.Raw) else b"null"
        meanings = self._meanings.get(raw)
        if meanings is None:
            schema = anything(raw)
            try:
                found: dict[str, Meaning] = value_meanings(schema) if isinstance(schema, dict) else {}
            except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
                raise DecodeError("the schema is not one that Connect writes") from error
            meanings = {self._index[name]: m for name, m in found.items() if name in self._index}
            self._meanings[raw] = meanings
        return meanings


def row_type(reads: Sequence[str]) -> type[msgspec.Struct]:
    """A struct of these columns; any name is allowed, any value, and none is required."""
    fields: list[tuple[str, Any, Any]] = [(f"c{n}", Any, ABSENT) for n in range(len(reads))]
    names = {f"c{n}": name for n, name in enumerate(reads)}
    return msgspec.defstruct("Columns", fields, rename=names, gc=False)


def json_key(record: Record) -> Key:
    """The key's columns. Raises `DecodeError`."""
    if record.key is None:
        raise DecodeError("a delete without a key: the row cannot be told")
    try:
        return key_of(anything(record.key))
    except UNREADABLE as error:
        raise undecodable(record, record.key, error, what="key") from error


def undecodable(record: Record, raw: bytes, error: Exception, what: str = "value") -> DecodeError:
    """A reason that tells an operator what to do, not only what a parser met."""
    if names_schema_in_headers(record.headers):
        return DecodeError(schema_in_headers(what))
    if is_framed(raw):
        return DecodeError(
            f"the {what} is in the Confluent wire format (Avro): set CDC_SYNC_SCHEMA_REGISTRY__URL to read it"
        )
    return DecodeError(f"the {what} is not JSON that Debezium writes: {error}")


def schema_in_headers(what: str) -> str:
    """The reason why bare Avro is not read."""
    return f"the {what} is bare Avro, whose schema is named in headers: {APICURIO}"
