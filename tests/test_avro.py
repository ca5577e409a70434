"""Avro in the Confluent wire format: values as JSON has them, schemas that change, and what is poison."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.decoder import WireDecoder
from cdc_sync.envelope import MEANINGS, EpochMillis, Placeholder
from cdc_sync.errors import DecodeError
from cdc_sync.model import ABSENT, UNAVAILABLE, ChangeEvent, Operation, Record, Skip
from cdc_sync.protocols import Reads
from tests.avro import KnownSchemas, framed, recorded_schemas
from tests.factories import (
    FIXTURES,
    PLACEHOLDER,
    PREFIX,
    SHAPES,
    TABLES,
    Wire,
    as_json,
    base64_of,
    change,
    columns,
    key_bytes,
    record,
    row,
    tombstone,
    value_bytes,
    wire_decoder,
)
from tests.recorded import recorded

has_fixtures = pytest.mark.skipif(
    not FIXTURES.exists(), reason="the recorded messages are not beside the project"
)


class Topic:
    """The topic of a table `T` with the key `id`, in Avro and with any columns."""

    def __init__(self, *reads: str, binary: bool = False) -> None:
        self.schemas = KnownSchemas()
        table = {"T": Reads(("id", *reads), ("id",))}
        self.decoder = WireDecoder(PREFIX, table, Placeholder(binary=binary), self.schemas)

    def avro(self, types: Mapping[str, Any], values: Mapping[str, Any], *, op: str = "u") -> bytes:
        """An event of a row with these columns."""
        fields = [{"name": name, "type": kind} for name, kind in {"id": "string", **types}.items()]
        rows = {"type": "record", "name": "Value", "fields": fields}
        source = {"type": "record", "name": "S", "fields": [{"name": "ts_ms", "type": "long"}]}
        envelope = [
            {"name": "before", "type": ["null", rows]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "source", "type": source},
            {"name": "op", "type": "string"},
        ]
        after = {"id": "a", **values}
        datum = {"before": None, "after": after, "source": {"ts_ms": 5}, "op": op}
        return framed({"type": "record", "name": "Envelope", "fields": envelope}, datum, self.schemas)

    def row(self, value: bytes) -> tuple[Any, ...]:
        """The columns that are read, without the key."""
        event = self.decoder.decode(record("T", value=value))
        assert isinstance(event, ChangeEvent)
        assert (Operation.UPDATE, 5, "a") == (event.operation, event.source_ts_ms, (event.after or ())[0])
        return (event.after or ())[1:]

    def value(self, kind: Any, value: Any) -> Any:
        """What becomes of one column `x`."""
        return self.row(self.avro({"x": kind}, {"x": value}))[0]

    def json_value(self, column: Mapping[str, Any], value: Any) -> Any:
        """The same column as JSON with its schema has it."""
        schema = {"fields": [{"field": "after", "fields": [{"field": "x", **column}]}]}
        payload = {"op": "u", "after": {"id": "a", "x": value}, "source": {"ts_ms": 5}}
        return self.row(as_json({"schema": schema, "payload": payload}))[0]


# Kinds of values ----------------------------------------------------------------------------------------


def test_bytes_are_base64_as_in_json() -> None:
    """A bytea, wherever it is: alone, in an array, a map or a record."""
    raw, text = b"\x00\xff", base64.b64encode(b"\x00\xff").decode()
    inner = {
        "type": "record",
        "name": "Point",
        "fields": [{"name": "wkb", "type": "bytes"}, {"name": "srid", "type": "int"}],
    }
    assert text == Topic("x").value("bytes", raw)
    assert [text, None] == Topic("x").value({"type": "array", "items": ["null", "bytes"]}, [raw, None])
    assert {"a": text} == Topic("x").value({"type": "map", "values": "bytes"}, {"a": raw})
    assert {"wkb": text, "srid": 1} == Topic("x").value(inner, {"wkb": raw, "srid": 1})
    assert text == Topic("x").value({"type": "fixed", "name": "F", "size": 2}, raw)


def digits(number: float) -> int:
    """How many of them it takes to write a number."""
    return len(Decimal(repr(number)).normalize().as_tuple().digits)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_real_has_its_shortest_digits(number: float) -> None:
    """As Jackson prints a float of 32 bits; the value is the same, and -0.0 keeps its sign."""
    found = Topic("x").value("float", number)
    assert struct.pack("<f", number) == struct.pack("<f", found)
    assert digits(found) <= min(9, digits(number))


@pytest.mark.parametrize(
    ("number", "printed"),
    [(1.1, 1.1), (16_777_216.0, 16_777_216.0), (1.17549435e-38, 1.1754944e-38), (3.4028235e38, 3.4028235e38)],
)
def test_reals_that_are_known(number: float, printed: float) -> None:
    """Not 1.100000023841858."""
    assert printed == Topic("x").value("float", struct.unpack("<f", struct.pack("<f", number))[0])


@given(st.integers(-(10**60), 10**60), st.integers(0, 30))
def test_a_decimal_is_exact_whatever_its_length(unscaled: int, scale: int) -> None:
    """Also beyond the precision that the schema tells and fastavro would round to."""
    length = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    raw = unscaled.to_bytes(length, "big", signed=True)
    kind = {
        "type": "bytes",
        "connect.name": "org.apache.kafka.connect.data.Decimal",
        "connect.parameters": {"scale": str(scale)},
    }
    expected = Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))
    assert str(expected) == str(Topic("x").value(kind, raw))


MEANT: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "org.apache.kafka.connect.data.Decimal": ("bytes", b"\x01\xe8\x48", base64_of(125_000), {"scale": "4"}),
    "io.debezium.data.VariableScaleDecimal": (
        "",
        {"scale": 4, "value": b"\x01\xe8\x48"},
        {"scale": 4, "value": base64_of(125_000)},
        {},
    ),
    "io.debezium.time.Timestamp": ("long", 5, 5, {}),
    "io.debezium.time.MicroTimestamp": ("long", -1, -1, {}),
    "io.debezium.time.NanoTimestamp": ("long", 1_999_999, 1_999_999, {}),
    "org.apache.kafka.connect.data.Timestamp": ("long", 7, 7, {}),
}
"""Semantic name → Avro type, its value, the same in JSON, parameters."""

VARIABLE = {
    "type": "record",
    "name": "VariableScaleDecimal",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
}


@pytest.mark.parametrize("name", MEANINGS)
def test_every_meaning_is_that_of_json(name: str) -> None:
    """One table of meanings for both formats: the same value comes out, of the same type."""
    kind, avro_value, json_value, parameters = MEANT[name]
    topic = Topic("x")
    spec: dict[str, Any] = dict(VARIABLE) if not kind else {"type": kind}
    spec |= {"connect.name": name, "connect.parameters": parameters}
    column = {"name": name, "parameters": parameters}
    found, same = topic.value(["null", spec], avro_value), topic.json_value(column, json_value)
    assert (type(same), str(same)) == (type(found), str(found))
    assert type(found) in (Decimal, EpochMillis)
    assert None is topic.value(["null", spec], None)


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("io.debezium.time.Date", "int", -530),
        ("org.apache.kafka.connect.data.Date", "int", 20_000),
        ("io.debezium.time.Time", "int", 1),
        ("io.debezium.time.MicroTime", "long", 86_399_999_999),
        ("io.debezium.time.NanoTime", "long", 1),
        ("io.debezium.time.Year", "int", 2026),
        ("io.debezium.time.MicroDuration", "long", 3),
        ("io.debezium.time.Interval", "string", "P1Y"),
        ("io.debezium.time.ZonedTimestamp", "string", "2026-01-02T03:04:05.678901Z"),
        ("io.debezium.time.ZonedTime", "string", "03:04:05Z"),
        ("io.debezium.data.Json", "string", '{"a": 1}'),
        ("io.debezium.data.Uuid", "string", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("io.debezium.data.Enum", "string", "red"),
        ("io.debezium.data.Xml", "string", "<a/>"),
        ("io.debezium.data.Ltree", "string", "a.b"),
    ],
)
def test_other_names_leave_the_value_as_json_has_it(name: str, kind: str, value: Any) -> None:
    """Days are days; a logical type of Avro's beside the name is not acted on."""
    logical = {"int": "date", "long": "time-micros"}.get(kind, "uuid")
    spec = {"type": kind, "connect.name": name, "logicalType": logical}
    topic = Topic("x")
    assert topic.json_value({"name": name}, value) == value == topic.value(spec, value)


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4},
            b"\x01\xe8\x48",
            Decimal("12.5000"),
        ),
        ({"type": "long", "logicalType": "timestamp-millis"}, 5, EpochMillis(5)),
        ({"type": "long", "logicalType": "timestamp-micros"}, 5_999, EpochMillis(5)),
        ({"type": "long", "logicalType": "timestamp-nanos"}, 5_999_999, EpochMillis(5)),
        ({"type": "int", "logicalType": "date"}, 5, 5),
    ],
)
def test_a_converter_that_leaves_connects_names_out(spec: Any, value: Any, expected: Any) -> None:
    """`connect.meta.data=false`: what Avro's own logical types say is enough."""
    found = Topic("x").value(spec, value)
    assert (type(expected), str(expected)) == (type(found), str(found))


