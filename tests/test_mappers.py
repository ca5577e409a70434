"""Rows become documents: every table, every format, against a second reading of the contract."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_sync.errors import MappingError, RecordError
from cdc_sync.mappers import ENRICHMENTS, MAPPERS
from cdc_sync.mappers.columns import text
from cdc_sync.mappers.products import PRODUCT_ENRICHMENT
from cdc_sync.mappers.table import TableMapper
from cdc_sync.model import ABSENT, ChangeEvent, Delete, Document, Operation, Record, Skip, Upsert
from cdc_sync.routing import Router
from cdc_sync.schema import Collection, field_matches, lookup_key, safe_id
from tests import avro
from tests.factories import (
    DATA,
    FIXTURES,
    MAPPER_OF,
    PLACEHOLDER,
    PREFIX,
    TABLES,
    Row,
    Wire,
    as_json,
    change,
    mapped,
    record,
    row,
    tombstone,
    value_bytes,
)
from tests.fold import (
    COLLECTIONS,
    Poison,
    Raw,
    days_from_civil,
    expected_document,
    expected_documents,
    expected_enrichment,
    fold_rows,
    printed_rows,
)
from tests.recorded import recorded
from tests.strategies import ids, instants, no_locales, rows, tables, texts, wires

Index = dict[str, dict[str, Document]]

ONE_EACH = sorted(COLLECTIONS)
"""The tables whose rows are documents by themselves."""

has_fixtures = pytest.mark.skipif(
    not FIXTURES.exists(), reason="the recorded messages are not beside the project"
)


FULL_CAPTURES = ["json-schemaless", "json-with-schema", "json-schemaless.unwrapped", "avro"]
"""Every table of the recorded run, as each converter wrote it."""


class Applied:
    """Records decoded, mapped and applied one by one, with what is kept taken from what is there."""

    def __init__(self) -> None:
        self.index: Index = defaultdict(dict)
        self.poison: list[tuple[str, str]] = []

    def apply(self, records: Iterable[Record]) -> Applied:
        """Apply each; what cannot be applied is noted by table and key."""
        for found in records:
            try:
                self._apply(found)
            except (RecordError, LookupError):
                self.poison.append((found.partition.topic.rpartition(".")[2], key_id(found)))
        return self

    def _apply(self, found: Record) -> None:
        asked = mapped(found)
        if isinstance(asked, Skip):
            return
        documents = self.index[asked.collection]
        if isinstance(asked, Delete):
            documents.pop(asked.id, None)
            return
        document = dict(asked.document)
        if asked.keep:
            stored = documents[asked.id]  # LookupError: nothing to keep it from
            document |= {n: value for n, value in stored.items() if field_matches(n, asked.keep)}
        documents[asked.id] = document

    def collections(self) -> Index:
        """The collections of the contract, products enriched."""
        infos = list(self.index["product-infos"].values())
        return {
            collection: {
                i: d | PRODUCT_ENRICHMENT.of([x for x in infos if x["productId"] == i])
                if collection == "products"
                else d
                for i, d in self.index[collection].items()
            }
            for collection in COLLECTIONS.values()
        }


def key_id(found: Record) -> str:
    """The id in a record's key."""
    key = avro.plain(found.key or b"{}")
    return str(key.get("payload", key).get("id"))


def upsert(found: Record) -> Upsert:
    """The upsert that a record asks for."""
    asked = mapped(found)
    assert isinstance(asked, Upsert)
    return asked


def reason(found: Record) -> str:
    """Why a record is poison."""
    with pytest.raises(MappingError) as caught:
        mapped(found)
    return str(caught.value)


# Recorded messages --------------------------------------------------------------------------------------


def expected_tables(name: str = "expected-rows.json") -> dict[str, dict[str, Row]]:
    """The tables at the end, as the database printed them."""
    printed = json.loads((FIXTURES / name).read_text(encoding="utf-8"), parse_float=Decimal)
    return {table: printed_rows(table, printed[table]) for table in TABLES}


