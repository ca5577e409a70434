"""Exact decimals as the wire has them, in every `decimal.handling.mode`, to the text the database prints."""

from __future__ import annotations

import base64
import binascii
import math
import re
from decimal import Decimal
from typing import Any, Final

from cdc_sync.mappers.expected import shown

__all__ = ["finite", "printed_decimal"]

DECIMAL: Final = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
BASE64: Final = re.compile(
    r"(?:[A-Za-z0-9+/]{4})+|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)"
)
MAX_EXPONENT: Final = 308
"""Of what a double can hold."""
MAX_SCALE: Final = 16_383
"""Of PostgreSQL's numeric."""


def finite(value: Any) -> float:
    """A JSON number that a document can hold."""
    try:
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer that no double holds
        pass
    raise ValueError(f"expected a finite number, got {shown(value)}")


def printed_decimal(value: Any, scale: int) -> str:
    """A numeric(p, scale) as PostgreSQL prints it. Raises `ValueError` for NaN and what is no decimal."""
    if type(value) is str and value != "Infinity":  # which would be base64, too
        if scale and "." not in value and BASE64.fullmatch(value):
            # A string-mode numeric with a scale always has its point, and base64 never has one.
            return point_put(int.from_bytes(base64.b64decode(value), "big", signed=True), scale)
        if DECIMAL.fullmatch(value):
            return exactly(Decimal(value), scale)
        if not scale and BASE64.fullmatch(value):
            return str(int.from_bytes(base64.b64decode(value), "big", signed=True))
        raise ValueError(f"expected a decimal number, got {shown(value)}")
    if isinstance(value, Decimal) or type(value) is int:
        return exactly(Decimal(value), scale)
    if type(value) is float:
        return f"{Decimal(repr(finite(value))):.{scale}f}"
    if isinstance(value, dict):
        return exactly(variable_scale(value), scale)
    raise ValueError(f"expected a decimal number, got {shown(value)}")


def variable_scale(value: dict[str, Any]) -> Decimal:
    """Debezium's `{scale, value}` of a NUMERIC without a declared scale."""
    try:
        unscaled = int.from_bytes(base64.b64decode(value["value"], validate=True), "big", signed=True)
        return Decimal(f"{unscaled}E{-int(value['scale'])}")
    except (KeyError, TypeError, ArithmeticError, binascii.Error) as error:
        raise ValueError(f"expected a decimal number, got {shown(value)}") from error


def exactly(value: Decimal, scale: int) -> str:
    """Every digit, without an exponent; at least `scale` places, for a column's scale may have grown."""
    if not value.is_finite() or value.adjusted() > MAX_EXPONENT:
        raise ValueError(f"expected a decimal that a double can hold, got {shown(value)}")
    places = max(scale, -int(value.as_tuple().exponent))
    if places > MAX_SCALE:
        raise ValueError(f"expected a decimal of at most {MAX_SCALE} places, got {shown(value)}")
    return f"{value:.{places}f}"


def point_put(unscaled: int, scale: int) -> str:
    """`125000`, 4 → `12.5000`."""
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    sign = "-" if unscaled < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"