def test_a_decimal_of_nonsense_names_its_column() -> None:
    """A scale that is none, or a value that cannot be."""
    kind: dict[str, Any] = {"type": "string", "connect.name": "io.debezium.time.MicroTimestamp"}
    with pytest.raises(DecodeError, match="column x"):
        Topic("x").value(kind, "yesterday")
    kind = {
        "type": "bytes",
        "connect.name": "org.apache.kafka.connect.data.Decimal",
        "connect.parameters": {"scale": "?"},
    }
    with pytest.raises(DecodeError, match="not one that Connect writes"):
        Topic("x").value(kind, b"1")


CODES = list(PLACEHOLDER.encode())
ARRAY_OF: dict[str, Any] = {kind: {"type": "array", "items": kind} for kind in ("string", "int", "long")}


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("string", PLACEHOLDER),
        ("bytes", PLACEHOLDER.encode()),
        ("string", base64.b64encode(PLACEHOLDER.encode()).decode()),
        (ARRAY_OF["string"], [PLACEHOLDER]),
        ({"type": "array", "items": ["null", "string"]}, [PLACEHOLDER]),
        (ARRAY_OF["int"], CODES),
        (ARRAY_OF["long"], CODES),
        ({"type": "array", "items": ["null", "int"]}, CODES),
        ({"type": "map", "values": ["null", "string"]}, {PLACEHOLDER: PLACEHOLDER}),
    ],
    ids=str,
)
def test_every_form_of_the_placeholder_is_marked(kind: Any, form: Any) -> None:
    """Of text, bytea (and as base64), text and integer arrays, and hstore."""
    topic = Topic("x", "y", binary=True)
    assert (UNAVAILABLE, None) == topic.row(
        topic.avro({"x": ["null", kind], "y": ["null", "string"]}, {"x": form, "y": None})
    )


