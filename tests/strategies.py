"""What the database may hold, for Hypothesis: rows of every table, awkward values among them."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.factories import PLACEHOLDER, TABLES, WIRES, Row, Wire

AWKWARD_IDS = [
    " ", "a b", " edge ", "a/b", "/", "?", "a?b=c", "#", "100%", "%2F", "%2e%2e", "a+b", '"', "'", "`", "``",
    "a,b", ",", ".", "..", "...", "*", "search", "export", "import", "~", "~61", "a&&b", "||", "(", "a)b",
    "[a]", "id:=a", "a:b", "\\", "a\nb", "\t", "null", "0", "-1", "Đồ uống", "👩‍🍳", "é", "é",
    "\u2028", "\ufeff", "x" * 600, "a;b", "$operations", "-", "A", "a",
]  # fmt: skip

PG_FIRST_US = -210_866_803_200_000_000
"""4714-11-24 BC, the first `timestamptz`."""
PG_LAST_US = 9_224_318_015_999_999_999
"""294276-12-31 23:59:59.999999, the last."""
PG_FIRST_DAY = -2_440_588
PG_LAST_DAY = 2_145_042_905


def texts(min_size: int = 0, max_size: int = 12) -> st.SearchStrategy[str]:
    """PostgreSQL `text`: any Unicode but NUL and lone surrogates."""
    characters = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
    return st.text(characters, min_size=min_size, max_size=max_size).filter(lambda t: t != PLACEHOLDER)


def ids() -> st.SearchStrategy[str]:
    """Primary keys: ordinary, awkward, and any text but the empty one."""
    return st.one_of(st.sampled_from(["a", "b", "c"]), st.sampled_from(AWKWARD_IDS), texts(min_size=1))


def json_values(nulls: bool = True) -> st.SearchStrategy[Any]:
    """Any jsonb value."""
    scalars = st.one_of(
        st.none() if nulls else st.nothing(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        texts(),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(texts(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    )


def json_objects(nulls: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects over few names, so that two of them have much in common."""
    names = st.sampled_from(["a", "b", "c", "a.b", ""])
    inner = st.recursive(
        st.one_of(json_values(nulls), st.sampled_from([True, 1, 1.0, False, 0, "1"])),
        lambda values: st.one_of(st.dictionaries(names, values, max_size=3), st.lists(values, max_size=2)),
        max_leaves=6,
    )
    return st.dictionaries(names, inner, max_size=4)


def jsonb(nulls: bool = True) -> st.SearchStrategy[str]:
    """A jsonb column: its text."""
    return json_values(nulls).map(lambda value: json.dumps(value, ensure_ascii=False))


LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def locales() -> st.SearchStrategy[str]:
    """Well-formed locales."""
    return st.one_of(
        st.sampled_from(["en", "vi", "ja", "en-US", "en_US", "zh-Hant-TW", "EN", "yue"]),
        st.from_regex(r"\A[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})?\Z"),
    )


def no_locales() -> st.SearchStrategy[str]:
    """What is none."""
    known = ["", "e", "emoji", "en-", "en_x", "en-toolongsub", "en US", "en\n", "ën", "*", "en.US", "12"]
    return st.one_of(st.sampled_from(known), texts()).filter(lambda t: LOCALE.fullmatch(t) is None)


def localized() -> st.SearchStrategy[str]:
    """A column of localized text; null members among them."""
    members = st.dictionaries(locales(), st.one_of(texts(), st.none()), max_size=3)
    return members.map(lambda value: json.dumps(value, ensure_ascii=False))


def decimals(places: int = 4, digits: int = 18) -> st.SearchStrategy[Decimal]:
    """`numeric(18, 4)`."""
    biggest = 10**digits - 1
    unscaled = st.one_of(st.integers(-biggest, biggest), st.integers(-300, 300), st.sampled_from([biggest]))
    return unscaled.map(lambda n: Decimal(f"{n}E-{places}"))


def instants() -> st.SearchStrategy[int]:
    """`timestamptz` of every year that PostgreSQL has, in microseconds since the epoch."""
    ordinary = st.integers(-2_000_000_000_000_000, 4_000_000_000_000_000)
    edges = st.sampled_from([PG_FIRST_US, PG_LAST_US, -1, 0, 1, 999, -999, -62_135_596_800_000_001])
    return st.one_of(ordinary, st.integers(PG_FIRST_US, PG_LAST_US), edges)


def days() -> st.SearchStrategy[int]:
    """`date` of every year that PostgreSQL has, in days since the epoch."""
    edges = st.sampled_from([PG_FIRST_DAY, PG_LAST_DAY, -1, 0, 1])
    return st.one_of(st.integers(-50_000, 50_000), st.integers(PG_FIRST_DAY, PG_LAST_DAY), edges)


KINDS: dict[str, st.SearchStrategy[Any]] = {
    "text": texts(),
    "localized": localized(),
    "jsonb": jsonb(),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "numeric": decimals(),
    "text[]": st.lists(st.one_of(texts(), st.none()), max_size=3),
    "date": days(),
    "timestamptz": instants(),
}


def tables() -> st.SearchStrategy[str]:
    """The seven tables."""
    return st.sampled_from(sorted(TABLES))


def wires() -> st.SearchStrategy[Wire]:
    """Every shape and decimal mode."""
    return st.sampled_from(WIRES)


def rows(table: str, row_id: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Row]:
    """Rows of a table."""
    columns = {
        name: st.one_of(KINDS[sql.kind], st.none()) if sql.nullable else KINDS[sql.kind]
        for name, sql in TABLES[table].items()
    }
    return st.fixed_dictionaries({**columns, "id": ids() if row_id is None else row_id})


def live_rows(table: str, row_id: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Row]:
    """Rows of a table that are not soft-deleted."""
    return rows(table, row_id).map(lambda row: {**row, "deleted_at": None})


def anything() -> st.SearchStrategy[Any]:
    """Any JSON value, also where something else is expected; words of the wire among its names."""
    names = st.sampled_from(
        [
            "op",
            "after",
            "before",
            "source",
            "schema",
            "payload",
            "fields",
            "field",
            "name",
            "parameters",
            "ts_ms",
            "scale",
            "value",
            "__op",
            "__deleted",
            "id",
            "base_price",
        ]
    )
    words = st.sampled_from(
        f"c u d r t m after id base_price {PLACEHOLDER} true AehI NaN Infinity 1e999999 "
        "2026-01-02T03:04:05.678901Z org.apache.kafka.connect.data.Decimal "
        "io.debezium.time.MicroTimestamp io.debezium.data.VariableScaleDecimal".split()
    )
    leaves = st.one_of(json_values(), words)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.dictionaries(names, inner, max_size=5), st.lists(inner, max_size=2)),
        max_leaves=12,
    )
