"""What single messages tell of the connector: wire format, decimals, times, replica identity; pure.

A message is looked at twice: as bytes, for how it was written, and through the daemon's own decoder and
mapper, for what would become of it. What is in Avro needs the registry for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec

from cdc_sync.errors import DecodeError, RecordError, TransientError
from cdc_sync.framing import head_of, is_framed
from cdc_sync.mappers.columns import Column
from cdc_sync.model import UNAVAILABLE, Record, Skip
from cdc_sync.protocols import Decoder, Mapper

__all__ = ["Decimals", "Sample", "TopicSamples", "Wire", "columns_of_kind", "look_at"]


class Wire:
    """How a value is written."""

    JSON: Final = "JSON"
    WITH_SCHEMA: Final = "JSON with schema"
    AVRO: Final = "Avro"
    UNWRAPPED: Final = "JSON, unwrapped by ExtractNewRecordState"
    AVRO_UNWRAPPED: Final = "Avro, unwrapped by ExtractNewRecordState"
    TOMBSTONE: Final = "tombstone"
    UNKNOWN: Final = "unknown"


class Decimals:
    """How a numeric column is written."""

    STRING: Final = "text"
    DOUBLE: Final = "double"
    BASE64: Final = "base64"
    SCHEMA: Final = "unscaled, with its schema"


@dataclass(frozen=True, slots=True)
class Sample:
    """One message. Of columns that were not in it, nothing is known.

    `is_unread`: its schema could not be asked for. `key_form` tells keys apart that are written in different
    ways, and so do not hash to the same partition.
    """

    wire: str
    refused: str = ""
    is_unread: bool = False
    key_form: bytes = b""
    decimals: Mapping[str, str] = field(default_factory=dict)
    unitless_times: frozenset[str] = frozenset()
    odd_dates: frozenset[str] = frozenset()
    placeholders: frozenset[str] = frozenset()
    unmapped: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    has_before: bool | None = None


@dataclass(frozen=True, slots=True)
class TopicSamples:
    """The messages that were taken from one topic's ends."""

    table: str
    samples: tuple[Sample, ...]

    def columns(self, which: str) -> frozenset[str]:
        """The columns that any sample names under this word."""
        named: Iterable[frozenset[str]] = (getattr(sample, which) for sample in self.samples)
        return frozenset().union(*named)


SURPRISES: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What a mapper of somebody else's may raise for a value that it did not expect."""

BASE64_DECIMAL: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
PLAIN_DECIMAL: Final = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?|NAN|NaN", re.ASCII)
MAX_DAYS: Final = 5_000_000 * 366
"""No date of PostgreSQL (to the year 5874897) is half as far from 1970, nor is a time in ms so near to it."""
MADE_UP: Final[tuple[object, ...]] = (
    "",
    0,
    False,
    "1970-01-01T00:00:00.000000Z",
    "1970-01-01T00:00:00Z",
    "AA==",
    "{}",
    [],
)
"""What Debezium puts into the NOT NULL columns of a `before` that it does not know."""


Whole = Callable[[bytes], Any]
"""All of a message in Avro, as JSON would have it. Raises `DecodeError`, `TransientError`."""


def look_at(record: Record, mapper: Mapper, decoder: Decoder, whole: Whole | None = None) -> Sample:
    """What this message tells. Without `whole` there is no registry, and Avro stays closed."""
    key_form = form_of(record.key)
    try:
        wire, envelope = unwrapped(record.value, whole)
        has_old_row = has_before(wire, envelope, record.key, whole)
        row, refused = tried(record, mapper, decoder)
    except TransientError:
        return Sample(Wire.AVRO, is_unread=True, key_form=key_form)
    sent = after_of(wire, envelope)
    times, dates = columns_of_kind(mapper, is_timestamp), columns_of_kind(mapper, is_date)
    return Sample(
        wire,
        refused=refused,
        key_form=key_form,
        decimals=decimals_in(row, sent, columns_of_kind(mapper, is_decimal)),
        unitless_times=frozenset(name for name in times if type(row.get(name)) is int),
        odd_dates=frozenset(name for name in dates if is_odd_date(row.get(name))),
        placeholders=frozenset(name for name, value in row.items() if value is UNAVAILABLE),
        unmapped=frozenset(sent) - frozenset(mapper.reads),
        absent=frozenset(mapper.reads) - frozenset(sent) if sent else frozenset(),
        has_before=has_old_row,
    )


def tried(record: Record, mapper: Mapper, decoder: Decoder) -> tuple[Mapping[str, Any], str]:
    """The row as the daemon would see it, and why it would refuse it. Raises `TransientError`."""
    row: Mapping[str, Any] = {}
    try:
        event = decoder.reader(record.partition.topic)(record)
        if not isinstance(event, Skip):
            row = dict(zip(mapper.reads, event.after or (), strict=False))
            mapper.map(event)
    except (RecordError, *SURPRISES) as error:
        return row, f"{type(error).__name__}: {error}"
    return row, ""


def form_of(key: bytes | None) -> bytes:
    """How a key is written: by which schema, or as JSON."""
    if not key:
        return b""
    return head_of(key) if is_framed(key) else b"JSON"