def test_a_key_may_be_the_word() -> None:
    """It is never left out of the log."""
    topic = Topic("x")
    event = topic.decoder.decode(
        record("T", value=topic.avro({"x": "string"}, {"id": PLACEHOLDER, "x": PLACEHOLDER}))
    )
    assert isinstance(event, ChangeEvent)
    assert (PLACEHOLDER, UNAVAILABLE) == event.after


# Schemas that change ------------------------------------------------------------------------------------

COLUMNS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": ("int", st.integers(-(2**31), 2**31 - 1)),
    "long": ("long", st.integers(-(2**63), 2**63 - 1)),
    "double": ("double", st.floats(allow_nan=False)),
    "text": ("string", st.text(max_size=80)),
    "perhaps": (["null", "string"], st.none() | st.text(max_size=3)),
    "perhaps after": (["long", "null"], st.none() | st.integers(-5, 5)),
    "tags": (
        {"type": "array", "items": ["null", "string"]},
        st.lists(st.none() | st.text(max_size=3), max_size=3),
    ),
    "map": (
        {"type": "map", "values": "string"},
        st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
    ),
}


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.sampled_from(sorted(COLUMNS))), min_size=1, max_size=6
    ),
    st.data(),
)
def test_schemas_of_one_topic_may_change_in_any_way(
    tables: Sequence[Mapping[str, str]], data: st.DataObject
) -> None:
    """Columns come, go, move and change their types; every message is read by its own schema."""
    topic = Topic("a", "c")
    messages = []
    for table in tables:
        types = {name: COLUMNS[kind][0] for name, kind in table.items()}
        values = {name: data.draw(COLUMNS[kind][1]) for name, kind in table.items()}
        messages.append((topic.avro(types, values), values))
    for raw, values in data.draw(st.permutations(messages)):
        expected = tuple(values.get(name, ABSENT) for name in ("a", "c"))
        assert expected == topic.row(raw)