def raw_of(records: Iterable[Record], table: str) -> list[Raw]:
    """The records of one table as bytes."""
    return [Raw(r.key, r.value) for r in records if r.partition.topic == f"{PREFIX}.{table}"]


@has_fixtures
@pytest.mark.parametrize("name", FULL_CAPTURES)
def test_recorded_messages_lead_to_the_documents_of_the_database(name: str) -> None:
    """Every event of a real run, applied in order, ends in `documents.md` of the tables.

    Poison: `org-3` has the locale "emoji"; the new row of a changed key, `pi-4b`, has large values that are
    not in the log, until it is written again; nothing else.
    """
    applied = Applied().apply(recorded(FIXTURES / f"{name}.jsonl"))
    expected = expected_documents(expected_tables())
    assert "org-3" not in expected["organizers"]
    assert expected == applied.collections()
    assert {("Organizer", "org-3"), ("ProductInfo", "pi-4b")} == set(applied.poison)
    assert 1 == applied.poison.count(("ProductInfo", "pi-4b"))


@has_fixtures
@pytest.mark.parametrize("name", FULL_CAPTURES)
def test_the_reference_folds_recorded_messages_to_the_tables(name: str) -> None:
    """What the other tests compare with is itself held to the database."""
    records = recorded(FIXTURES / f"{name}.jsonl")
    expected = expected_tables()
    for table in TABLES:
        found = fold_rows(table, raw_of(records, table))
        for rows_by_id in (found, expected[table]):
            for line in rows_by_id.values():
                for column, sql in TABLES[table].items():
                    if sql.kind in ("localized", "jsonb") and line[column] is not None:
                        line[column] = json.loads(line[column])
        assert expected[table] == found


@has_fixtures
@pytest.mark.parametrize("mode", ["string", "double"])
@pytest.mark.parametrize("converter", ["json-schemaless", "avro"])
def test_recorded_decimals_of_other_modes(converter: str, mode: str) -> None:
    """`string` is exact; `double` gives what the double says, so a long price has lost its last digit."""
    records = recorded(FIXTURES / f"{converter}.decimal-{mode}.jsonl")
    applied = Applied().apply(records)
    expected = expected_documents({"Product": fold_rows("Product", raw_of(records, "Product"))})
    assert expected == applied.collections()
    exact = "99999999999999.9999" if mode == "string" else "100000000000000.0000"
    assert exact == applied.index["products"]["p-2b"]["basePriceExact"]
    assert [] == applied.poison


def odd(capture: str, table: str) -> Applied:
    """What the capture's rows of a table become."""
    return Applied().apply(recorded(DATA / "odd-values.jsonl", f"{capture}.public.{table}"))


@pytest.mark.parametrize("capture", ["schemaless-string", "schema-precise"])
@pytest.mark.parametrize("read", ["", "s-"], ids=["streamed", "snapshot"])
def test_recorded_infinite_values_are_poison(capture: str, read: str) -> None:
    """Times, dates and coordinates, however Debezium spells them in a stream and in a snapshot."""
    poison = [item for table in ("Organizer", "Merchant", "Product") for item in odd(capture, table).poison]
    wanted = {
        ("Organizer", f"{read}ts-inf"),
        ("Organizer", f"{read}ts-minf"),
        ("Merchant", f"{read}nan"),
        ("Merchant", f"{read}inf"),
        ("Merchant", f"{read}minf"),
        ("Product", f"{read}d-inf"),
        ("Product", f"{read}d-minf"),
    }
    if capture == "schemaless-string":  # `precise` writes NaN as null, which nobody can tell from null
        wanted.add(("Product", f"{read}nan"))
    assert wanted == {(table, i) for table, i in poison if i.startswith("s-") == bool(read)}


