"""The placeholder is found in every form, and a schema's word is taken for what a value means."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.envelope import EpochMillis, Placeholder, key_of, value_meanings
from cdc_sync.errors import DecodeError
from cdc_sync.model import UNAVAILABLE
from tests.factories import PLACEHOLDER, Wire, as_json, base64_of, value_schema
from tests.strategies import json_values

WORD_BYTES = list(PLACEHOLDER.encode())

FORMS: list[Any] = [
    PLACEHOLDER,
    [PLACEHOLDER],
    {PLACEHOLDER: PLACEHOLDER},
    base64.b64encode(PLACEHOLDER.encode()).decode(),
    WORD_BYTES,
]


@pytest.mark.parametrize("key", [None, "a", 1, [], {}, {"schema": {}, "payload": "a"}])
def test_a_key_that_names_no_columns(key: object) -> None:
    """A key is an object of columns, or the row cannot be told."""
    with pytest.raises(DecodeError):
        key_of(key)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_placeholder_is_marked(form: object) -> None:
    """Text, text array, hstore, bytea and integer array: none is taken for a value."""
    near = [PLACEHOLDER, PLACEHOLDER]
    assert ("a", UNAVAILABLE, near, None) == Placeholder().marked(("a", form, near, None))


@given(st.lists(st.one_of(json_values(), st.sampled_from(FORMS)), max_size=4))
def test_looking_at_the_bytes_first_loses_no_placeholder(row: list[Any]) -> None:
    """Whatever `marked` would find, the quick look at the message finds too."""
    placeholder = Placeholder(binary=True)
    holds_one = UNAVAILABLE in placeholder.marked(tuple(row))
    assert holds_one <= placeholder.in_bytes(as_json(row))


def test_the_word_is_the_connectors() -> None:
    """Another `unavailable.value.placeholder` is another word; the default one is a value then."""
    placeholder = Placeholder("gone")
    assert (UNAVAILABLE, PLACEHOLDER) == placeholder.marked(("gone", PLACEHOLDER))
    assert placeholder.in_bytes(b'{"a":"gone"}')
    assert not placeholder.in_bytes(as_json({"b": PLACEHOLDER}))


def meaning_of(column: dict[str, Any]) -> Any:
    """How the column `x` with this schema is read."""
    return value_meanings({"fields": [{"field": "x", **column}]})["x"]


@given(st.integers(-(10**60), 10**60), st.integers(0, 30))
def test_a_decimal_is_exact_whatever_its_length(unscaled: int, scale: int) -> None:
    """The schema's scale is applied without rounding, also beyond 28 digits."""
    spec = {"name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": str(scale)}}
    expected = Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))
    assert str(expected) == str(meaning_of(spec)(base64_of(unscaled)))


@given(st.integers(-(10**60), 10**60), st.integers(0, 30))
def test_a_decimal_with_a_scale_of_its_own(unscaled: int, scale: int) -> None:
    """A NUMERIC without a declared scale carries it in every value."""
    value = {"scale": scale, "value": base64_of(unscaled)}
    expected = Decimal(f"{unscaled}E-{scale}")
    assert str(expected) == str(meaning_of({"name": "io.debezium.data.VariableScaleDecimal"})(value))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("io.debezium.time.Timestamp", -1, -1),
        ("io.debezium.time.MicroTimestamp", 1_999, 1),
        ("io.debezium.time.MicroTimestamp", -1, -1),
        ("io.debezium.time.NanoTimestamp", 1_999_999, 1),
        ("io.debezium.time.NanoTimestamp", -1, -1),
        ("org.apache.kafka.connect.data.Timestamp", 5, 5),
    ],
)
def test_times_with_a_unit_in_the_schema(name: str, value: int, expected: int) -> None:
    """Each becomes milliseconds, rounded down, of a type that says so."""
    meant = meaning_of({"name": name})(value)
    assert (EpochMillis, expected) == (type(meant), meant)


@pytest.mark.parametrize("shape", ["schema", "unwrapped-schema"])
def test_only_columns_that_need_it_have_a_meaning(shape: Any) -> None:
    """In a product's schema that is the precise decimal; the envelope's own fields are no columns."""
    assert {"base_price"} == value_meanings(value_schema("Product", Wire(shape, "precise"))).keys()
    assert {} == value_meanings(value_schema("Product", Wire(shape, "string")))


def test_key_of_reads_both_shapes() -> None:
    """With a schema around it or without, a key is its columns."""
    key = {"id": "a"}
    assert [key, key] == [key_of(key), key_of(json.loads(as_json({"schema": {}, "payload": key})))]