def test_a_schema_may_refer_to_another() -> None:
    """A record of its own subject, as producers that are no Connect write it."""
    value = {"type": "record", "name": "shop.Value", "fields": [{"name": "id", "type": "string"}]}
    envelope = {
        "type": "record",
        "name": "shop.Envelope",
        "fields": [{"name": "after", "type": ["null", "Value"]}, {"name": "op", "type": "string"}],
    }

    class WithReference:
        def find(self, schema_id: int) -> Sequence[str]:
            return as_json(value).decode(), as_json(envelope).decode()

    decoder = WireDecoder(PREFIX, {"T": Reads(("id",), ("id",))}, None, WithReference())
    event = decoder.decode(record("T", value=b"\0\0\0\0\1" + b"\x02\x02a" + b"\x02c"))
    assert ChangeEvent("T", Operation.CREATE, None, ("a",)) == event


# Formats side by side -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["plain", "schema", "avro"])
@pytest.mark.parametrize("value", SHAPES)
def test_keys_and_values_are_told_apart_by_themselves(key: Any, value: Any) -> None:
    """Each has its own converter."""
    raw = value_bytes("Device", "d", None, Wire(value))
    event = wire_decoder().decode(record("Device", key_bytes({"id": "k"}, Wire(key)), raw))
    assert ChangeEvent("Device", Operation.DELETE, {"id": "k"}, None, 1_700_000_000_000) == event


@given(st.lists(st.sampled_from(SHAPES), max_size=8))
def test_a_topic_may_change_its_format_message_by_message(shapes: list[Any]) -> None:
    """All say the same."""
    decoder = wire_decoder()
    events = [decoder.decode(change("Device", "u", row("Device"), Wire(shape))) for shape in shapes]
    assert 1 >= len({str(columns(event)) for event in events if isinstance(event, ChangeEvent)})
    gone = [decoder.decode(tombstone("Device", "k", Wire(shape))) for shape in shapes]
    assert all(event == gone[0] for event in gone)


# Poison -------------------------------------------------------------------------------------------------


def refused(value: bytes | None, key: bytes | None = b'{"id":"a"}', **more: Any) -> str:
    """Why a record is poison."""
    with pytest.raises(DecodeError) as caught:
        wire_decoder().decode(record("Product", key, value, **more))
    return str(caught.value)


@pytest.mark.parametrize("part", ["key", "value"])
def test_an_unknown_id_is_poison_that_names_it(part: str) -> None:
    """Whoever it is: the registry's own word is in the reason."""
    raw = b"\0\0\0\x12\x34\x02a"
    assert "no schema with the id 4660" in (refused(None, raw) if part == "key" else refused(raw))


@pytest.mark.parametrize("part", ["key", "value"])
def test_an_id_of_eight_bytes_is_told_with_the_cure(part: str) -> None:
    """Apicurio's global id reads as 0."""
    raw = b"\0" + (7).to_bytes(8, "big") + b"\x02a"
    said = refused(None, raw) if part == "key" else refused(raw)
    assert f"the {part} names the schema 0" in said
    assert "use-id=contentId" in said


@pytest.mark.parametrize("raw", [b"\0", b"\0\0\0\1"])
def test_a_message_without_a_whole_id(raw: bytes) -> None:
    """Said as it is."""
    assert "the value is cut short" in refused(raw)


@has_fixtures
@pytest.mark.parametrize(
    ("framing", "reason"),
    [("long-id", "eight bytes.*use-id=contentId"), ("headers", "headers.*headers.enabled=false")],
)
def test_apicurios_other_framings_are_poison_with_the_cure(framing: str, reason: str) -> None:
    """Every recorded message of a table, key and value, deletes and tombstones among them."""
    decoder = wire_decoder()
    for found in recorded(FIXTURES / f"avro-apicurio.{framing}.jsonl"):
        if found.partition.topic.rpartition(".")[2] in TABLES:
            with pytest.raises(DecodeError, match=reason):
                decoder.decode(found)


@has_fixtures
def test_apicurios_confluent_framing_is_read() -> None:
    """By content ids, the same as Confluent's converter."""
    decoder = wire_decoder()
    for found in recorded(FIXTURES / "avro-apicurio.confluent-id.jsonl"):
        is_table = found.partition.topic.rpartition(".")[2] in TABLES
        assert is_table is not isinstance(decoder.decode(found), Skip)


