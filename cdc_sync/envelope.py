"""Debezium's wire words (`before after source op ts_ms`) to a `ChangeEvent`; nothing else knows them.

Three shapes of value are read, recognised message by message:

- an envelope: `{"before":…, "after":…, "source":…, "op":"u", …}`
- an envelope with its Connect schema: `{"schema":…, "payload":{…}}`; the schema tells what a value means
- a row unwrapped by `ExtractNewRecordState` (`__op` or `__deleted` among its columns); of its deletes
  only the key counts, for the rest is filled with defaults under `REPLICA IDENTITY DEFAULT`

`before` is not read: a delete is known by its key, and under the default replica identity `before` holds
nothing else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from cdc_sync.errors import DecodeError
from cdc_sync.model import UNAVAILABLE, ChangeEvent, Operation, Row

__all__ = [
    "Envelope",
    "EpochMillis",
    "Placeholder",
    "Source",
    "change_event",
    "key_of",
    "unwrapped_event",
    "value_meanings",
]

UNAVAILABLE_VALUE: Final = "__debezium_unavailable_value"
"""Default of the connector's `unavailable.value.placeholder`."""


class EpochMillis(int):
    """Milliseconds since the epoch, UTC, where a schema said so. A bare integer has no unit."""


class Source(Struct, gc=False):
    """The part of `source` that we use: the commit time in the database."""

    ts_ms: int | None = None


class Envelope(Struct, gc=False):
    """A Debezium value before anything is believed about it; fields that we do not use are not decoded."""

    op: str | UnsetType | None = UNSET
    after: dict[str, Any] | UnsetType | None = UNSET
    source: Source | None = None
    table_schema: Raw | UnsetType = msgspec.field(name="schema", default=UNSET)
    payload: Envelope | UnsetType | None = UNSET
    unwrapped_op: str | UnsetType | None = msgspec.field(name="__op", default=UNSET)
    unwrapped_deleted: str | bool | UnsetType | None = msgspec.field(name="__deleted", default=UNSET)

    @property
    def is_unwrapped(self) -> bool:
        """A row by `ExtractNewRecordState` instead of an envelope."""
        return self.op is UNSET and not (self.unwrapped_op is UNSET and self.unwrapped_deleted is UNSET)


OPERATIONS: Final = {op.value: op for op in Operation if op is not Operation.TOMBSTONE}


def change_event(table: str, envelope: Envelope, key: Row | None) -> ChangeEvent:
    """The event that an envelope tells of. `key` is needed for deletes only.

    Raises `DecodeError` when `op` is missing or unknown, or a row is missing where the operation has one.
    """
    if not isinstance(envelope.op, str):
        raise DecodeError("not a Debezium change event: `op` is missing")
    operation = OPERATIONS.get(envelope.op)
    if operation is None:
        raise DecodeError(f"unknown Debezium operation {envelope.op!r}: expected one of c, u, d, r, t, m")
    after = envelope.after or None
    if after is None and operation in (Operation.CREATE, Operation.UPDATE, Operation.READ):
        raise DecodeError(f"`after` is missing in an event with op={envelope.op}")
    source_ts_ms = envelope.source.ts_ms if envelope.source is not None else None
    return ChangeEvent(table, operation, key, after, source_ts_ms)


def unwrapped_event(table: str, row: dict[str, Any], key: Row | None) -> ChangeEvent:
    """The event that an unwrapped row tells of; columns that begin with `__` are Debezium's."""
    source_ts_ms = row.get("__source_ts_ms")
    if not isinstance(source_ts_ms, int):
        source_ts_ms = None
    if str(row.get("__deleted")).lower() == "true" or row.get("__op") == "d":
        return ChangeEvent(table, Operation.DELETE, key, None, source_ts_ms)
    operation = OPERATIONS.get(str(row.get("__op") or "u"), Operation.UPDATE)
    columns = {name: value for name, value in row.items() if not name.startswith("__")}
    return ChangeEvent(table, operation, key, columns, source_ts_ms)


