"""What happens to one value of a declared field under each ``dirty_values`` mode.

Source: typesense-v29.md 4.6 and the recorded cases of topic ``import_types``.
"""

import enum
import re
import struct
from collections.abc import Callable
from typing import Any

from .errors import Refusal
from .schema import Field

_INTEGER_TEXT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_FLOAT_TEXT = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_INT32_ARRAY_CRASH = "[json.exception.type_error.302] type must be number, but is array"


class Mode(enum.Enum):
    """The values of the ``dirty_values`` parameter."""

    REJECT = "reject"
    DROP = "drop"
    COERCE_OR_REJECT = "coerce_or_reject"
    COERCE_OR_DROP = "coerce_or_drop"


class _Mark(enum.Enum):
    DROPPED = enum.auto()
    NOT_COERCIBLE = enum.auto()


DROPPED = _Mark.DROPPED
"""Stands for a value that is left out of the document."""
_NO = _Mark.NOT_COERCIBLE


def to_float32(value: float) -> float:
    """The value after a round trip through 32 bits, as the index holds it."""
    try:
        (narrowed,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return float(narrowed)


def is_integer_text(text: str, bits: int) -> bool:
    """True for a decimal integer that fits into that many bits."""
    limit = 1 << (bits - 1)
    return _INTEGER_TEXT.fullmatch(text) is not None and -limit <= int(text) < limit


def is_float_text(text: str) -> bool:
    """True for a decimal number that a 32-bit float can hold."""
    return _FLOAT_TEXT.fullmatch(text) is not None and abs(to_float32(float(text))) < float("inf")


def _truncated(value: float, bits: int) -> int:
    narrowed = to_float32(value)
    limit = 1 << (bits - 1)
    if not -limit <= narrowed < limit:
        return -limit  # what x86 makes of an out-of-range conversion; 3e9 was seen as -2147483648
    return int(narrowed)


def _to_string(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{to_float32(value):g}"
    return _NO


def _to_integer(value: Any, bits: int) -> Any:
    match value:
        case bool():
            return int(value)
        case float():
            return _truncated(value, bits)
        case str() if is_integer_text(value, bits):
            return int(value)
    return _NO


def _to_float(value: Any) -> Any:
    match value:
        case bool():
            return float(value)
        case str() if is_float_text(value):
            return float(value)
    return _NO


def _to_bool(value: Any) -> Any:
    match value:
        case int() if value in (0, 1):
            return bool(value)
        case str() if value.lower() in ("true", "false"):
            return value.lower() == "true"
    return _NO


def _to_geopoint(value: Any) -> Any:
    point = [float(part) if isinstance(part, str) and is_float_text(part) else part for part in value]
    return point if _is_point(point) else _NO


def _is_point(value: Any) -> bool:
    return all(type(part) in (int, float) for part in value)


_ACCEPTS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "int32": lambda value: type(value) is int,
    "int64": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "bool": lambda value: type(value) is bool,
    "geopoint": _is_point,
}
_COERCES: dict[str, Callable[[Any], Any]] = {
    "string": _to_string,
    "int32": lambda value: _to_integer(value, 32),
    "int64": lambda value: _to_integer(value, 64),
    "float": _to_float,
    "bool": _to_bool,
    "geopoint": _to_geopoint,
}
_ARTICLES = {"int32": "an", "int64": "an"}
_ARRAY_ARTICLES = {"float": "a", "bool": "a"}  # the grammar slip is real


def _must_be(field: Field, in_array: bool) -> Refusal:
    kind = field.item_type
    if in_array:
        phrase = f"{_ARRAY_ARTICLES.get(kind, 'an')} array of {kind}"
    else:
        phrase = f"{_ARTICLES.get(kind, 'a')} {kind}"
    return Refusal(400, f"Field `{field.name}` must be {phrase}.")


def checked_value(field: Field, value: Any, mode: Mode) -> Any:
    """The value to store, or ``DROPPED``; raises the 400 of a value that is refused."""
    if field.item_type not in _ACCEPTS:
        return value
    if field.is_array:
        return _checked_array(field, value, mode)
    if field.type == "geopoint" and not (isinstance(value, list) and len(value) == 2):
        raise Refusal(400, f"Field `{field.name}` must be a 2 element array: [lat, lng].")
    return _checked_item(field, value, mode, in_array=False)


def _checked_array(field: Field, value: Any, mode: Mode) -> Any:
    if value is None:
        return []
    if not isinstance(value, list):
        if field.optional and mode in (Mode.DROP, Mode.COERCE_OR_DROP):
            return DROPPED
        raise Refusal(400, f"Field `{field.name}` must be an array.")
    if field.num_dim and len(value) != field.num_dim:
        raise Refusal(400, f"Field `{field.name}` must have {field.num_dim} dimensions.")
    kept = []
    for item in value:
        if field.type == "geopoint[]" and not (isinstance(item, list) and len(item) == 2):
            text = f"Field `{field.name}` must contain 2 element arrays: [ [lat, lng],... ]."
            raise Refusal(400, text)
        checked = _checked_item(field, item, mode, in_array=True)
        if checked is not DROPPED:
            kept.append(checked)
    return kept


def _checked_item(field: Field, value: Any, mode: Mode, in_array: bool) -> Any:
    kind = field.item_type
    if _ACCEPTS[kind](value):
        return value
    if mode is Mode.REJECT or (mode is Mode.DROP and not field.optional):
        raise _must_be(field, in_array)
    if mode is Mode.DROP:
        return DROPPED
    coerced = _COERCES[kind](value)
    if coerced is _NO:
        never_dropped = kind == "bool" and isinstance(value, str)
        if never_dropped or mode is Mode.COERCE_OR_REJECT or not field.optional:
            raise _must_be(field, in_array)
        coerced = DROPPED
    if field.type == "int32[]":
        raise Refusal(400, _INT32_ARRAY_CRASH)  # the range check reads the array as a number
    return coerced