@has_fixtures
def test_the_recorded_schemas_change_in_a_topic() -> None:
    """Merchant has two; so the fixtures do test what they should."""
    topic = f"{PREFIX}.Merchant"
    heads = {(r.value or b"")[:5] for r in recorded(FIXTURES / "avro.jsonl", topic)} - {b""}
    assert 2 == len(heads)
    assert recorded_schemas().keys() >= {int.from_bytes(head[1:], "big") for head in heads}


def record_of(**fields: Any) -> dict[str, Any]:
    """A record schema with these fields."""
    return {"type": "record", "name": "R", "fields": [{"name": n, "type": t} for n, t in fields.items()]}


@pytest.mark.parametrize(
    ("schema", "datum"),
    [
        ("string", "u"),
        (record_of(op="string"), {"op": "u"}),
        (record_of(id="string"), {"id": "a"}),
        (record_of(op="string", after="string"), {"op": "u", "after": "a"}),
        (record_of(op=["null", "string"], after=["null", "R"]), {"op": None, "after": None}),
    ],
    ids=str,
)
def test_avro_that_is_no_event(schema: Any, datum: Any) -> None:
    """Of a schema that Debezium does not write."""
    refused(framed(schema, datum))


SOURCES = [record_of(ts_ms="string"), record_of(ts_ms=["null", "double"])]


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_a_commit_time_that_is_no_number(source: Any) -> None:
    """It would be compared with numbers later."""
    schema = record_of(op="string", source={**source, "name": "S"}, after=["null", record_of(id="string")])
    schema["name"] = "E"
    said = refused(
        framed(schema, {"op": "u", "source": {"ts_ms": "x" if source is SOURCES[0] else 1.5}, "after": None})
    )
    assert "source.ts_ms" in said


def test_an_event_without_a_commit_time() -> None:
    """Nothing is known of it."""
    source = {**record_of(other="string"), "name": "S"}
    schema = {**record_of(op="string", source=source, after=["null", record_of(id="string")]), "name": "E"}
    raw = framed(schema, {"op": "u", "source": {"other": ""}, "after": {"id": "a"}})
    event = wire_decoder().decode(record("Product", value=raw))
    assert isinstance(event, ChangeEvent)
    assert None is event.source_ts_ms


def test_a_key_whose_schema_holds_itself() -> None:
    """It is told as poison, not met as a bottomless recursion."""
    raw = framed(record_of(id="string", next=["null", "R"]), {"id": "a", "next": None})
    assert "not one that Connect writes" in refused(None, raw)


def test_a_schema_that_holds_itself_is_read_by_fastavro() -> None:
    """A row without any of our columns: the mapper will refuse it."""
    schema = record_of(op="string", after=["null", "R"])
    raw = framed(schema, {"op": "u", "after": {"op": "c", "after": None}})
    event = wire_decoder().decode(record("Product", value=raw))
    assert isinstance(event, ChangeEvent)
    assert {ABSENT} == set(event.after or ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "[]",
        '{"type": "nothing"}',
        '{"type": "record"}',
        '"Unknown"',
        '{"type":"record","name":"R","fields":[7]}',
    ],
)
def test_a_schema_that_is_none(text: str) -> None:
    """What the registry gave is not understood: said so, and the message kept."""
    decoder = WireDecoder(PREFIX, {"T": Reads(("id",), ("id",))}, None, KnownSchemas({1: text}))
    with pytest.raises(DecodeError):
        decoder.decode(record("T", value=b"\0\0\0\0\1\x02a"))


@given(st.sampled_from(sorted(TABLES)), st.sampled_from(["avro", "unwrapped-avro"]), st.data())
def test_any_bytes_behind_a_known_id_are_an_event_or_poison(
    table: str, shape: Any, data: st.DataObject
) -> None:
    """Garbage, and good messages with a part replaced; of keys as of values."""
    decoder = wire_decoder()
    good = [value_bytes(table, "u", row(table), Wire(shape)), key_bytes({"id": "a"}, Wire("avro"))]
    for n, raw in enumerate(good):
        at = data.draw(st.integers(5, len(raw)))
        broken = raw[:at] + data.draw(st.binary(max_size=12)) + raw[at + data.draw(st.integers(0, 3)) :]
        found: Record = record(table, value=broken) if n == 0 else record(table, key=broken)
        with suppress(DecodeError):
            assert isinstance(decoder.decode(found), ChangeEvent)
