"""Random values for the columns of the seven tables, awkward ones among them, all from one seed."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from random import Random
from typing import Any, Final

__all__ = ["AWKWARD_IDS", "GENERATORS", "LARGE", "NULLABLE", "POISON", "large_text"]

AWKWARD_IDS: Final = (
    "a b",
    " leading",
    "trailing ",
    "a/b",
    "/",
    "a?b=c",
    "a#b",
    "100%",
    "%2F",
    "a+b",
    '"quoted"',
    "it's",
    "`tick`",
    "a,b",
    ".",
    "..",
    "*",
    "search",
    "export",
    "import",
    "a&&b",
    "a||b",
    "(a)",
    "[a]",
    "{a}",
    "id:=a",
    "a:b",
    "a\\b",
    "a\nb",
    "a\tb",
    "null",
    "0",
    "-1",
    "Đồ uống",
    "日本語",
    "👩‍🍳",
    "e\u0301",
    "\u00e9",
    "a\u2028b",
    "\ufeffa",
    "x" * 300,
    "<a href='x'>&amp;</a>",
    "a;b",
    "$1",
)

_WORDS: Final = (
    "coffee",
    "trà",
    "Bún bò",
    "crème brûlée",
    "寿司",
    "🍜",
    "a, b",
    'say "hi"',
    "1",
    "",
    " ",
    "ß",
)
_INSTANTS: Final = (
    "2026-01-02 03:04:05.678901+00",
    "1969-12-31 23:59:59.999999+00",
    "1970-01-01 00:00:00+00",
    "2038-01-19 03:14:08.000001+07",
    "9999-12-31 23:59:59.999999+00",
    "1900-03-01 00:00:00.0005+00",
)
_DATES: Final = ("2026-02-28", "1970-01-01", "1969-12-31", "9999-12-31", "1900-01-01", "2024-02-29")
_DECIMALS: Final = ("0", "12.5", "-3.14", "0.0001", "99999999999.9999", "-0.0001", "7", "19.9900")
_FLOATS: Final = (0.0, -0.0, 10.776900001, -33.8688197, 1.0, 89.99999999999999, 1e-7)


def large_text(random: Random, length: int = 9000) -> str:
    """Text that does not compress, so that PostgreSQL stores it out of line (TOAST)."""
    return "".join(random.choices(string.ascii_letters + string.digits, k=length))


def _word(random: Random) -> str:
    return f"{random.choice(_WORDS)} {random.randrange(1000)}"


def _localized(random: Random) -> str:
    locales = random.sample(["en", "vi", "ja", "zh-Hant", "pt_BR", "fil"], random.randrange(4))
    values = {locale: random.choice([_word(random), _word(random), None]) for locale in locales}
    return json.dumps(values, ensure_ascii=random.random() < 0.5)


def _tree(random: Random, depth: int = 3) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: random.randrange(-(2**53), 2**53),
        lambda: random.random() * 1000,
        lambda: _word(random),
        lambda: random.random() < 0.5,
        lambda: 2**63 - 1,
        lambda: 1.0,
    ]
    if depth:
        kinds += 2 * [
            lambda: [_tree(random, depth - 1) for _ in range(random.randrange(4))],
            lambda: {_word(random): _tree(random, depth - 1) for _ in range(random.randrange(4))},
        ]
    return random.choice(kinds)()


def _free(random: Random) -> str:
    keys = random.sample(["plan", "limits", "note", "city", "line1", "a.b", "_x", "đ"], random.randrange(5))
    return json.dumps({key: _tree(random) for key in keys} if random.random() < 0.9 else _tree(random))


def _texts(random: Random) -> list[str | None]:
    return [random.choice([_word(random), _word(random), None]) for _ in range(random.randrange(5))]


def _integer(bits: int) -> Callable[[Random], int]:
    edges = (0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)))
    return lambda random: random.choice([*edges, random.randrange(-1000, 1000)])


def _choice(values: tuple[Any, ...]) -> Callable[[Random], Any]:
    return lambda random: random.choice(values)


def _boolean(random: Random) -> bool:
    return random.random() < 0.5


_STATUS = _choice(("active", "inactive", "draft"))
_REFERENCE = _choice(("m-1", "m-2", "m/3", "o-1", "x y"))
_STAMPS = {"created_at": _choice(_INSTANTS), "modified_at": _choice(_INSTANTS)}

GENERATORS: Final[dict[str, dict[str, Callable[[Random], Any]]]] = {
    "Organizer": {
        "name": _localized,
        "slug": _word,
        "status": _STATUS,
        "metadata": _free,
        **_STAMPS,
    },
    "Merchant": {
        "organizer_id": _REFERENCE,
        "name": _localized,
        "slug": _word,
        "phone": _word,
        "email": _word,
        "address": _free,
        "latitude": _choice(_FLOATS),
        "longitude": _choice(_FLOATS),
        "currency": _choice(("VND", "USD")),
        "status": _STATUS,
        **_STAMPS,
    },
    "Category": {
        "merchant_id": _REFERENCE,
        "parent_id": _REFERENCE,
        "name": _localized,
        "position": _integer(32),
        "status": _STATUS,
        **_STAMPS,
    },
    "Device": {
        "merchant_id": _REFERENCE,
        "sale_channel_id": _REFERENCE,
        "name": _word,
        "serial_number": _word,
        "kind": _STATUS,
        "is_online": _boolean,
        "last_seen_at": _choice(_INSTANTS),
        "status": _STATUS,
        **_STAMPS,
    },
    "SaleChannel": {
        "merchant_id": _REFERENCE,
        "name": _localized,
        "kind": _STATUS,
        "is_default": _boolean,
        "status": _STATUS,
        **_STAMPS,
    },
    "Product": {
        "merchant_id": _REFERENCE,
        "category_id": _REFERENCE,
        "sku": _word,
        "barcode": _word,
        "kind": _STATUS,
        "base_price": _choice(_DECIMALS),
        "tags": _texts,
        "stock": _integer(64),
        "is_available": _boolean,
        "available_from": _choice(_DATES),
        "status": _STATUS,
        **_STAMPS,
    },
    "ProductInfo": {
        "name": _localized,
        "description": _localized,
        "images": _texts,
        "attributes": _free,
        **_STAMPS,
    },
}
"""Table → column → generator.