def key_of(decoded: object) -> Row:
    """The key's columns, from a decoded key with or without its schema. Raises `DecodeError`."""
    if isinstance(decoded, dict) and decoded.keys() == {"schema", "payload"}:
        decoded = decoded["payload"]
    if not isinstance(decoded, dict) or not decoded:
        raise DecodeError("the key is not an object of key columns, so the row cannot be told")
    return decoded


class Placeholder:
    """Debezium's word for a large value that it could not see, in each of its typed forms.

    Text, json and hstore members carry the word itself; bytes its base64; integer arrays its bytes; uuid
    arrays a name-based UUID of it (source: Debezium's UnchangedToastedPlaceholder). Looking for the word
    in the raw bytes first (0.1 µs) spares the ordinary event a look at each of its values.
    """

    def __init__(self, word: str = UNAVAILABLE_VALUE) -> None:
        raw = word.encode()
        self._word = word
        self._codes = list(raw)
        self._base64 = base64.b64encode(raw).decode()
        self._forms: tuple[object, ...] = (word, [word], {word: word}, self._base64, self._codes)
        self._needles = (raw, self._base64.encode(), msgspec.json.encode(self._codes)[1:-1])

    def in_bytes(self, value: bytes) -> bool:
        """Whether a message may hold a placeholder."""
        word, encoded, codes = self._needles
        return word in value or encoded in value or codes in value

    def marked(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with `UNAVAILABLE` where a column holds the placeholder."""
        forms = self._forms
        return {name: UNAVAILABLE if value in forms else value for name, value in row.items()}


# What a value means, where a schema tells ---------------------------------------------------------------

Meaning = Callable[[Any], Any]


def decimal_from_base64(text: str, scale: int) -> Decimal:
    """Connect's Decimal: the unscaled value as big-endian two's complement, in base64 when in JSON."""
    try:
        unscaled = int.from_bytes(base64.b64decode(text, validate=True), "big", signed=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise DecodeError(f"not a base64 decimal: {text!r}") from error
    return Decimal(unscaled).scaleb(-scale) if scale else Decimal(unscaled)


def variable_scale_decimal(value: Mapping[str, Any]) -> Decimal:
    """Debezium's VariableScaleDecimal `{scale, value}`, of a NUMERIC without a declared scale."""
    return decimal_from_base64(value["value"], int(value["scale"]))


MEANINGS: Final[Mapping[str, Callable[[Mapping[str, Any]], Meaning]]] = {
    "org.apache.kafka.connect.data.Decimal": lambda schema: (
        lambda v: decimal_from_base64(v, int((schema.get("parameters") or {}).get("scale", 0)))
    ),
    "io.debezium.data.VariableScaleDecimal": lambda _: variable_scale_decimal,
    "io.debezium.time.Timestamp": lambda _: EpochMillis,
    "io.debezium.time.MicroTimestamp": lambda _: lambda v: EpochMillis(v // 1_000),
    "io.debezium.time.NanoTimestamp": lambda _: lambda v: EpochMillis(v // 1_000_000),
    "org.apache.kafka.connect.data.Timestamp": lambda _: EpochMillis,
}
"""Semantic type names whose wire value says less than the schema does."""


def value_meanings(schema: Mapping[str, Any]) -> dict[str, Meaning]:
    """Column → how to read its value, for the columns whose schema says more than the value does.

    `schema` is the Connect schema of a whole value (envelope or unwrapped row) as JSON.
    """
    columns: Iterable[Mapping[str, Any]] = schema.get("fields") or ()
    for field in columns:
        if field.get("field") == "after":
            columns = field.get("fields") or ()
            break
    return {
        str(column["field"]): MEANINGS[column["name"]](column)
        for column in columns
        if column.get("name") in MEANINGS
    }
