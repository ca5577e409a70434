"""The function that is written out for a schema reads what fastavro reads, of any schema that it knows."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.decoder.unrolled import MAX_NESTED, NotUnrolled, Take, unrolled
from cdc_sync.model import ABSENT

HEAD = b"\0\0\0\0\1"
UNREADABLE = (ValueError, IndexError, struct.error)

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-200, 200))
TEXT = st.one_of(st.text(max_size=5), st.text("aß", min_size=60, max_size=70), st.just("x" * 9_000))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": INT,
    "long": LONG,
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": TEXT,
    "bytes": st.one_of(st.binary(max_size=5), st.binary(min_size=60, max_size=70)),
}

Shape = tuple[Any, st.SearchStrategy[Any]]
"""A schema, and the values that it allows."""


def scalars() -> st.SearchStrategy[Shape]:
    """A primitive."""
    return st.sampled_from(sorted(SCALARS)).map(lambda kind: (kind, SCALARS[kind]))


def or_null(shape: Shape, null_first: bool | None) -> Shape:
    """The same, perhaps null; null may stand on either side of the union."""
    schema, values = shape
    if null_first is None:
        return shape
    return ["null", schema] if null_first else [schema, "null"], st.none() | values


def perhaps_null(shapes: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    return st.builds(or_null, shapes, st.sampled_from([None, True, False]))


def arrays() -> st.SearchStrategy[Shape]:
    """An array of scalars."""
    return perhaps_null(scalars()).map(
        lambda item: ({"type": "array", "items": item[0]}, st.lists(item[1], max_size=3))
    )


def records(columns: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    """A record of a few fields; its name is that of its place, so that no two are the same."""

    def record(fields: Sequence[Shape]) -> Shape:
        named = {f"f{n}": field for n, field in enumerate(fields)}
        schema = {"type": "record", "fields": [{"name": n, "type": f[0]} for n, f in named.items()]}
        return schema, st.fixed_dictionaries({n: f[1] for n, f in named.items()})

    return st.lists(columns, max_size=4).map(record)


FIELDS = perhaps_null(
    st.recursive(st.one_of(scalars(), arrays()), lambda inner: records(perhaps_null(inner)))
)


def with_names(schema: Any, path: str = "R") -> Any:
    """A name for each record."""
    if isinstance(schema, list):
        return [with_names(member, path) for member in schema]
    if not isinstance(schema, dict) or schema["type"] != "record":
        return schema
    fields = [{**f, "type": with_names(f["type"], f"{path}_{f['name']}")} for f in schema["fields"]]
    return {**schema, "name": path, "fields": fields}


def written(schema: Any, datum: Any) -> bytes:
    """A framed message."""
    out = io.BytesIO()
    schemaless_writer(out, schema, datum)
    return HEAD + out.getvalue()


def as_fastavro(schema: Any, raw: bytes) -> Any:
    return schemaless_reader(io.BytesIO(raw[len(HEAD) :]), schema)


@given(st.data(), records(FIELDS))
def test_any_fields_of_any_message_are_those_that_fastavro_reads(data: st.DataObject, shape: Shape) -> None:
    """Whatever is taken, whatever is stepped over, however long texts are."""
    named: dict[str, Any] = {}
    schema: Any = parse_schema(with_names(shape[0]), named)
    raw = written(schema, data.draw(shape[1]))
    names = [field["name"] for field in schema["fields"]]
    taken = data.draw(
        st.permutations([*names, "nowhere"]).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[:n]))
    )
    datum = as_fastavro(schema, raw)
    expected = tuple(datum.get(name, ABSENT) for name in taken)
    assert expected == unrolled(schema, named, [Take(name) for name in taken])(raw)


@given(st.data(), records(FIELDS), st.binary(max_size=40))
def test_bytes_that_are_something_else_are_refused_or_read(
    data: st.DataObject, shape: Shape, garbage: bytes
) -> None:
    """Never another exception, and never a loop without an end; what is cut short is refused."""
    named: dict[str, Any] = {}
    schema: Any = parse_schema(with_names(shape[0]), named)
    read = unrolled(schema, named, [Take(field["name"]) for field in schema["fields"][::2]])
    raw = written(schema, data.draw(shape[1]))
    for cut in range(len(HEAD), len(raw), max(1, len(raw) // 20)):
        with pytest.raises(UNREADABLE):
            read(raw[:cut])
    with pytest.raises(UNREADABLE):
        read(raw + b"\0")
    with suppress(*UNREADABLE):
        read(HEAD + garbage)


INNER = {
    "type": "record",
    "name": "I",
    "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}],
}


@pytest.mark.parametrize("field", [INNER, ["null", INNER]])
def test_fields_of_a_record_are_a_tuple(field: Any) -> None:
    """In the order in which they are taken, each converted unless it is null; null stays null."""
    named: dict[str, Any] = {}
    schema = parse_schema({"type": "record", "name": "R", "fields": [{"name": "r", "type": field}]}, named)
    takes = [Take("r", inside=(Take("b", str.upper), Take("c", str.upper), Take("a")))]
    read = unrolled(schema, named, takes)
    assert (("X", ABSENT, 7),) == read(written(schema, {"r": {"a": 7, "b": "x"}}))
    if isinstance(field, list):
        assert (None,) == read(written(schema, {"r": None}))


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "map", "values": "string"},
        {"type": "fixed", "name": "F", "size": 2},
        {"type": "enum", "name": "E", "symbols": ["A"]},
        ["null", "string", "long"],
        ["string"],
        {"type": "array", "items": {"type": "array", "items": "string"}},
        {"type": "array", "items": "null"},
        {"type": "array", "items": INNER},
        ["null", "R"],
    ],
    ids=str,
)
@pytest.mark.parametrize("taken", [[Take("x")], []])
def test_other_types_are_left_to_fastavro(odd: Any, taken: list[Take]) -> None:
    """Read or stepped over, a record that holds itself among them."""
    named: dict[str, Any] = {}
    schema = parse_schema({"type": "record", "name": "R", "fields": [{"name": "x", "type": odd}]}, named)
    with pytest.raises(NotUnrolled):
        unrolled(schema, named, taken)


def test_no_name_of_a_schema_is_executed() -> None:
    """Field names go into no line of code, whatever is in them."""
    evil = "x'); import os; ('"
    schema = {"type": "record", "name": "R", "fields": [{"name": evil, "type": "string"}]}
    assert ("a",) == unrolled(schema, {}, [Take(evil)])(HEAD + b"\x02a")


def test_deep_records_are_left_to_fastavro() -> None:
    """Python's own limit of indentation is far beyond."""
    schema: Any = "long"
    for depth in range(MAX_NESTED + 1):
        schema = {"type": "record", "name": f"R{depth}", "fields": [{"name": "x", "type": schema}]}
    with pytest.raises(NotUnrolled):
        unrolled(schema, {}, [Take("x")])


