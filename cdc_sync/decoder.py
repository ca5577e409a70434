"""Bytes of a record to a `ChangeEvent`: JSON with and without schema, told apart message by message.

A new wire format is one more class with `decode`; `Decoder` asks the first byte which one reads it.
Nothing here waits for anything but a schema registry.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cdc_sync.envelope import (
    Envelope,
    Meaning,
    Placeholder,
    change_event,
    key_of,
    unwrapped_event,
    value_meanings,
)
from cdc_sync.errors import DecodeError
from cdc_sync.model import ChangeEvent, Operation, Record, Row, Skip

__all__ = ["JsonDecoder"]

CONFLUENT_MAGIC: Final = b"\x00"
KEY_OPERATIONS: Final = frozenset({"d"})


class JsonDecoder:
    """Debezium events by Connect's JsonConverter, `schemas.enable` true or false.

    `topic_prefix` is what precedes the table in a topic's name (`nx.seller.public`); records of topics
    outside it are skipped as side topics (heartbeats, transaction metadata, signals).
    """

    def __init__(self, topic_prefix: str, placeholder: Placeholder | None = None) -> None:
        self._prefix = topic_prefix.rstrip(".") + "."
        self._placeholder = placeholder or Placeholder()
        self._envelopes = msgspec.json.Decoder(Envelope)
        self._anything = msgspec.json.Decoder()
        self._tables: dict[str, str | None] = {}
        self._meanings: dict[bytes, dict[str, Meaning]] = {}

    def decode(self, record: Record) -> ChangeEvent | Skip:
        """The record's change event, or why it has none. Raises `DecodeError`."""
        table = self._table_of(record.partition.topic)
        if table is None:
            return Skip("side_topic")
        value = record.value
        if value is None:
            return ChangeEvent(table, Operation.TOMBSTONE, self._key(record), None)
        try:
            envelope = self._envelopes.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise undecodable(value, error) from error
        if isinstance(envelope.payload, Envelope):
            return self._with_schema(table, record, envelope, envelope.payload)
        if envelope.payload is None:
            return ChangeEvent(table, Operation.TOMBSTONE, self._key(record), None)
        if envelope.is_unwrapped:
            return self._unwrapped(table, record, value, envelope)
        if self._placeholder.in_bytes(value) and envelope.after:
            envelope.after = self._placeholder.marked(envelope.after)
        key = self._key(record) if envelope.op in KEY_OPERATIONS else None
        return change_event(table, envelope, key)

    def _with_schema(
        self, table: str, record: Record, outer: Envelope, payload: Envelope
    ) -> ChangeEvent | Skip:
        meanings = self._meanings_of(outer)
        value = record.value or b""
        if payload.is_unwrapped:
            return self._unwrapped(table, record, value, payload, meanings)
        if payload.after:
            if self._placeholder.in_bytes(value):
                payload.after = self._placeholder.marked(payload.after)
            payload.after = understood(payload.after, meanings)
        key = self._key(record) if payload.op in KEY_OPERATIONS else None
        return change_event(table, payload, key)

    def _unwrapped(
        self,
        table: str,
        record: Record,
        value: bytes,
        envelope: Envelope,
        meanings: dict[str, Meaning] | None = None,
    ) -> ChangeEvent:
        row = self._anything.decode(value)
        row = row["payload"] if meanings is not None else row
        if self._placeholder.in_bytes(value):
            row = self._placeholder.marked(row)
        deleted = str(envelope.unwrapped_deleted).lower() == "true" or envelope.unwrapped_op == "d"
        key = self._key(record) if deleted else None
        return unwrapped_event(table, understood(row, meanings or {}), key)

    def _meanings_of(self, envelope: Envelope) -> dict[str, Meaning]:
        """By the identity of the schema's bytes: Connect repeats them in every message."""
        raw = bytes(envelope.table_schema) if isinstance(envelope.table_schema, msgspec.Raw) else b"null"
        meanings = self._meanings.get(raw)
        if meanings is None:
            schema = self._anything.decode(raw)
            meanings = value_meanings(schema) if isinstance(schema, dict) else {}
            self._meanings[raw] = meanings
        return meanings

    def _key(self, record: Record) -> Row:
        if record.key is None:
            raise DecodeError("a delete without a key: the row cannot be told")
        try:
            return key_of(self._anything.decode(record.key))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise undecodable(record.key, error, what="key") from error

    def _table_of(self, topic: str) -> str | None:
        try:
            return self._tables[topic]
        except KeyError:
            table = topic.removeprefix(self._prefix) if topic.startswith(self._prefix) else None
            self._tables[topic] = table
            return table


def understood(row: dict[str, Any], meanings: dict[str, Meaning]) -> dict[str, Any]:
    """The row with the values of these columns as their schema means them. Raises `DecodeError`."""
    for column, meaning in meanings.items():
        value = row.get(column)
        if value is None or not isinstance(value, (str, int, dict)):
            continue  # null, or unavailable: nothing to understand
        try:
            row[column] = meaning(value)
        except (TypeError, ValueError, KeyError, ArithmeticError) as error:
            raise DecodeError(f"column {column}: {value!r} is not what its schema says") from error
    return row


def undecodable(raw: bytes, error: Exception, what: str = "value") -> DecodeError:
    """A reason that tells an operator what to do, not only what a parser met."""
    if raw.startswith(CONFLUENT_MAGIC):
        return DecodeError(
            f"the {what} is in the Confluent wire format (Avro): set CDC_SYNC_SCHEMA_REGISTRY__URL to read it"
        )
    return DecodeError(f"the {what} is not JSON that Debezium writes: {error}")
