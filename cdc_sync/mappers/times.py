"""Timestamps and dates as the wire has them, to milliseconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from cdc_sync.envelope import EpochMillis
from cdc_sync.mappers.expected import shown

__all__ = ["day_ms", "epoch_ms"]

MS_PER_DAY: Final = 86_400_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
MILLISECOND: Final = timedelta(milliseconds=1)
TIMESTAMP: Final = re.compile(
    r"(?P<year>[+-]?\d{4,9})-(?P<month>\d\d)-(?P<day>\d\d)[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)"
)

FIRST_DAY: Final = -2_440_588
LAST_DAY: Final = 2_145_042_905
"""PostgreSQL's first and last date. Debezium writes an infinite one as a number of days beyond them: which
one depends on whether it was streamed or read by a snapshot (`tests/data/README.md`)."""

parse = datetime.fromisoformat


def epoch_ms(value: Any) -> int:
    """Milliseconds since the epoch, UTC, rounded down, of a timestamptz of any year that PostgreSQL knows.

    Raises `ValueError` for what is none, `infinity` among it.
    """
    try:
        return (parse(value) - EPOCH) // MILLISECOND
    except (TypeError, ValueError):  # no text; another year than 1 to 9999; no zone; no timestamp
        return unusual_epoch_ms(value)


def unusual_epoch_ms(value: Any) -> int:
    """As `epoch_ms`, for what Python's own parser does not take."""
    if type(value) is EpochMillis:
        return int(value)
    match = TIMESTAMP.fullmatch(value) if type(value) is str else None
    if match is None:
        raise ValueError(f"expected an ISO 8601 timestamp, got {shown(value)}")
    year, cycles = int(match["year"]), 0
    if not 1 <= year <= 9999:  # datetime knows no other years; the calendar repeats every 400
        cycles, year = divmod(year - 2000, 400)
        year += 2000
    moment = datetime(
        year, int(match["month"]), int(match["day"]), int(match["hour"]), int(match["minute"]),
        int(match["second"] or 0), tzinfo=UTC,
    )  # fmt: skip
    seconds = (moment.toordinal() - EPOCH_ORDINAL + cycles * 146_097) * 86_400
    seconds += moment.hour * 3600 + moment.minute * 60 + moment.second - zone_offset_s(match["zone"])
    return seconds * 1000 + int((match["fraction"] or "0").ljust(3, "0")[:3])


def zone_offset_s(zone: str) -> int:
    """Seconds east of Greenwich of `Z`, `+07`, `+0700` or `+07:00`."""
    if zone == "Z":
        return 0
    digits = zone[1:].replace(":", "")
    seconds = int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60
    return -seconds if zone[0] == "-" else seconds


def day_ms(value: Any) -> int:
    """Midnight UTC of a date, in milliseconds since the epoch. Raises `ValueError`."""
    if type(value) is int:
        if not FIRST_DAY <= value <= LAST_DAY:
            raise ValueError("an infinite date cannot be a number of milliseconds")
        return value * MS_PER_DAY
    if type(value) is EpochMillis:
        return int(value) // MS_PER_DAY * MS_PER_DAY
    if type(value) is str and "T" not in value:
        return epoch_ms(f"{value.removesuffix('Z')}T00:00:00Z")
    raise ValueError(f"expected a date in days since the epoch or as ISO 8601, got {shown(value)}")