@pytest.mark.parametrize(
    "capture", ["schemaless-string", "schema-string", "schemaless-double", "schema-double"]
)
def test_recorded_numerics_that_are_no_number_are_poison(capture: str) -> None:
    """`NAN` and `NaN`, and nothing else beside them."""
    poison = {i for _, i in odd(capture, "Product").poison if not i.endswith("inf")}
    assert {"nan", "s-nan"} == poison


def test_recorded_years_beyond_the_calendar_of_python() -> None:
    """After 9999 and before 1, to the first and last instants of PostgreSQL, streamed and snapshot alike."""
    documents = odd("schemaless-string", "Organizer").index["organizers"]
    day = 86_400_000
    expected = {
        "ts-12345": days_from_civil(12345, 6, 7) * day + ((8 * 60 + 9) * 60 + 10) * 1000 + 123,
        "ts-bc": days_from_civil(-43, 3, 15) * day + 12 * 3_600_000,
        "ts-1582": days_from_civil(1582, 10, 4) * day,
        "ts-1": days_from_civil(1, 1, 1) * day,
        "ts-max": 9_224_318_015_999_999,
        "ts-min": -210_866_803_200_000,
    }
    assert expected == {i: documents[i]["createdAt"] for i in expected}
    assert expected == {i: documents[f"s-{i}"]["createdAt"] for i in expected}


