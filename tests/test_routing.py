"""Tables find their mappers, collections their lanes, and what does not fit together is refused at once."""

from __future__ import annotations

import pytest

from cdc_sync.errors import ConfigError
from cdc_sync.mappers import ENRICHMENTS, MAPPERS
from cdc_sync.mappers.columns import Column, localized, text
from cdc_sync.mappers.table import TableMapper
from cdc_sync.routing import Router
from cdc_sync.schema import Enrichment


def mapper(table: str, collection: str, *columns: Column) -> TableMapper:
    """A mapper of one table."""
    return TableMapper(table, collection, columns)


def enrichment(parent: str, side: str, *fields: str) -> Enrichment:
    """How `parent` gets fields from `side`."""
    return Enrichment(parent, side, "parentId", "_parentKey", "_live", "_owed", ("id",), fields)


def test_every_table_has_its_mapper() -> None:
    """And a table that nobody maps has none."""
    router = Router(MAPPERS, ENRICHMENTS)
    assert list(MAPPERS) == [router.mapper(m.table) for m in MAPPERS]
    assert router.mapper("debezium_signal") is None
    assert tuple(m.table for m in MAPPERS) == router.tables


def test_the_columns_to_decode_are_those_that_mappers_read() -> None:
    """Each table's own, the key and the soft delete among them."""
    reads = Router(MAPPERS, ENRICHMENTS).reads
    assert set(reads) == {m.table for m in MAPPERS}
    assert {"id", "deleted_at", "available_from"} <= set(reads["Product"].columns)
    assert "description" not in reads["Product"].columns
    assert ("id",) == reads["Product"].key


def test_a_collection_and_its_side_share_a_lane() -> None:
    """All others are written side by side, in the order of the mappers."""
    expected = (
        ("organizers",),
        ("merchants",),
        ("categories",),
        ("devices",),
        ("sale-channels",),
        ("products", "product-infos"),
    )
    assert expected == Router(MAPPERS, ENRICHMENTS).lanes()


def test_every_collection_is_in_one_lane() -> None:
    """None is forgotten, wherever its side stands among the mappers."""
    router = Router([mapper("S", "side"), mapper("P", "parents"), mapper("O", "others")], [])
    assert (("side",), ("parents",), ("others",)) == router.lanes()
    joined = Router(
        [mapper("S", "side"), mapper("P", "parents"), mapper("O", "others")], [enrichment("parents", "side")]
    )
    assert (("parents", "side"), ("others",)) == joined.lanes()
    assert ["side", "parents", "others"] == [c.name for c in joined.collections]


def test_an_enrichment_without_its_mappers_does_not_count() -> None:
    """Whoever maps products only gets products without infos, and no lane of a missing collection."""
    products = [m for m in MAPPERS if m.collection.name == "products"]
    router = Router(products, ENRICHMENTS)
    assert ((), (("products",),)) == (router.enrichments, router.lanes())


def test_the_tables_of_a_collection() -> None:
    """By the collection's name."""
    router = Router(MAPPERS, ENRICHMENTS)
    assert [("ProductInfo",), ()] == [router.tables_of("product-infos"), router.tables_of("ProductInfo")]


@pytest.mark.parametrize(
    ("mappers", "word"),
    [
        ([mapper("T", "one"), mapper("T", "two")], "table T"),
        ([mapper("T", "one"), mapper("U", "one")], "collection one"),
    ],
)
def test_two_owners_are_refused(mappers: list[TableMapper], word: str) -> None:
    """Of a table, or of a collection; the message names it."""
    with pytest.raises(ConfigError, match=word):
        Router(mappers)


@pytest.mark.parametrize(
    ("own", "fields"),
    [
        (text("status"), ("status",)),
        (localized("name"), ("name_*",)),
        (text("x", field="name_en"), ("infoId", "name_*")),
        (localized("name"), ("name_en",)),
    ],
)
def test_a_field_with_two_owners_is_refused(own: Column, fields: tuple[str, ...]) -> None:
    """By name, or by a pattern of either side: they would overwrite each other for ever."""
    mappers = [mapper("P", "parents", own), mapper("S", "side")]
    with pytest.raises(ConfigError, match="one owner"):
        Router(mappers, [enrichment("parents", "side", *fields)])


def test_fields_that_only_look_alike_are_two() -> None:
    """`name` is no locale of `name_*`."""
    mappers = [mapper("P", "parents", text("name")), mapper("S", "side")]
    fits = enrichment("parents", "side", "name_*")
    assert (fits,) == Router(mappers, [fits]).enrichments
