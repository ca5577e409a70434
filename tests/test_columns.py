"""What a value of a column becomes, kind by kind, and what is refused."""

from __future__ import annotations

import base64
import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc_sync.envelope import EpochMillis
from cdc_sync.errors import MappingError
from cdc_sync.mappers import columns as kinds
from cdc_sync.mappers.columns import Column
from cdc_sync.mappers.table import TableMapper
from cdc_sync.model import ABSENT, ChangeEvent, Document, Operation, Upsert
from tests.factories import base64_of, iso
from tests.fold import days_from_civil, stripped
from tests.strategies import (
    PG_FIRST_DAY,
    PG_FIRST_US,
    PG_LAST_DAY,
    PG_LAST_US,
    anything,
    days,
    decimals,
    instants,
    json_values,
    locales,
    no_locales,
    texts,
)


def fields(column: Column, *values: Any) -> Document:
    """What a row with these values in the column puts into its document, beside the id."""
    mapper = TableMapper("T", "t", [column], soft_delete=None)
    row = ("a", *values, *[ABSENT] * (len(mapper.reads) - 1 - len(values)))
    change = mapper.map(ChangeEvent("T", Operation.UPDATE, None, row))
    assert isinstance(change, Upsert)
    return {name: value for name, value in change.document.items() if name != "id"}


def poison(column: Column, *values: Any) -> str:
    """Why a row with these values is refused; a reason names the column."""
    with pytest.raises(MappingError) as caught:
        fields(column, *values)
    assert column.names[0] in str(caught.value)
    return str(caught.value)


TIME = kinds.timestamptz("at")
DAY = kinds.day("on_day")
PRICE = kinds.numeric("price", scale=4)


# Scalars ------------------------------------------------------------------------------------------------


@given(texts())
def test_text_is_unchanged(text: str) -> None:
    """Also the empty one, and whatever Unicode has."""
    assert {"some": text} == fields(kinds.text("some"), text)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (kinds.text("x"), [1, True, ["a"], {}]),
        (kinds.boolean("x"), [0, 1, "true", []]),
        (kinds.bigint("x"), [True, 1.0, "1", []]),
        (kinds.integer("x"), [True, 1.0, "1", 2**31, -(2**31) - 1]),
        (kinds.double("x"), [True, "1.5", "NaN", "Infinity", "-Infinity", math.nan, math.inf, [1.0]]),
        (kinds.text_array("x"), ["a", {}, [1], [["a"]], [True]]),
        (TIME, [1, True, 1.5, [], {}]),
        (DAY, [True, 1.5, [], {}]),
        (PRICE, [True, [], {}, "", "-", "1,5", math.nan]),
        (kinds.localized("x"), [1, [], {"en": "a"}]),
        (kinds.free_object("x"), [1, [], {"a": 1}]),
    ],
)
def test_a_value_of_another_type_is_refused(column: Column, values: list[Any]) -> None:
    """Nothing is converted by guess: the schema of the database has changed, or the mode of the connector."""
    for value in values:
        poison(column, value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_bigint_is_exact(number: int) -> None:
    """To the last digit, and an integer still."""
    found = fields(kinds.bigint("n"), number)["n"]
    assert (int, number) == (type(found), found)


@pytest.mark.parametrize("number", [-(2**31), 2**31 - 1, 0])
def test_an_integer_of_32_bits(number: int) -> None:
    """The edges are in."""
    assert {"n": number} == fields(kinds.integer("n"), number)


@pytest.mark.parametrize("number", [0, 1, -0.5, 5e-324, 1e308])
def test_a_double_is_the_same_number(number: float) -> None:
    """Also one that JSON wrote without its point; the field is a float then too."""
    found = fields(kinds.double("n"), number)["n"]
    assert (float, number) == (type(found), found)


@pytest.mark.parametrize(
    "column",
    [kinds.text("x"), kinds.boolean("x"), kinds.integer("x"), TIME, DAY, PRICE, kinds.localized("x")],
)
def test_a_required_column_must_be_there(column: Column) -> None:
    """Null and missing are told apart in the reason."""
    assert "null" in poison(column, None)
    assert "missing" in poison(column, ABSENT)


@pytest.mark.parametrize(
    "column",
    [
        kinds.text("x", optional=True),
        kinds.timestamptz("x", optional=True),
        kinds.numeric("x", 4, optional=True),
        kinds.text_array("x", optional=True),
        kinds.localized("x", optional=True),
        kinds.free_object("x"),
    ],
)
def test_null_is_no_field(column: Column) -> None:
    """Neither null nor an empty value stands for it."""
    assert [{}, {}] == [fields(column, None), fields(column, ABSENT)]


def test_a_field_is_named_like_its_column() -> None:
    """In lowerCamelCase."""
    assert {"saleChannelId2X": "a"} == fields(kinds.text("sale_channel_id_2_x"), "a")


# Time ---------------------------------------------------------------------------------------------------


@given(instants())
@example(PG_FIRST_US)
@example(PG_LAST_US)
@example(-1)
def test_an_instant_is_milliseconds_rounded_down(microseconds: int) -> None:
    """Of every year that PostgreSQL has, also before 1970, before year 1 and after 9999."""
    assert {"at": microseconds // 1000} == fields(TIME, iso(microseconds))


@given(instants(), st.integers(0, 9))
@example(days_from_civil(12345, 6, 7) * 86_400_000_000, 4)
@example(days_from_civil(-43, 3, 15) * 86_400_000_000, 5)
def test_an_instant_may_have_any_number_of_places(microseconds: int, places: int) -> None:
    """`timestamptz(0)` to `timestamptz(6)`, and nanoseconds of other sources."""
    whole, fraction = iso(microseconds)[:-1].split(".")
    digits = fraction.ljust(9, "9")[:places]
    expected = microseconds // 1_000_000 * 1000 + int(digits.ljust(3, "0")[:3])
    assert {"at": expected} == fields(TIME, f"{whole}.{digits}Z" if digits else f"{whole}Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T07:00:00+07:00", 0),
        ("1970-01-01T07:00:00.000000+07:00", 0),
        ("1969-12-31T19:30:00-0430", 0),
        ("1970-01-01 00:00Z", 0),
        ("1970-01-01T00:00:00.001+00", 1),
    ],
)
def test_an_instant_may_have_a_zone(text: str, expected: int) -> None:
    """It is another notation of the same instant."""
    assert {"at": expected} == fields(TIME, text)


