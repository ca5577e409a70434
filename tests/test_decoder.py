"""Bytes become events: every shape says the same, and garbage is a `DecodeError`, never anything else."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.errors import DecodeError
from cdc_sync.model import UNAVAILABLE, ChangeEvent, Operation, Skip
from tests.factories import (
    FIXTURES,
    MAPPER_OF,
    PLACEHOLDER,
    PREFIX,
    SHAPES,
    TABLES,
    Row,
    Wire,
    as_json,
    base64_of,
    change,
    columns,
    json_decoder,
    record,
    row,
    tombstone,
    value_bytes,
    wire_decoder,
    wire_row,
)
from tests.recorded import recorded
from tests.strategies import anything, rows, tables, wires

DECODER = wire_decoder()


def decoded(table: str, value: bytes, key: bytes | None = b'{"id":"k"}') -> ChangeEvent:
    """The event of a value."""
    event = DECODER.decode(record(table, key, value))
    assert isinstance(event, ChangeEvent)
    return event


@given(st.data(), tables(), wires(), st.sampled_from(["c", "u", "r"]))
def test_every_shape_tells_of_the_same_row(data: st.DataObject, table: str, wire: Wire, op: str) -> None:
    """Whatever the converter did, the event has the row, the operation and the commit time.

    One decoder reads all tables, so what it remembers of one schema must not touch another.
    """
    wanted = data.draw(rows(table))
    event = DECODER.decode(change(table, op, wanted, wire))
    expected = wire_row(table, wanted, wire)
    price = wanted.get("base_price")
    if price is not None and wire.has_schema and wire.decimals == "precise":
        expected["base_price"] = price
    assert isinstance(event, ChangeEvent)
    assert {n: v for n, v in expected.items() if n in MAPPER_OF[table].reads} == columns(event)
    assert (table, Operation(op), 1_700_000_000_000) == (event.table, event.operation, event.source_ts_ms)


@given(tables(), wires())
def test_of_a_delete_only_the_key_counts(table: str, wire: Wire) -> None:
    """`before` and the made-up columns of an unwrapped delete are not looked at."""
    event = DECODER.decode(change(table, "d", {"id": "gone"}, wire))
    assert ChangeEvent(table, Operation.DELETE, {"id": "gone"}, None, 1_700_000_000_000) == event


@given(tables(), wires())
def test_a_tombstone_is_a_delete_too(table: str, wire: Wire) -> None:
    """After compaction it may be all that is left."""
    event = DECODER.decode(tombstone(table, "gone", wire))
    assert ChangeEvent(table, Operation.TOMBSTONE, {"id": "gone"}, None) == event


@pytest.mark.parametrize("deleted", ["true", "TRUE", True])
def test_a_deleted_mark_alone_is_a_delete(deleted: object) -> None:
    """`__deleted` says it without `__op`, as text or as a boolean."""
    event = decoded("Organizer", as_json({"id": "", "__deleted": deleted}))
    assert (Operation.DELETE, {"id": "k"}, None) == (event.operation, event.key, event.after)


def test_an_op_alone_is_a_delete() -> None:
    """`__op` says it without `__deleted`."""
    event = decoded("Organizer", as_json({"id": "", "__op": "d"}))
    assert (Operation.DELETE, {"id": "k"}) == (event.operation, event.key)


@pytest.mark.parametrize("deleted", ["false", False, None])
def test_an_unwrapped_row_without_its_operation_is_an_update(deleted: object) -> None:
    """Nothing is known of it but that it is there; Debezium's own columns are not the row's."""
    event = decoded("Organizer", as_json({"id": "a", "__deleted": deleted, "__lsn": 1}))
    assert (Operation.UPDATE, {"id": "a"}) == (event.operation, columns(event))


ODD_VALUES: list[Any] = [None, "d", 1, {}]
WORDS = [{w: v} for w in ("op", "after", "source", "payload", "schema") for v in ODD_VALUES]


@pytest.mark.parametrize(
    "column", [*WORDS, {"before": "b"}, {"ts_ms": "t"}, {"source": {"ts_ms": "t"}}], ids=str
)
def test_an_unknown_column_with_a_word_of_the_envelope(column: Row) -> None:
    """An unwrapped row may have any column: `payload` that is null is no tombstone, `op` no operation."""
    event = decoded("Organizer", as_json({"id": "a", **column, "__op": "u"}))
    assert (Operation.UPDATE, {"id": "a"}) == (event.operation, columns(event))


@pytest.mark.parametrize("wire", [Wire(shape) for shape in SHAPES])
@pytest.mark.parametrize(
    ("table", "column", "form"),
    [
        ("ProductInfo", "description", PLACEHOLDER),
        ("ProductInfo", "images", [PLACEHOLDER]),
        ("Device", "name", PLACEHOLDER),
        ("Organizer", "metadata", PLACEHOLDER),
    ],
)
def test_an_unavailable_column_is_marked_in_every_shape(
    wire: Wire, table: str, column: str, form: Any
) -> None:
    """The placeholder leaves the decoder as `UNAVAILABLE`; a null next to it stays null."""
    event = decoded(table, value_bytes(table, "u", row(table, deleted_at=None, **{column: form}), wire))
    after = columns(event)
    assert after is not None
    assert (UNAVAILABLE, None) == (after[column], after["deleted_at"])
    assert [column] == [name for name, value in after.items() if value is UNAVAILABLE]


def test_schemas_of_one_topic_may_change() -> None:
    """A new schema is read by itself: the scale is that of its own message."""
    decoder = wire_decoder()
    found = []
    for scale in ("4", "2", "4"):
        value = json.loads(value_bytes("Product", "u", row("Product"), Wire("schema", "precise")))
        for part in value["schema"]["fields"][:2]:
            for column in part["fields"]:
                if column["field"] == "base_price":
                    column["parameters"]["scale"] = scale
        event = decoder.decode(record("Product", value=as_json(value)))
        assert isinstance(event, ChangeEvent)
        found.append((columns(event) or {})["base_price"])
    assert [Decimal("12.5000"), Decimal("1250.00"), Decimal("12.5000")] == found


@pytest.mark.parametrize("op", ["c", "u", "d", "r", "t", "m"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_operation_is_known(op: str, shape: Any) -> None:
    """The six letters of Debezium each have their operation."""
    value = value_bytes("Organizer", op, row("Organizer"), Wire(shape))
    assert Operation(op) is decoded("Organizer", value).operation


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize("shape", ["plain", "schema", "avro"])
def test_a_row_is_missing_where_there_must_be_one(op: str, shape: Any) -> None:
    """An insert, update or read without `after` is no event; the reason says which."""
    with pytest.raises(DecodeError, match=f"`after` is missing.*op={op}"):
        decoded("Organizer", value_bytes("Organizer", op, None, Wire(shape)))


@pytest.mark.parametrize("op", ["x", "", "C", None, 1])
@pytest.mark.parametrize("shape", ["plain", "schema"])
def test_an_operation_that_nobody_knows(op: Any, shape: Any) -> None:
    """Anything else is refused, never taken for an update."""
    with pytest.raises(DecodeError):
        decoded("Organizer", value_bytes("Organizer", op, row("Organizer"), Wire(shape)))


@pytest.mark.parametrize("value", [b"{}", b'{"id":"a"}', b'{"after":{"id":"a"}}', b'{"payload":{"id":"a"}}'])
def test_json_that_is_no_event(value: bytes) -> None:
    """A row without any word of Debezium's is refused: nobody knows what happened to it."""
    with pytest.raises(DecodeError, match="`op` is missing"):
        decoded("Organizer", value)