Keys, `product_id` and `deleted_at` are the workload's own business.
"""

NULLABLE: Final = {
    "Organizer": ("metadata",),
    "Merchant": ("phone", "email", "address", "latitude", "longitude", "currency"),
    "Category": ("parent_id", "position"),
    "Device": ("sale_channel_id", "serial_number", "kind", "last_seen_at"),
    "SaleChannel": (),
    "Product": ("category_id", "barcode", "base_price", "tags", "stock", "available_from"),
    "ProductInfo": ("description", "images", "attributes"),
}

LARGE: Final[dict[str, dict[str, Callable[[Random], Any]]]] = {
    "Organizer": {"metadata": lambda random: json.dumps({"k": large_text(random)})},
    "Merchant": {"address": lambda random: json.dumps({"line1": large_text(random)})},
    "Category": {"name": lambda random: json.dumps({"en": large_text(random)})},
    "Device": {"name": large_text},
    "SaleChannel": {"name": lambda random: json.dumps({"vi": large_text(random)})},
    "Product": {"tags": lambda random: [large_text(random, 1000) for _ in range(9)]},
    "ProductInfo": {
        "description": lambda random: json.dumps({"en": large_text(random), "vi": "ngắn"}),
        "images": lambda random: [large_text(random, 3000) for _ in range(3)],
        "attributes": lambda random: json.dumps({"a": {"b": large_text(random)}}),
    },
}
"""Table → column → generator of a value that is stored out of line."""

POISON: Final[dict[str, tuple[tuple[str, Any], ...]]] = {
    "Organizer": (("name", '"no object"'), ("created_at", "infinity")),
    "Merchant": (("name", '{"english": "no locale"}'), ("latitude", "NaN")),
    "Category": (("name", '{"en": 7}'),),
    "Device": (("modified_at", "-infinity"), ("last_seen_at", "infinity")),
    "SaleChannel": (("name", "[1]"),),
    "Product": (("base_price", "NaN"), ("available_from", "infinity")),
    "ProductInfo": (("name", '{"en": {}}'), ("description", "true")),
}
"""Table → (column, value) that no document can hold."""