@pytest.mark.parametrize(
    "text",
    [
        "infinity",
        "-infinity",
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05.678901",
        "2026-02-30T00:00:00.000000Z",
        "2026-13-01T00:00:00.000000Z",
        "2026-01-02T24:00:01.000000Z",
        "2026-01-02T03:04:05.67890xZ",
        "2026-01-02T03:04:05.1_2901Z",
        "2026-01-02T03:04:05. 1 901Z",
        "2026-01-02T03:04:05.678901Z\n",
    ],
)
def test_what_is_no_instant_is_poison(text: str) -> None:
    """Infinite ones cannot be milliseconds; the rest is not Debezium's. A good one came before."""
    fields(TIME, "2026-01-02T03:04:05.678901Z")
    poison(TIME, text)


def test_milliseconds_by_schema_are_instants() -> None:
    """A bare integer has no unit and is refused, one whose schema told its unit is taken."""
    assert {"at": -5} == fields(TIME, EpochMillis(-5))
    assert {"onDay": -86_400_000} == fields(DAY, EpochMillis(-5))


@given(days())
@example(PG_FIRST_DAY)
@example(PG_LAST_DAY)
def test_a_day_is_its_midnight(day: int) -> None:
    """Of every year that PostgreSQL has."""
    assert {"onDay": day * 86_400_000} == fields(DAY, day)


@pytest.mark.parametrize("text", ["1969-12-31", "1969-12-31Z"])
def test_a_day_as_text(text: str) -> None:
    """`isostring` writes days so."""
    assert {"onDay": -86_400_000} == fields(DAY, text)


@pytest.mark.parametrize(
    "day",
    [
        -2_147_472_692, -2_147_472_691, -622_191_234, -625_821_272,  # seen: streamed, and by snapshot
        2**31 - 1, -(2**31), PG_FIRST_DAY - 1, PG_LAST_DAY + 1, "infinity", "2026-02-30", "",
    ],
)  # fmt: skip
def test_an_infinite_day_is_poison(day: object) -> None:
    """Debezium writes an infinite date as a number of days that no date has."""
    poison(DAY, day)