@pytest.mark.parametrize("name", ["debezium_signal", "organizer", "Product.x", ""])
def test_tables_that_nobody_maps_are_skipped_unread(name: str) -> None:
    """They are told apart from side topics, and their bytes do not matter."""
    assert Skip("unrouted") == DECODER.decode(record(name, key=None, value=b"\xff"))


@pytest.mark.parametrize(
    "topic",
    ["nx.seller.transaction", "__debezium-heartbeat.nx.seller", "nx.seller.publicProduct", "nx.sellers", "x"],
)
def test_side_topics_are_skipped_unread(topic: str) -> None:
    """Heartbeats and the like are no tables, whatever their bytes are."""
    assert Skip("side_topic") == DECODER.decode(record(topic=topic, key=None, value=b"\xff"))


def test_a_truncate_has_neither_key_nor_row() -> None:
    """It is an event of the table, and no poison."""
    event = decoded("Device", value_bytes("Device", "t", None), key=None)
    assert (Operation.TRUNCATE, None, None) == (event.operation, event.key, event.after)


@pytest.mark.parametrize("value", [None, value_bytes("Organizer", "d", None)])
@pytest.mark.parametrize("key", [None, b"", b"p-1", b'"p-1"', b"{}", b"\xff", b'{"id":"\xff"}', b"["])
def test_a_delete_whose_row_cannot_be_told(key: bytes | None, value: bytes | None) -> None:
    """No key, or one that is no object of columns: poison, with the key named."""
    with pytest.raises(DecodeError, match="key"):
        DECODER.decode(record("Organizer", key, value))


@pytest.mark.parametrize("part", ["key", "value"])
def test_avro_is_told_with_the_cure(part: str) -> None:
    """The first thing that goes wrong on a new topic has its setting in the reason."""
    avro = b"\x00\x00\x00\x00\x01\x02a"
    found = record(key=avro) if part == "key" else record(value=avro)
    with pytest.raises(DecodeError, match=f"the {part} .*CDC_SYNC_SCHEMA_REGISTRY__URL"):
        json_decoder().decode(found)


def nothing_but_poison(key: bytes | None, value: bytes | None) -> None:
    """Decode; only `DecodeError` may come out."""
    with suppress(DecodeError):
        assert isinstance(DECODER.decode(record("Product", key, value)), ChangeEvent)


