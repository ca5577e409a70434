"""JSON as the real server reads and writes it (nlohmann::json 3.11.2).

Documents are kept as canonical bytes: keys in code-point order, no white space, doubles in
nlohmann's spelling (``1e+15``, ``1e-05``, ``100.0``), integers beyond 64 bits as doubles.
"""

from typing import Any

import msgspec

type_of = type
INT64_MIN = -(2**63)
UINT64_MAX = 2**64 - 1

_decode = msgspec.json.Decoder().decode
encode_plain = msgspec.json.Encoder(order="sorted").encode
"""Canonical bytes of a value that ``is_plain``."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PARSE_ERROR = "[json.exception.parse_error.101] parse error at line 1, column {}: {}"
_OVERFLOW = "[json.exception.out_of_range.406] number overflow parsing '{}'"


class ParseError(ValueError):
    """Text that is not JSON; the message is shaped like nlohmann's (its tail is approximate)."""


def parse(text: bytes | str) -> Any:
    """The value of a JSON text; raises ``ParseError``. Big integers may still be Python ints."""
    if not text:
        detail = (
            "attempting to parse an empty input; check that your input string or stream "
            "contains the expected JSON"
        )
        raise ParseError(_PARSE_ERROR.format(1, detail))
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        if isinstance(text, bytes) and text.startswith(_BYTE_ORDER_MARK):
            return parse(text[len(_BYTE_ORDER_MARK) :])  # nlohmann skips one too
        raise ParseError(_nlohmann_message(text, error)) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ParseError(_nlohmann_message(text, error)) from error


def _nlohmann_message(text: bytes | str, error: Exception) -> str:
    reason = str(error)
    if reason.startswith("Number out of range"):
        return _OVERFLOW.format("a number beyond a double")
    column = len(text) + 1
    if "(byte " in reason:
        column = int(reason.rsplit("(byte ", 1)[1].rstrip(")")) + 1
    return _PARSE_ERROR.format(column, f"syntax error while parsing value - {reason}")


def drop_invalid_utf8(body: bytes) -> bytes:
    """The body without the bytes that are not UTF-8: they are dropped, not refused (4.9)."""
    if body.isascii():
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode("utf-8", "ignore").encode()
    return body


def is_plain(value: Any) -> bool:
    """True when ``encode_plain`` already renders the value as nlohmann would."""
    kind = type_of(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(INT64_MIN <= value <= UINT64_MAX)
    if kind is float:
        return bool(value == 0.0 or 1e-4 <= abs(value) < 1e15)
    if kind is list:
        return all(map(is_plain, value))
    return all(map(is_plain, value.values()))


def narrow(value: Any) -> Any:
    """The value with integers beyond 64 bits turned into doubles."""
    kind = type_of(value)
    if kind is int and not INT64_MIN <= value <= UINT64_MAX:
        return float(value)
    if kind is list:
        return [narrow(item) for item in value]
    if kind is dict:
        return {key: narrow(item) for key, item in value.items()}
    return value


def encode(value: Any) -> bytes:
    """Canonical bytes of any JSON value."""
    if is_plain(value):
        return encode_plain(value)
    return encode_plain(_with_spelled_doubles(value))


def _with_spelled_doubles(value: Any) -> Any:
    kind = type_of(value)
    if kind is float:
        return msgspec.Raw(spell_double(value).encode())
    if kind is int and not INT64_MIN <= value <= UINT64_MAX:
        return msgspec.Raw(spell_double(float(value)).encode())
    if kind is list:
        return [_with_spelled_doubles(item) for item in value]
    if kind is dict:
        return {key: _with_spelled_doubles(item) for key, item in value.items()}
    return value


def spell_double(value: float) -> str:
    """Nlohmann's spelling: fixed notation for decimal exponents -4 < n <= 15, else scientific."""
    if value == 0.0:
        return "-0.0" if str(value).startswith("-") else "0.0"
    sign = "-" if value < 0 else ""
    mantissa, exponent = f"{abs(value)!r}", 0
    if "e" in mantissa:
        mantissa, power = mantissa.split("e")
        exponent = int(power)
    whole, _, fraction = mantissa.partition(".")
    padded = (whole + fraction).rstrip("0")
    digits = padded.lstrip("0")
    point = len(whole) + exponent - (len(padded) - len(digits))
    if 0 < point <= 15:
        return sign + digits[:point].ljust(point, "0") + "." + (digits[point:] or "0")
    if -4 < point <= 0:
        return sign + "0." + "0" * -point + digits
    tail = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'-' if point < 1 else '+'}{abs(point - 1):02d}"


def strip_nulls(value: Any) -> Any:
    """The value without nulls at any level, of objects and of arrays."""
    kind = type_of(value)
    if kind is dict:
        return {key: strip_nulls(item) for key, item in value.items() if item is not None}
    if kind is list:
        return [strip_nulls(item) for item in value if item is not None]
    return value


def strip_null_members(value: Any) -> Any:
    """The value without null members of objects; null elements of arrays stay."""
    kind = type_of(value)
    if kind is dict:
        return {key: strip_null_members(item) for key, item in value.items() if item is not None}
    if kind is list:
        return [strip_null_members(item) for item in value]
    return value


def merge_patch(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396 merge of ``patch`` into ``target``; arrays and scalars are replaced whole."""
    merged = dict(target) if type_of(target) is dict else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif type_of(value) is dict:
            merged[key] = merge_patch(merged.get(key), value)
        else:
            merged[key] = value
    return merged