def unwrapped(value: bytes | None, whole: Whole | None) -> tuple[str, Mapping[str, Any]]:
    """The wire format, and the envelope (or the unwrapped row) as plain JSON. Raises `TransientError`."""
    if value is None:
        return Wire.TOMBSTONE, {}
    if is_framed(value):
        found = opened(value, whole)
        return (Wire.AVRO_UNWRAPPED if is_row(found) else Wire.AVRO), found
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Wire.UNKNOWN, {}
    if not isinstance(found, dict):
        return Wire.UNKNOWN, {}
    if "schema" in found and "payload" in found:
        payload = found["payload"]
        return Wire.WITH_SCHEMA, payload if isinstance(payload, dict) else {}
    if "op" in found:
        return Wire.JSON, found
    if is_row(found):
        return Wire.UNWRAPPED, found
    return Wire.UNKNOWN, {}


def opened(raw: bytes, whole: Whole | None) -> Mapping[str, Any]:
    """A record in Avro; nothing where it cannot be read, which the decoder says in its own words."""
    if whole is None:
        return {}
    try:
        found = whole(raw)
    except DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def is_row(found: Mapping[str, Any]) -> bool:
    """Whether it has the marks of `ExtractNewRecordState`."""
    return "__op" in found or "__deleted" in found


def after_of(wire: str, envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row as the wire had it."""
    if wire in (Wire.UNWRAPPED, Wire.AVRO_UNWRAPPED):
        return {name: value for name, value in envelope.items() if not name.startswith("__")}
    after = envelope.get("after")
    return after if isinstance(after, dict) else {}


def has_before(
    wire: str, envelope: Mapping[str, Any], raw_key: bytes | None, whole: Whole | None
) -> bool | None:
    """Whether an update or delete carries the old row (REPLICA IDENTITY FULL); None where untold."""
    if wire not in (Wire.JSON, Wire.WITH_SCHEMA, Wire.AVRO):
        return None
    before = envelope.get("before")
    if envelope.get("op") == "u":
        return isinstance(before, dict)
    if envelope.get("op") != "d":
        return None
    if not isinstance(before, dict):
        return False
    key = key_columns(raw_key, whole)
    return any(
        value is not None and value not in MADE_UP for name, value in before.items() if name not in key
    )


def key_columns(raw_key: bytes | None, whole: Whole | None) -> frozenset[str]:
    """The names of the key's columns."""
    if raw_key and is_framed(raw_key):
        return frozenset(opened(raw_key, whole))
    try:
        key = msgspec.json.decode(raw_key or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return frozenset()
    if isinstance(key, dict) and isinstance(key.get("payload"), dict):
        key = key["payload"]
    return frozenset(key) if isinstance(key, dict) else frozenset()


# What a column is, asked of its conversion --------------------------------------------------------------


def columns_of_kind(mapper: Mapper, is_kind: Any) -> frozenset[str]:
    """The mapper's single columns of a kind; none of a mapper that does not declare columns."""
    columns: Iterable[Column] = getattr(mapper, "columns", ())
    return frozenset(c.names[0] for c in columns if len(c.names) == 1 and is_kind(c))


def converted(column: Column, value: Any) -> Any:
    """What a column makes of a value: a field's value, or all the fields; None where it refuses."""
    try:
        if column.write is not None:
            document: dict[str, Any] = {}
            column.write(document, value)
            return document
        return column.convert(value) if column.convert is not None else None
    except SURPRISES:
        return None


def is_decimal(column: Column) -> bool:
    """Whether it becomes a number and its exact text."""
    made = converted(column, "12.5")
    return isinstance(made, dict) and any(
        n.endswith("Exact") and Decimal(t) == Decimal("12.5") for n, t in made.items()
    )


def is_timestamp(column: Column) -> bool:
    """Whether it reads ISO timestamps as milliseconds."""
    return bool(converted(column, "2000-01-01T00:00:00.000000Z") == 946_684_800_000)


def is_date(column: Column) -> bool:
    """Whether it reads days since the epoch as milliseconds."""
    return bool(converted(column, 1) == 86_400_000)


def is_odd_date(value: object) -> bool:
    """A number that is no number of days: ms or µs of another `time.precision.mode`."""
    return type(value) is int and abs(value) > MAX_DAYS


def decimals_in(row: Mapping[str, Any], sent: Mapping[str, Any], columns: frozenset[str]) -> dict[str, str]:
    """How each numeric column with a value is written."""
    found = {}
    for name in columns:
        value = sent.get(name)
        if value is None:
            continue
        if isinstance(row.get(name), Decimal) or isinstance(value, dict):
            found[name] = Decimals.SCHEMA
        elif isinstance(value, str) and PLAIN_DECIMAL.fullmatch(value) and not is_base64(value):
            found[name] = Decimals.STRING
        elif isinstance(value, str) and BASE64_DECIMAL.fullmatch(value):
            found[name] = Decimals.BASE64
        elif isinstance(value, float | int):
            found[name] = Decimals.DOUBLE
    return found


def is_base64(value: str) -> bool:
    """Digits alone of a length that base64 has: a text of a numeric with a scale always has its point."""
    return "." not in value and "-" not in value and len(value) % 4 == 0
