"""The oracle and the comparison themselves, without any server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from .compare import Allowed, compare
from .oracle import Expected, expected_of
from .rows import COLUMNS, Row, Tables
from .shared import SHARED

_ORGANIZER: Row = {
    "id": "o",
    "name": '{"en": "x"}',
    "slug": "s",
    "status": "active",
    "metadata": None,
    "created_at": Decimal("1.5"),
    "modified_at": Decimal("-0.0001"),
    "deleted_at": None,
}
_PRODUCT: Row = {
    "id": "p",
    "merchant_id": "m",
    "category_id": None,
    "sku": "k",
    "barcode": "",
    "kind": "simple",
    "base_price": "12.5000",
    "tags": ["a", None],
    "stock": 2**63 - 1,
    "is_available": False,
    "available_from": Decimal(-86400),
    "status": "active",
    "created_at": Decimal(0),
    "modified_at": Decimal(0),
    "deleted_at": None,
}
_INFO: Row = {
    "id": "i",
    "product_id": "p",
    "name": '{"en": "n", "vi": null}',
    "description": "null",
    "images": [],
    "attributes": '{"a": [1, null, {"b": null}]}',
    "created_at": Decimal(0),
    "modified_at": Decimal(7),
    "deleted_at": None,
}
_MERCHANT: Row = {
    "id": "m",
    "organizer_id": "o",
    "name": "{}",
    "slug": "s",
    "phone": None,
    "email": None,
    "address": '{"z": "last", "a": ["one", 2, {"b": "two"}]}',
    "latitude": 0.0,
    "longitude": None,
    "currency": None,
    "status": "active",
    "created_at": Decimal(0),
    "modified_at": Decimal(0),
    "deleted_at": None,
}


def _expected(**rows: list[Row]) -> dict[str, Expected]:
    tables: Tables = {table: [] for table in COLUMNS}
    return expected_of({**tables, **rows})


def test_times_are_rounded_down() -> None:
    """Half a millisecond before the epoch is -1, not 0."""
    document = _expected(Organizer=[_ORGANIZER])["organizers"].documents["o"]
    assert document == {
        "id": "o",
        "name_en": "x",
        "slug": "s",
        "status": "active",
        "createdAt": 1500,
        "modifiedAt": -1,
    }


def test_a_product_with_its_info() -> None:
    """Own part, enrichment, exact decimal, nulls left out at every level."""
    products = _expected(Product=[_PRODUCT], ProductInfo=[_INFO])["products"]
    assert products.documents["p"] == {
        "id": "p",
        "merchantId": "m",
        "sku": "k",
        "barcode": "",
        "kind": "simple",
        "basePrice": 12.5,
        "basePriceExact": "12.5000",
        "tags": ["a"],
        "stock": 2**63 - 1,
        "isAvailable": False,
        "availableFrom": -86_400_000,
        "status": "active",
        "createdAt": 0,
        "modifiedAt": 0,
        "infoId": "i",
        "name_en": "n",
        "images": [],
        "attributes": {"a": [1, {}]},
        "infoModifiedAt": 7000,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"deleted_at": Decimal(1)},
        {"product_id": "another"},
    ],
)
def test_an_info_that_does_not_count(change: Row) -> None:
    """Soft-deleted or of another product: no enrichment, and no document of its own."""
    products = _expected(Product=[_PRODUCT], ProductInfo=[{**_INFO, **change}])["products"]
    assert list(products.documents) == ["p"]
    assert "infoId" not in products.documents["p"]


def test_a_soft_deleted_row_has_no_document() -> None:
    """Not even when it is poison."""
    row = {**_PRODUCT, "deleted_at": Decimal("Infinity"), "base_price": "NaN"}
    products = _expected(Product=[row])["products"]
    assert (products.documents, products.poison) == ({}, {})


def test_a_merchant_without_location() -> None:
    """A location needs both coordinates; the leaves of an address come with keys sorted."""
    document = _expected(Merchant=[_MERCHANT])["merchants"].documents["m"]
    assert "location" not in document
    assert document["addressText"] == "one, two, last"
    both = {**_MERCHANT, "longitude": 1.5, "address": '{"n": 1}'}
    document = _expected(Merchant=[both])["merchants"].documents["m"]
    assert document["location"] == [0.0, 1.5]
    assert "addressText" not in document


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"name": '"x"'},
        {"name": '{"en": 1}'},
        {"name": '{"english": "x"}'},
        {"name": '{"": "x"}'},
        {"created_at": Decimal("-Infinity")},
    ],
)
def test_poison(change: Row) -> None:
    """Rows that no document can hold."""
    organizers = _expected(Organizer=[{**_ORGANIZER, **change}])["organizers"]
    assert organizers.documents == {}
    assert list(organizers.poison) == [change.get("id", "o")]


def test_locales() -> None:
    """Two or three letters, then subtags."""
    name = json.dumps({"en": "a", "zh-Hant_TW": "b", "vie": ""})
    document = _expected(Organizer=[{**_ORGANIZER, "name": name}])["organizers"].documents["o"]
    assert {key: value for key, value in document.items() if key.startswith("name")} == {
        "name_en": "a",
        "name_zh-Hant_TW": "b",
        "name_vie": "",
    }


def test_the_recorded_tables() -> None:
    """Samples of the recorded run, worked out by hand from its tables."""
    recorded = json.loads(
        (SHARED / "fixtures" / "debezium" / "expected-rows.json").read_text(), parse_float=Decimal
    )
    collections = expected_of(
        {table: [_from_json(table, row) for row in recorded[table]] for table in COLUMNS}
    )
    product = collections["products"].documents["p-1"]
    assert product["basePrice"] == 13.75
    assert product["basePriceExact"] == "13.7500"
    assert product["stock"] == 77
    assert product["tags"] == ["hot", "coffee", "đặc biệt"]
    assert product["modifiedAt"] == 1767916800000
    assert product["createdAt"] == 1767323045678
    assert "infoId" not in product  # its info row moved to p-6, which was deleted afterwards
    assert "p-6" not in collections["products"].documents
    assert collections["products"].documents["p-4"]["infoId"] == "pi-4b"
    assert collections["products"].documents["p-2b"]["basePriceExact"] == "99999999999999.9999"
    assert collections["merchants"].documents["mer-2"]["location"] == [0.0, 0.0]
    assert collections["merchants"].documents["mer-2"]["addressText"] == "Null Island"
    assert collections["organizers"].documents["org-1"]["metadata"]["limits"] == {"stores": 12}
    assert "cat-3" not in collections["categories"].documents  # soft-deleted
    assert collections["products"].documents["p-4"]["attributes"] == {"weight": 1.5}
    # "emoji" is no locale: five letters.
    assert {name: list(content.poison) for name, content in collections.items() if content.poison} == {
        "organizers": ["org-3"],
    }


def _from_json(table: str, row: dict[str, Any]) -> Row:
    """A row of `row_to_json`, with its columns as `rows.read_tables` would give them."""
    columns = COLUMNS[table]
    found = {name: _value(columns[name], row[name], name) for name in columns}
    if table == "Merchant":
        found |= {name: None if row[name] is None else float(row[name]) for name in ("latitude", "longitude")}
    return found


def _value(how: str, value: Any, name: str) -> Any:
    if value is None or how == "plain":
        return value
    if how == "text":
        return str(value) if name == "base_price" else json.dumps(value, default=float)
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    epoch = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return Decimal(epoch.days * 86400 + epoch.seconds) + Decimal(epoch.microseconds) / 1_000_000


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"isAvailable": True}, {"isAvailable": 1}),
        ({"stock": 1}, {"stock": 1.0}),
        ({"stock": 1}, {"stock": "1"}),
        ({"attributes": {"a": 1}}, {"attributes": {"a": 1.0}}),
        ({"attributes": {"a": 0}}, {"attributes": {"a": False}}),
        ({"attributes": {"a": 1}}, {"attributes": {"a": 1, "old": 2}}),
        ({"tags": []}, {}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
        ({}, {"barcode": ""}),
        ({"basePriceExact": "1.5000"}, {"basePriceExact": "1.5"}),
    ],
)
def test_the_comparison_is_strict(wanted: Row, found: Row) -> None:
    """Types, absence, order and leftovers all count."""
    expected = Expected({"p": {"id": "p", **wanted}})
    assert compare("products", expected, [{"id": "p", **found}], Allowed())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"basePrice": 2.0}, {"basePrice": 2}),
        ({"location": [1.0, 2.5]}, {"location": [1, 2.5]}),
        ({"attributes": 10**30}, {"attributes": 1e30}),
        ({}, {"_hash": "x"}),
    ],
)
def test_what_typesense_renders_anew(wanted: Row, found: Row) -> None:
    """Numbers that a float field or a double holds, and the daemon's own fields."""
    expected = Expected({"p": {"id": "p", **wanted}})
    assert not compare("products", expected, [{"id": "p", **found}], Allowed())