@pytest.mark.parametrize("raw", [b"\x80" * 11 + b"\0", b"\x80" * 200_000 + b"\0"])
@pytest.mark.parametrize("taken", [[Take("n")], []])
def test_a_number_of_too_many_bytes_is_refused(raw: bytes, taken: list[Take]) -> None:
    """At once, not after a sum of a million bits."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}
    with pytest.raises(ValueError, match="number"):
        unrolled(schema, {}, taken)(HEAD + raw)


@pytest.mark.parametrize("raw", [b"\x01", b"\xff\x01", b"\x7f"])
def test_a_negative_length_is_refused(raw: bytes) -> None:
    """Which would read backwards."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "s", "type": "string"}]}
    for taken in ([Take("s")], []):
        with pytest.raises(ValueError, match="negative"):
            unrolled(schema, {}, taken)(HEAD + raw)


def test_blocks_of_an_array_may_tell_their_size() -> None:
    """A negative count and a number of bytes, as writers of long arrays have them."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}],
    }
    raw = HEAD + b"\x03\x04\x02\x04" + b"\x02\x06" + b"\0"
    assert as_fastavro(parse_schema(schema), raw) == {"a": [1, 2, 3]}
    for taken, expected in (([Take("a")], ([1, 2, 3],)), ([], ())):
        assert expected == unrolled(schema, {}, taken)(raw)


def test_an_array_that_cannot_be_so_long_is_refused() -> None:
    """Not looped over."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": {"type": "array", "items": "double"}}],
    }
    with pytest.raises(ValueError, match="longer than the message"):
        unrolled(schema, {}, [Take("a")])(HEAD + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0" * 9)
