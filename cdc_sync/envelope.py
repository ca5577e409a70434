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
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from cdc_sync.errors import DecodeError
from cdc_sync.model import UNAVAILABLE, ChangeEvent, Key, Operation, Row

__all__ = [
    "Envelope",
    "EpochMillis",
    "Placeholder",
    "Source",
    "change_event",
    "column_meanings",
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


T = TypeVar("T")


class Envelope(Struct, Generic[T], gc=False):
    """A Debezium value before anything is believed about it; what we do not use is not decoded.

    `T` is how a row is decoded: the columns that a mapper reads.
    """

    op: str | UnsetType | None = UNSET
    after: T | UnsetType | None = UNSET
    source: Source | None = None
    table_schema: Raw | UnsetType = msgspec.field(name="schema", default=UNSET)
    payload: Envelope[T] | UnsetType | None = UNSET
    unwrapped_op: str | UnsetType | None = msgspec.field(name="__op", default=UNSET)
    unwrapped_deleted: str | bool | UnsetType | None = msgspec.field(name="__deleted", default=UNSET)

    @property
    def is_unwrapped(self) -> bool:
        """A row by `ExtractNewRecordState` instead of an envelope."""
        return not (self.unwrapped_op is UNSET and self.unwrapped_deleted is UNSET)


HAVE_AFTER: Final = (Operation.CREATE, Operation.UPDATE, Operation.READ)
OPERATIONS: Final = {op.value: op for op in Operation if op is not Operation.TOMBSTONE}


def change_event(table: str, envelope: Envelope[Any], key: Key | None, after: Row | None) -> ChangeEvent:
    """The event that an envelope tells of. `key` is needed for deletes only.

    Raises `DecodeError` when `op` is missing or unknown, or a row is missing where the operation has one.
    """
    if not isinstance(envelope.op, str):
        raise DecodeError("not a Debezium change event: `op` is missing")
    operation = OPERATIONS.get(envelope.op)
    if operation is None:
        raise DecodeError(f"unknown Debezium operation {envelope.op!r}: expected one of c, u, d, r, t, m")
    if after is None and operation in HAVE_AFTER:
        raise DecodeError(f"`after` is missing in an event with op={envelope.op}")
    source = envelope.source
    return ChangeEvent(table, operation, key, after, None if source is None else source.ts_ms)


def unwrapped_event(
    table: str, row: Mapping[str, Any], after: Row, read_key: Callable[[], Key]
) -> ChangeEvent:
    """The event that an unwrapped row tells of; `after` are its values that the mapper reads."""
    source_ts_ms = row.get("__source_ts_ms")
    if not isinstance(source_ts_ms, int):
        source_ts_ms = None
    if str(row.get("__deleted")).lower() == "true" or row.get("__op") == Operation.DELETE.value:
        return ChangeEvent(table, Operation.DELETE, read_key(), None, source_ts_ms)
    operation = OPERATIONS.get(str(row.get("__op")), Operation.UPDATE)
    return ChangeEvent(table, operation, None, after, source_ts_ms)


def key_of(decoded: object) -> Key:
    """The key's columns, from a decoded key with or without its schema. Raises `DecodeError`."""
    if isinstance(decoded, dict) and decoded.keys() == {"schema", "payload"}:
        decoded = decoded["payload"]
    if not isinstance(decoded, dict) or not decoded:
        raise DecodeError("the key is not an object of key columns, so the row cannot be told")
    return decoded


RARE: Final = b"zqxjkw"
"""Letters that few texts have, the rarest first."""


class Placeholder:
    """Debezium's word for a large value that it could not see, in each of its typed forms.

    Text, json, text arrays and hstore carry the word itself; bytea its bytes (base64 in JSON), integer
    arrays its bytes as numbers (source: Debezium's UnchangedToastedPlaceholder). Looking for the word in the
    raw bytes first spares the ordinary event a look at each of its values, and looking for its rarest letter
    before that (0.08 µs for a `z` in a whole event, 0.6 µs for the word) spares most of them the search. The
    `binary` forms are looked for only where a mapper reads such columns.
    """

    def __init__(self, word: str = UNAVAILABLE_VALUE, *, binary: bool = False) -> None:
        self.word = word.encode()
        self._rarest = next((code for code in RARE if code in self.word), self.word[0])
        codes = list(self.word)
        encoded = base64.b64encode(self.word)
        self._forms: tuple[object, ...] = (word, [word], {word: word}, encoded.decode(), codes)
        self._binary = (encoded, msgspec.json.encode(codes)[1:-1]) if binary else ()
        self._binary_in_avro = (encoded, *avro_codes(codes)) if binary else ()

    def in_bytes(self, value: bytes) -> bool:
        """Whether a message may hold a placeholder."""
        if self._rarest in value and self.word in value:
            return True
        return bool(self._binary) and any(form in value for form in self._binary)

    def in_avro(self, value: bytes) -> bool:
        """The same of a message in Avro, where a bytea is no base64 and a number not its digits."""
        if self.word in value:
            return True
        return bool(self._binary_in_avro) and any(form in value for form in self._binary_in_avro)

    def marked(self, row: Row, key: Collection[int] = ()) -> Row:
        """The row with `UNAVAILABLE` where a column holds the placeholder.

        A key (`key` are its places) is never left out of the log: there, the word is what the row says.
        """
        return tuple(
            UNAVAILABLE if value in self._forms and place not in key else value
            for place, value in enumerate(row)
        )


def avro_codes(codes: Iterable[int]) -> tuple[bytes, bytes]:
    """How Avro writes the members of an integer array: bare, and as members that may be null."""
    written = [bytes([2 * n]) if n < 64 else bytes([2 * n & 0x7F | 0x80, 2 * n >> 7]) for n in codes]
    return b"".join(written), b"\x02".join(written)


# What a value means, where a schema tells ---------------------------------------------------------------

Meaning = Callable[[Any], Any]


def decimal_of(unscaled: str | bytes, scale: int) -> Decimal:
    """Connect's Decimal: the unscaled value as big-endian two's complement; JSON has it in base64."""
    try:
        raw = unscaled if isinstance(unscaled, bytes) else base64.b64decode(unscaled, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise DecodeError(f"not a base64 decimal: {unscaled!r}") from error
    number = int.from_bytes(raw, "big", signed=True)
    return Decimal(f"{number}E{-scale}")  # exact, where `scaleb` rounds to 28 digits


def decimal_meaning(schema: Mapping[str, Any]) -> Meaning:
    """How a Decimal of this schema's scale is read."""
    scale = int((schema.get("parameters") or {}).get("scale", 0))
    return lambda value: decimal_of(value, scale)


def variable_scale_decimal(value: Mapping[str, Any]) -> Decimal:
    """Debezium's VariableScaleDecimal `{scale, value}`, of a NUMERIC without a declared scale."""
    return decimal_of(value["value"], int(value["scale"]))


MEANINGS: Final[Mapping[str, Callable[[Mapping[str, Any]], Meaning]]] = {
    "org.apache.kafka.connect.data.Decimal": decimal_meaning,
    "io.debezium.data.VariableScaleDecimal": lambda _: variable_scale_decimal,
    "io.debezium.time.Timestamp": lambda _: EpochMillis,
    "io.debezium.time.MicroTimestamp": lambda _: lambda v: EpochMillis(v // 1_000),
    "io.debezium.time.NanoTimestamp": lambda _: lambda v: EpochMillis(v // 1_000_000),
    "org.apache.kafka.connect.data.Timestamp": lambda _: EpochMillis,
}
"""Semantic type names whose wire value says less than the schema does, in JSON and in Avro alike."""


def column_meanings(columns: Iterable[Mapping[str, Any]]) -> dict[str, Meaning]:
    """Column → how to read its value, for those whose schema (`field`, `name`, `parameters`) says more.

    Raises `AttributeError`, `KeyError`, `TypeError`, `ValueError` or `ArithmeticError` for what is no
    schema of a column.
    """
    return {
        str(column["field"]): MEANINGS[column["name"]](column)
        for column in columns
        if column.get("name") in MEANINGS
    }


def value_meanings(schema: Mapping[str, Any]) -> dict[str, Meaning]:
    """As `column_meanings`, for the Connect schema of a whole value (envelope or unwrapped row) as JSON."""
    columns: Iterable[Mapping[str, Any]] = schema.get("fields") or ()
    for field in columns:
        if field.get("field") == "after":
            columns = field.get("fields") or ()
            break
    return column_meanings(columns)