def test_a_letter_excuses_its_row_and_nothing_else() -> None:
    """A dead-lettered info row excuses a product's enrichment, not the product's own fields."""
    expected = Expected({"p": {"id": "p", "stock": 1, "infoId": "i", "name_en": "new"}})
    stored = [{"id": "p", "stock": 1, "infoId": "i", "name_en": "old"}]
    letter = Allowed(frozenset({("ProductInfo", "i")}))
    assert compare("products", expected, stored, Allowed())
    assert not compare("products", expected, stored, letter)
    assert compare("products", expected, [{**stored[0], "stock": 2}], letter)
    assert compare("products", expected, [], letter)
    assert not compare("products", expected, [], Allowed(frozenset({("Product", "p")})))


def test_poison_needs_a_letter() -> None:
    """A poison row that nothing names is a difference."""
    expected = Expected(poison={"p": "base_price NaN"}, poison_info={"q": "i"})
    assert compare("products", expected, [], Allowed()).unnamed == [
        "Product 'p'",
        "ProductInfo 'i'",
    ]
    letters = frozenset({("Product", "p"), ("ProductInfo", "i")})
    assert not compare("products", expected, [], Allowed(letters))


def test_missing_extra_twice() -> None:
    """Every way a document can be wrong as a whole."""
    differences = compare(
        "products", Expected({"a": {"id": "a"}}), [{"id": "b"}, {"id": "c"}, {"id": "c"}], Allowed()
    )
    assert (differences.missing, differences.extra, differences.twice) == (["a"], ["b", "c"], ["c"])