@given(st.one_of(st.none(), st.binary()), st.binary())
def test_any_bytes_are_an_event_or_poison(key: bytes | None, value: bytes) -> None:
    """No other exception, which would stop the line at this record for good."""
    nothing_but_poison(key, value)


@given(anything(), anything())
def test_any_json_is_an_event_or_poison(key: object, value: object) -> None:
    """The same for JSON that looks like Debezium's and is not."""
    nothing_but_poison(as_json(key), as_json(value))


@given(anything(), st.dictionaries(st.sampled_from(list(TABLES["Product"])), anything()))
def test_any_schema_is_understood_or_poison(schema: object, after: Row) -> None:
    """A schema that says nonsense about a good row is one poison event."""
    payload = {"op": "u", "after": {"id": "a", **after}}
    nothing_but_poison(None, as_json({"schema": schema, "payload": payload}))


COLUMN = st.fixed_dictionaries(
    {"field": st.sampled_from(["x", "y"])},
    optional={
        "name": st.one_of(
            st.sampled_from(
                [
                    "org.apache.kafka.connect.data.Decimal",
                    "io.debezium.data.VariableScaleDecimal",
                    "io.debezium.time.MicroTimestamp",
                    "io.debezium.time.Timestamp",
                ]
            ),
            anything(),
        ),
        "parameters": st.one_of(st.fixed_dictionaries({"scale": anything()}), anything()),
    },
)
VALUE = st.one_of(anything(), st.fixed_dictionaries({"scale": anything(), "value": anything()}))


@given(st.lists(st.one_of(COLUMN, anything()), max_size=3), VALUE, VALUE, st.booleans())
def test_any_column_schema_is_understood_or_poison(
    columns: list[Any], x: object, y: object, wrapped: bool
) -> None:
    """Known names with values and parameters that do not fit them."""
    row = {"id": "a", "x": x, "y": y}
    if wrapped:
        payload = {"op": "u", "after": row}
        value = {"schema": {"fields": [{"field": "after", "fields": columns}]}, "payload": payload}
    else:
        value = {"schema": {"fields": columns}, "payload": {**row, "__op": "u"}}
    nothing_but_poison(None, as_json(value))


DEEP = b'{"a":' * 20_000 + b"1" + b"}" * 20_000

ODD = [
    b'{"op":"u","after":{"id":"\xff"}}',
    b'{"__op":"u","id":"a","x":"\xff"}',
    b'{"__op":"u","id":"a","x":1e999}',
    b'{"__op":"u","id":"a","x":"\\ud800"}',
    b'{"schema":{"fields":[{"field":"\xff"}]},"payload":{"op":"u","after":{"id":"a"}}}',
    b'{"schema":{"x":1e999},"payload":{"op":"u","after":{"id":"a"}}}',
    b'{"op":"u","before":' + DEEP + b',"after":{"id":"a"}}',
    b'{"op":"u","after":' + DEEP + b"}",
    b'{"__op":"u","x":' + DEEP + b"}",
    b'{"payload":' * 20_000 + b"1" + b"}" * 20_000,
    b'{"schema":' + DEEP + b',"payload":{"op":"u","after":{"id":"a"}}}',
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: value[:40].decode("ascii", "replace"))
def test_odd_bytes_are_an_event_or_poison(value: bytes) -> None:
    """Invalid UTF-8, numbers out of range and bottomless nesting, in parts that are read late or never."""
    nothing_but_poison(None, value)
    nothing_but_poison(value, None)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("wire", [Wire(shape) for shape in SHAPES])
def test_half_a_message_is_poison(wire: Wire, cut: float) -> None:
    """What was cut off is never filled in."""
    value = value_bytes("Product", "u", row("Product"), wire)
    with pytest.raises(DecodeError):
        DECODER.decode(record("Product", value=value[: int(len(value) * cut)]))


def test_base64_that_is_none_is_poison_that_names_its_column() -> None:
    """A decimal whose bytes are garbage cannot become a price."""
    broken = row("Product", base_price="?" + base64_of(1))
    with pytest.raises(DecodeError, match="base64"):
        decoded("Product", value_bytes("Product", "u", broken, Wire("schema", "precise")))


@pytest.mark.skipif(not FIXTURES.exists(), reason="the recorded messages are not beside the project")
@pytest.mark.parametrize("name", ["json-schemaless", "json-with-schema", "json-schemaless.unwrapped", "avro"])
def test_every_recorded_message_is_an_event_or_a_side_topic(name: str) -> None:
    """Real bytes: all of them decode, and only what is no table is skipped."""
    decoder = wire_decoder()
    unread = set()
    for found in recorded(FIXTURES / f"{name}.jsonl"):
        if isinstance(decoder.decode(found), Skip):
            unread.add(found.partition.topic)
    assert unread.isdisjoint(f"{PREFIX}.{table}" for table in TABLES)