# Numbers with exact decimals ----------------------------------------------------------------------------


@given(decimals())
def test_a_price_of_every_mode_is_exact(price: Decimal) -> None:
    """`string`, `precise` without and with a schema: the nearest double, and the digits as they are."""
    printed = f"{price:.4f}"
    expected = {"price": float(price), "priceExact": printed}
    unscaled = int(price.scaleb(4))
    variable = {"scale": 4, "value": base64_of(unscaled)}
    for value in (printed, base64_of(unscaled), price, variable):
        assert expected == fields(PRICE, value)


@given(st.integers(-(10**9), 10**9))
def test_a_price_as_a_double_is_rounded_to_its_scale(unscaled: int) -> None:
    """`double` has lost nothing yet at this size."""
    price = Decimal(f"{unscaled}E-4")
    assert {"price": float(price), "priceExact": f"{price:.4f}"} == fields(PRICE, float(price))


@given(st.integers(-(10**60), 10**60), st.integers(1, 30))
def test_a_long_decimal_is_exact(unscaled: int, scale: int) -> None:
    """Beyond the 28 digits of Python's default context."""
    column = kinds.numeric("x", scale)
    expected = f"{Decimal(f'{unscaled}E-{scale}'):.{scale}f}"
    found = [
        fields(column, value)["xExact"]
        for value in (
            expected,
            base64_of(unscaled),
            {"scale": scale, "value": base64_of(unscaled)},
            Decimal(expected),
        )
    ]
    assert [expected] * 4 == found


@pytest.mark.parametrize("scale", [0, 2])
def test_a_shorter_value_gets_its_places(scale: int) -> None:
    """As the database prints it: always so many."""
    expected = "-7." + "0" * scale if scale else "-7"
    column = kinds.numeric("x", scale)
    assert {"x": -7.0, "xExact": expected} == fields(column, -7)
    assert {"x": -7.0, "xExact": expected} == fields(column, Decimal("-7"))


def test_a_longer_value_loses_nothing() -> None:
    """The scale of the column has grown in the database; its digits are not cut."""
    expected = {"price": -1.234567, "priceExact": "-1.234567"}
    values = ["-1.234567", Decimal("-1.234567"), {"scale": 6, "value": base64_of(-1234567)}]
    assert [expected] * 3 == [fields(PRICE, value) for value in values]