def test_recorded_dates_beyond_the_calendar_of_python() -> None:
    """As they were streamed; the snapshot's own errors (1582, the era) are not ours to guess."""
    documents = odd("schemaless-string", "Product").index["products"]
    expected = {
        "d-10000": days_from_civil(10000, 1, 1),
        "d-bc": days_from_civil(-43, 3, 15),
        "d-1500": days_from_civil(1500, 2, 28),
        "d-max": days_from_civil(5_874_897, 12, 31),
    }
    assert expected == {i: documents[i]["availableFrom"] // 86_400_000 for i in expected}


@pytest.mark.parametrize(
    "capture",
    ["schemaless-string", "schema-string", "schemaless-precise", "schema-precise"],
)
def test_recorded_prices_of_all_digits(capture: str) -> None:
    """The largest and the smallest price are exact in every mode that has not lost them."""
    documents = odd(capture, "Product").index["products"]
    expected = {"big": "99999999999999.9999", "small": "-0.0001"}
    assert expected == {i: documents[i]["basePriceExact"] for i in expected}


def test_recorded_truncates_are_skipped() -> None:
    """They have no key and no row; nothing is removed by them."""
    applied = odd("schemaless-string", "SaleChannel")
    assert ([], {"t1", "t2"}) == (applied.poison, set(applied.index["sale-channels"]))
    truncate = recorded(DATA / "odd-values.jsonl", "schemaless-string.public.Device")[0]
    assert Skip("truncate") == mapped(truncate)


@pytest.mark.parametrize(("capture", "poison"), [("schemaless-string", 1), ("full-schemaless-string", 0)])
def test_a_recorded_changed_key(capture: str, poison: int) -> None:
    """Under DEFAULT its large values are gone and it is poison; under FULL the row has them."""
    records = recorded(DATA / "odd-values.jsonl", f"{capture}.public.ProductInfo")
    moved = next(n for n, found in enumerate(records) if key_id(found) == "pi2") + 1
    applied = Applied().apply(records[:moved])
    assert ["pi2"] * poison == [row_id for _, row_id in applied.poison]
    assert ["pi2"] * (1 - poison) == list(applied.index["product-infos"])
    assert [] == list(applied.apply(records[moved:]).index["product-infos"])


# Any row ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ONE_EACH)
@given(st.data(), wires(), st.sampled_from(["c", "u", "r"]))
def test_any_row_is_its_document_or_none(table: str, data: st.DataObject, wire: Wire, op: str) -> None:
    """Whatever the database holds and however it is written: the document that the contract says."""
    if wire.decimals == "double":
        wire = wire._replace(decimals="string")  # a double is no exact price; it has a test of its own
    wanted = data.draw(rows(table))
    asked = mapped(change(table, op, wanted, wire))
    expected = expected_document(table, wanted)
    if expected is None:
        assert Delete(COLLECTIONS[table], wanted["id"]) == asked
    else:
        assert Upsert(COLLECTIONS[table], expected) == asked
        assert strict(expected) == strict(asked.document)


def strict(document: Document) -> str:
    """JSON text, in which 1, 1.0 and true differ."""
    return json.dumps(document, sort_keys=True)


@given(rows("ProductInfo"), wires())
def test_any_info_row_is_kept_with_what_its_product_takes(info: Row, wire: Wire) -> None:
    """Live or not, for its large values are not in the stream when it comes back."""
    asked = upsert(change("ProductInfo", "u", info, wire))
    own = {name: v for name, v in asked.document.items() if name not in ("id", "_live", "_productKey")}
    assert {**expected_enrichment(info), "productId": info["product_id"]} == own
    assert (info["deleted_at"] is None) == asked.document["_live"]
    assert lookup_key(info["product_id"]) == asked.document["_productKey"]
    assert safe_id(info["id"]) == asked.id
    expected = expected_enrichment(info) if info["deleted_at"] is None else {}
    assert strict(expected) == strict(PRODUCT_ENRICHMENT.of([asked.document]))


@given(tables(), ids(), wires())
def test_a_delete_and_its_tombstone_ask_for_the_same(table: str, row_id: str, wire: Wire) -> None:
    """And for the very document that an upsert of this id writes."""
    written = upsert(change(table, "u", row(table, id=row_id), wire))
    expected = Delete(written.collection, written.id)
    found = [mapped(change(table, "d", {"id": row_id}, wire)), mapped(tombstone(table, row_id, wire))]
    assert [expected, expected] == found


@given(st.sampled_from(ONE_EACH), st.integers(-(2**63), 2**63 - 1))
def test_an_integer_key_becomes_its_decimal_text(table: str, number: int) -> None:
    """In rows and in keys."""
    written = upsert(record(table, None, value_bytes(table, "u", row(table, id=number))))
    gone = mapped(record(table, as_json({"id": number}), None))
    assert (str(number), Delete(written.collection, str(number))) == (written.id, gone)


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("row_id", ["", None, True, 1.5, ["a"]])
def test_a_row_without_an_id_is_poison(table: str, row_id: Any) -> None:
    """An empty id cannot be a document; the reason names the column, also of a delete."""
    assert "id" in reason(record(table, None, value_bytes(table, "u", row(table, id=row_id))))
    assert "id" in reason(record(table, as_json({"id": row_id}), None))


@pytest.mark.parametrize(
    ("table", "column"), [(t, c) for t, spec in TABLES.items() for c, sql in spec.items() if not sql.nullable]
)
def test_a_required_column_that_is_missing_is_poison(table: str, column: str) -> None:
    """With the column's name in the reason."""
    if (table, column) == ("ProductInfo", "created_at"):
        return  # no document has it
    partial = row(table)
    del partial[column]
    assert column in reason(record(table, None, value_bytes(table, "u", partial)))


@pytest.mark.parametrize(
    ("table", "column"), [(t, c) for t, spec in TABLES.items() for c, sql in spec.items() if sql.nullable]
)
def test_a_nullable_column_may_be_missing(table: str, column: str) -> None:
    """As if it were null."""
    partial = row(table)
    del partial[column]
    expected = mapped(change(table, "u", row(table, **{column: None})))
    assert expected == mapped(change(table, "u", partial))


@given(tables(), texts(min_size=1).filter(lambda n: not n.startswith("__")), st.none() | texts())
def test_a_column_that_nobody_knows_is_ignored(table: str, name: str, value: str | None) -> None:
    """Real deployments have more of them."""
    if name in TABLES[table]:
        return
    expected = mapped(change(table, "u", row(table)))
    assert expected == mapped(change(table, "u", {**row(table), name: value}))


@given(tables(), instants())
def test_a_soft_delete_removes_and_its_end_brings_back(table: str, at: int) -> None:
    """Whenever it was, also at the epoch itself."""
    gone, back = (mapped(change(table, "u", row(table, deleted_at=d))) for d in (at, None))
    if table == "ProductInfo":
        gone = Delete("product-infos", "a") if PRODUCT_ENRICHMENT.of([gone.document]) == {} else gone  # type: ignore[union-attr]
    assert isinstance(gone, Delete)
    assert isinstance(back, Upsert)
    assert gone.id == back.id


@given(st.sampled_from([t for t in TABLES if t != "Device"]), no_locales())
def test_a_poisoned_row_names_itself(table: str, locale: str) -> None:
    """The table, the row and the column are in the reason."""
    if table == "Product":
        found = reason(change(table, "u", row(table, id="the-row", base_price="NaN")))
        assert all(word in found for word in (table, "the-row", "base_price"))
        return
    found = reason(change(table, "u", row(table, id="the-row", name=json.dumps({locale: "a"}))))
    assert all(word in found for word in (table, "the-row", "name"))


# Large values that are not in the log -------------------------------------------------------------------

LARGE = [
    ("Organizer", "name", ("name_*",)),
    ("Organizer", "metadata", ("metadata",)),
    ("Merchant", "address", ("address", "addressText")),
    ("Category", "name", ("name_*",)),
    ("Device", "name", ("name",)),
    ("Product", "tags", ("tags",)),
    ("ProductInfo", "description", ("description_*",)),
    ("ProductInfo", "images", ("images",)),
    ("ProductInfo", "attributes", ("attributes",)),
]


def unseen(table: str, column: str) -> Any:
    """The placeholder of this column's type."""
    return [PLACEHOLDER] if TABLES[table][column].kind == "text[]" else PLACEHOLDER


@pytest.mark.parametrize(("table", "column", "keep"), LARGE)
@given(wires())
def test_what_the_event_could_not_see_is_kept(
    table: str, column: str, keep: tuple[str, ...], wire: Wire
) -> None:
    """All fields that the column fills, and those only; the placeholder itself is nowhere."""
    asked = upsert(change(table, "u", row(table, **{column: unseen(table, column)}), wire))
    whole = upsert(change(table, "u", row(table), wire)).document
    assert set(keep) == set(asked.keep)
    assert {n: v for n, v in whole.items() if not field_matches(n, keep)} == asked.document
    assert whole.keys() != asked.document.keys()


@pytest.mark.parametrize(("table", "column", "keep"), LARGE)
def test_a_new_row_without_its_large_values_is_poison(table: str, column: str, keep: tuple[str, ...]) -> None:
    """A changed primary key under DEFAULT; the reason names the row, the fields and both cures."""
    found = reason(change(table, "c", row(table, id="new", **{column: unseen(table, column)})))
    assert all(word in found for word in (table, "new", *keep, "FULL", "incremental snapshot"))


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, c, _ in LARGE if t != "ProductInfo"])
@pytest.mark.parametrize("op", ["c", "u"])
def test_a_soft_deleted_row_needs_no_large_values(table: str, column: str, op: str) -> None:
    """It removes its document, whatever it could not see."""
    gone = row(table, deleted_at=1, **{column: unseen(table, column)})
    assert Delete(COLLECTIONS[table], "a") == mapped(change(table, op, gone))