@pytest.mark.parametrize(
    "value",
    [
        "NaN", "NAN", "Infinity", "-Infinity", "POSITIVE_INFINITY", "NEGATIVE_INFINITY",
        math.nan, math.inf, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"),
        "1" * 400 + ".0000", "1e999999999", Decimal("1e400"),
        {"scale": 4}, {"value": "AQ=="}, {"scale": "x", "value": "AQ=="}, {"scale": 4, "value": "?"},
        {"scale": -(10**12), "value": "AQ=="}, {"scale": 10**12, "value": "AQ=="},
        {"scale": 10**30, "value": "AQ=="},
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_no_document_can_hold_is_poison(value: object) -> None:
    """NaN, the infinite, and what no double can hold."""
    poison(PRICE, value)


# Arrays and JSON ----------------------------------------------------------------------------------------


@given(st.lists(st.one_of(texts(), st.none())))
def test_null_members_of_an_array_are_dropped(members: list[str | None]) -> None:
    """In order; an empty array stays one."""
    expected = [member for member in members if member is not None]
    assert {"tags": expected} == fields(kinds.text_array("tags"), members)


@given(st.dictionaries(locales(), st.one_of(texts(), st.none()), max_size=4))
def test_a_field_a_locale(members: dict[str, str | None]) -> None:
    """A null member gives none."""
    expected = {f"name_{locale}": text for locale, text in members.items() if text is not None}
    assert expected == fields(kinds.localized("name"), json.dumps(members))


@given(locales(), no_locales(), st.one_of(texts(), st.none()))
def test_a_locale_that_is_none_is_poison(locale: str, odd: str, text: str | None) -> None:
    """Whatever its value is, and whatever good ones are beside it."""
    assert repr(odd) in poison(kinds.localized("name"), json.dumps({locale: "a", odd: text}))


@given(locales(), json_values(nulls=False).filter(lambda value: not isinstance(value, str)))
def test_a_localized_value_that_is_no_text_is_poison(locale: str, value: object) -> None:
    """The locale is named."""
    assert locale in poison(kinds.localized("name"), json.dumps({locale: value}))


@given(json_values(nulls=False).filter(lambda value: not isinstance(value, dict)))
def test_localized_text_must_be_an_object(value: object) -> None:
    """Anything else is poison, but for jsonb null."""
    poison(kinds.localized("name"), json.dumps(value))


def test_jsonb_null_is_sql_null() -> None:
    """For free objects and localized text."""
    assert [{}, {}] == [fields(kinds.free_object("x"), "null"), fields(kinds.localized("x"), "null")]


@given(json_values())
def test_a_free_object_is_itself_without_nulls(value: Any) -> None:
    """At every level; what becomes empty stays. Integers stay integers, and booleans booleans."""
    expected = {} if value is None else {"meta": stripped(value)}
    found = fields(kinds.free_object("meta"), json.dumps(value))
    assert json.dumps(expected, sort_keys=True) == json.dumps(found, sort_keys=True)


@pytest.mark.parametrize("text", ["", "{", "nul", "{'a': 1}", "1e999", '"\\ud800"', "[" * 300, "NaN"])
def test_text_that_is_no_json_is_poison(text: str) -> None:
    """Or holds a number that no document can."""
    for column in (kinds.localized("x"), kinds.free_object("x")):
        poison(column, text)


@pytest.mark.parametrize("depth", [300, 600, 950, 5_000, 200_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_bottomless_json_is_poison(depth: int, brackets: tuple[str, str]) -> None:
    """PostgreSQL takes thousands of levels; a reader that recurses must not be killed by a row."""
    deep = brackets[0] * depth + "1" + brackets[1] * depth
    poison(kinds.free_object("x"), deep)
    poison(kinds.localized("x"), f'{{"en": {deep}}}')


def test_fifty_levels_are_not_bottomless() -> None:
    """Any JSON value that somebody may mean is taken."""
    deep = "[" * 50 + "1" + "]" * 50
    assert {"x": json.loads(deep)} == fields(kinds.free_object("x"), deep)


@given(anything())
def test_any_value_of_any_kind_is_a_field_or_poison(value: Any) -> None:
    """Never another exception, which would stop the line; and never a value that JSON cannot write."""
    for column in (
        kinds.text("x"),
        kinds.boolean("x"),
        kinds.integer("x"),
        kinds.double("x"),
        kinds.timestamptz("x"),
        kinds.day("x"),
        kinds.numeric("x", 4),
        kinds.numeric("x", 0),
        kinds.text_array("x"),
        kinds.localized("x"),
        kinds.free_object("x"),
    ):
        for given_value in (value, json.dumps(value)):
            try:
                found = fields(column, given_value)
            except MappingError:
                continue
            assert None not in found.values()
            json.dumps(found, allow_nan=False)


def test_the_reason_is_short() -> None:
    """A large value is not put into a header as a whole."""
    assert len(poison(kinds.integer("x"), "9" * 100_000)) < 300
    assert len(poison(kinds.free_object("x"), "9" * 100_000 + "x")) < 300


def test_a_field_of_several_columns() -> None:
    """It gets their values in order, null where one is null or missing."""
    column = kinds.computed(("a", "b"), "both", "string", lambda a, b: f"{a}{b}")
    found = [fields(column, "x", "y"), fields(column, "x", None), fields(column, "x", ABSENT)]
    assert [{"both": "xy"}, {"both": "xNone"}, {"both": "xNone"}] == found


def test_base64_is_not_taken_for_digits() -> None:
    """A `precise` value that looks like a word or a number is read by its alphabet, not by its luck."""
    assert "1234" == base64.b64encode(b"\xd7m\xf8").decode()
    assert {"price": -265.8824, "priceExact": "-265.8824"} == fields(PRICE, "1234")