@pytest.mark.parametrize("coordinate", ["latitude", "longitude"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_coordinate_that_is_no_number_is_poison(coordinate: str, value: str) -> None:
    """Also when the other one is not set."""
    for other in (1.0, None):
        odd_row = row("Merchant", **{"latitude": other, "longitude": other, coordinate: value})
        assert coordinate in reason(change("Merchant", "u", odd_row))


def test_the_text_of_an_address() -> None:
    """Its strings depth first, keys sorted, arrays in their order; numbers and nulls are no text."""
    address = {
        "line1": "x",
        "city": "y",
        "a": {"z": "1", "b": ["3", {"d": "5", "c": "4"}]},
        "n": 7,
        "e": None,
    }
    found = upsert(change("Merchant", "u", row("Merchant", address=json.dumps(address)))).document
    assert "3, 4, 5, 1, y, x" == found["addressText"]


@pytest.mark.parametrize("address", ["{}", "null", "[1, true, null]", '{"a": {"b": []}}'])
def test_an_address_without_text(address: str) -> None:
    """Has no field for it."""
    asked = upsert(change("Merchant", "u", row("Merchant", address=address)))
    assert "addressText" not in asked.document


# Changes in a sequence ----------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, str, Row]]:
    """Rows of a few keys of two tables: written, soft-deleted, deleted, with and without large values."""
    steps = []
    for _ in range(draw(st.integers(1, 12))):
        table = draw(st.sampled_from(["Product", "ProductInfo", "Organizer"]))
        wanted = draw(rows(table, st.sampled_from(["a", "b"])))
        if draw(st.booleans()):
            wanted["deleted_at"] = None
        if table == "ProductInfo":
            wanted["product_id"] = draw(st.sampled_from(["a", "b"]))
        steps.append((draw(st.sampled_from(["u", "u", "u", "d"])), table, wanted))
    return steps


@settings(max_examples=60)
@given(histories(), wires(), st.data())
def test_any_history_ends_in_the_documents_of_its_rows(
    history: list[tuple[str, str, Row]], wire: Wire, data: st.DataObject
) -> None:
    """Updates that could not see an unchanged large value among them, as long as the old row is known."""
    if wire.decimals == "double":
        wire = wire._replace(decimals="string")
    tables_now: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
    records: list[Record] = []
    for op, table, wanted in history:
        live = tables_now[table]
        old = live.get(wanted["id"])
        if op == "d":
            live.pop(wanted["id"], None)
            records.append(change(table, "d", wanted, wire))
            continue
        written = wanted
        if old is not None and (table == "ProductInfo" or old["deleted_at"] is None):
            same = data.draw(st.sets(st.sampled_from([c for t, c, _ in LARGE if t == table])))
            same = {column for column in same if old[column] is not None}
            written = wanted | {column: unseen(table, column) for column in same}
            wanted = wanted | {column: old[column] for column in same}
        elif table != "ProductInfo" and old is not None:
            pass  # a soft-deleted row that comes back must bring everything
        live[wanted["id"]] = wanted
        records.append(change(table, "c" if old is None else "u", written, wire))
    infos = list(tables_now["ProductInfo"].values())
    owners = [info["product_id"] for info in infos if info["deleted_at"] is None]
    if len(owners) != len(set(owners)):
        return  # two live infos of one product: the database does not allow it
    applied = Applied().apply(records)
    assert [] == applied.poison
    assert expected_documents(tables_now) == applied.collections()
    for table in ("Product", "ProductInfo", "Organizer"):
        assert tables_now[table].keys() == fold_rows(table, raw_of(records, table)).keys()


# What the mappers declare -------------------------------------------------------------------------------

DECLARED = {
    "organizers": "name_.* string ?, slug string, status string F, createdAt int64 S, modifiedAt int64 S",
    "merchants": "organizerId string F, name_.* string ?, slug string, phone string ?, email string ?, "
    "addressText string ?, location geopoint ?, currency string ? F, status string F, createdAt int64 S, "
    "modifiedAt int64 S",
    "categories": "merchantId string F, parentId string ? F, name_.* string ?, position int32 ? S, "
    "status string F, createdAt int64 S, modifiedAt int64 S",
    "devices": "merchantId string F, saleChannelId string ? F, name string, serialNumber string ?, "
    "kind string ? F, isOnline bool F, lastSeenAt int64 ? S, status string F, createdAt int64 S, "
    "modifiedAt int64 S",
    "sale-channels": "merchantId string F, name_.* string ?, kind string F, isDefault bool F, "
    "status string F, createdAt int64 S, modifiedAt int64 S",
    "products": "merchantId string F, categoryId string ? F, sku string, barcode string ?, kind string F, "
    "basePrice float ? S, basePriceExact string ? -, tags string[] ? F, stock int64 ? S, "
    "isAvailable bool F, availableFrom int64 ? S, status string F, createdAt int64 S, modifiedAt int64 S, "
    "infoId string ?, name_.* string ?, description_.* string ?, images string[] ? -, "
    "infoModifiedAt int64 ? S",
}
"""The table of `documents.md`, field by field."""


def in_words(collection: Collection) -> set[str]:
    """A collection's fields in the words of the contract."""
    words = set()
    for field in collection.fields:
        spec = field.as_json()
        marks = [("optional", "?"), ("facet", "F"), ("sort", "S")]
        line = [field.name, field.type, *(sign for name, sign in marks if spec.get(name))]
        words.add(" ".join([*line, *(["-"] if spec.get("index") is False else [])]))
    return words


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_a_collection_has_the_fields_of_the_contract(name: str) -> None:
    """Types, facets, sorting, optional ones, and those that are only stored."""
    collection = next(m.collection for m in MAPPERS if m.collection.name == name)
    assert set(DECLARED[name].split(", ")) == in_words(collection)


def test_of_info_rows_only_the_lookup_key_is_indexed() -> None:
    """They are kept for their products, not for searching."""
    collection = MAPPER_OF["ProductInfo"].collection
    assert ["_productKey"] == [field.name for field in collection.fields if field.index]


def test_the_mappers_fit_together() -> None:
    """The router finds no two owners of a field, table or collection."""
    assert set(TABLES) == set(Router(MAPPERS, ENRICHMENTS).tables)


# Keys of several columns --------------------------------------------------------------------------------

PAIR = TableMapper("Pair", "pairs", [text("v")], key=("a", "b"), soft_delete=None)


def pair_id(a: object, b: object) -> str:
    """The id of a row with this key, which its delete must agree with."""
    asked = PAIR.map(ChangeEvent("Pair", Operation.UPDATE, None, (a, b, "v")))
    assert isinstance(asked, Upsert)
    assert Delete("pairs", asked.id) == PAIR.map(
        ChangeEvent("Pair", Operation.DELETE, {"b": b, "a": a}, None)
    )
    return asked.id


def test_two_compound_keys_never_share_an_id() -> None:
    """Whatever separators are in their parts: all keys of two short ones, each against each."""
    parts = ["".join(p) for n in (1, 2, 3) for p in product(":\\a", repeat=n)]
    keys = list(product(parts, parts))
    assert len(keys) == len({pair_id(*key) for key in keys})


@pytest.mark.parametrize("part", ["", None, ABSENT, 1.5])
def test_a_part_of_a_key_is_needed(part: object) -> None:
    """Every one of them."""
    for values in (("a", part, "v"), (part, "a", "v")):
        with pytest.raises(MappingError):
            PAIR.map(ChangeEvent("Pair", Operation.UPDATE, None, values))


def test_a_poison_reference_row_is_poison_for_the_mapper_too() -> None:
    """The two readings agree about what cannot be a document."""
    for table, column, value in [
        ("Organizer", "name", '{"emoji": "x"}'),
        ("Organizer", "name", '{"en": 1}'),
        ("Category", "name", '"text"'),
        ("Category", "name", "[]"),
        ("Merchant", "latitude", float("inf")),
    ]:
        odd_row = row(table, **{column: value})
        with pytest.raises(Poison):
            expected_document(table, odd_row)
        assert column in reason(change(table, "u", odd_row))
