"""What a mapper declares of Typesense: names that are safe, and differences that are seen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdc_sync.mappers import MAPPERS
from cdc_sync.mappers.products import PRODUCT_ENRICHMENT
from cdc_sync.schema import (
    Collection,
    Field,
    field_matches,
    filter_safe,
    lookup_key,
    safe_id,
    schema_differences,
)
from tests.strategies import AWKWARD_IDS, ids, texts

COLLECTIONS = [mapper.collection for mapper in MAPPERS]


# Ids and lookup keys ------------------------------------------------------------------------------------


@given(ids(), ids())
@example("~61", "a")
@example("~", "~7e")
@example("/", "~2f")
def test_two_ids_are_never_encoded_alike(one: str, other: str) -> None:
    """Also when one of them looks like an encoded one."""
    assert (one == other) == (safe_id(one) == safe_id(other))


@given(ids())
def test_an_id_that_looks_encoded_is_encoded_too(text: str) -> None:
    """Else it would be taken for the one that it looks like."""
    found = safe_id(text)
    assert found == text or safe_id(found) != found


@given(ids())
def test_an_encoded_id_is_safe(text: str) -> None:
    """In a filter; one that is too long for that still is a plain path segment."""
    found = safe_id(text)
    assert re.fullmatch(r"[A-Za-z0-9_.:~-]+", found)
    assert filter_safe(found) or len(found) > 512
    assert found not in (".", "..", "*")


@pytest.mark.parametrize("text", ["p-1", "550e8400-e29b-41d4-a716-446655440000", "a.b:c_d~e", "0"])
def test_an_ordinary_id_stays_readable(text: str) -> None:
    """Only awkward ones are encoded."""
    assert text == safe_id(text)


@pytest.mark.parametrize("text", [t for t in AWKWARD_IDS if not re.fullmatch(r"[\w.:~-]+", t, re.ASCII)])
def test_an_id_that_a_filter_would_misread_is_not_safe(text: str) -> None:
    """`*` means every document there; spaces, quotes and brackets mean something else."""
    assert not filter_safe(text)


@pytest.mark.parametrize("text", ["", ".", "..", "-", "a" * 513, "a\n", "é", "a b"])
def test_edges_of_what_a_filter_takes(text: str) -> None:
    """Nothing empty, nothing of punctuation only, nothing endless, no line end."""
    assert not filter_safe(text)


def test_a_lookup_key_is_the_same_for_ever() -> None:
    """It is stored: another hash would lose every product's info."""
    assert [2_222_554_189_842_035, 3_581_181_709_360_491] == [lookup_key("p-1"), lookup_key("Đồ uống")]


@given(texts())
def test_a_lookup_key_is_exact_in_a_double(text: str) -> None:
    """Typesense and its clients may pass numbers through one."""
    key = lookup_key(text)
    assert 0 <= key < 2**53
    assert key == int(float(key))


@given(st.sets(ids(), min_size=2, max_size=20))
def test_lookup_keys_differ(some: set[str]) -> None:
    """Of so few, by chance never alike."""
    assert len(some) == len({lookup_key(text) for text in some})


# Fields by name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("name_en", ("name_*",), True),
        ("name", ("name_*",), False),
        ("surname_en", ("name_*",), False),
        ("name_en", ("name",), False),
        ("name_en", (), False),
        ("infoId", ("name_*", "infoId"), True),
        ("infoIdx", ("infoId",), False),
    ],
)
def test_a_pattern_stands_for_every_locale(name: str, patterns: tuple[str, ...], expected: bool) -> None:
    """And for nothing else; a name stands for itself."""
    assert expected is field_matches(name, patterns)


# Enrichment ---------------------------------------------------------------------------------------------


def side_row(row_id: str, modified: int, live: bool = True, **fields: Any) -> dict[str, Any]:
    """A row of the side collection."""
    return {
        "id": row_id,
        "infoId": row_id,
        "productId": "p",
        "_productKey": 1,
        "_live": live,
        "infoModifiedAt": modified,
        **fields,
    }


def test_a_parent_takes_over_the_declared_fields_only() -> None:
    """Nothing of the daemon's own, nor the foreign key."""
    row = side_row("i", 1, name_en="N", description_vi="D", images=[], attributes={"a": 1}, _owed=["q"])
    expected = {
        "infoId": "i",
        "infoModifiedAt": 1,
        "name_en": "N",
        "description_vi": "D",
        "images": [],
        "attributes": {"a": 1},
    }
    assert expected == PRODUCT_ENRICHMENT.of([row])
    assert expected == PRODUCT_ENRICHMENT.part_of({"id": "p", "name": "own", "sku": "own", **row})


@given(st.permutations([side_row("a", 1), side_row("b", 1), side_row("c", 9, live=False)]))
def test_the_choice_does_not_depend_on_the_order(rows: list[dict[str, Any]]) -> None:
    """Of two that seem live every writer takes the same; one that is not live does not count."""
    assert "b" == PRODUCT_ENRICHMENT.of(rows)["infoId"]


def test_no_live_row_is_no_enrichment() -> None:
    """None at all, or only deleted ones."""
    assert [{}, {}] == [PRODUCT_ENRICHMENT.of([]), PRODUCT_ENRICHMENT.of([side_row("a", 1, live=False)])]


# Differences --------------------------------------------------------------------------------------------

SORTABLE = {"int32", "int64", "float", "bool", "geopoint"}


def live(collection: Collection) -> list[dict[str, Any]]:
    """The fields of a collection as Typesense tells them, every default filled in."""
    return [
        {
            "name": f.name,
            "type": f.type,
            "facet": f.facet,
            "optional": f.optional or f.name.endswith(".*"),
            "index": f.index,
            "sort": f.index
            and (f.type in SORTABLE and not f.name.endswith(".*") if f.sort is None else f.sort),
            "infix": False,
            "locale": "",
            "stem": False,
            "store": True,
        }
        for f in collection.fields
    ]


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: str(c.name))
def test_a_collection_as_declared_has_no_difference(collection: Collection) -> None:
    """Nor has one into which dynamic names have brought concrete ones."""
    fields = live(collection)
    brought = [{**spec, "name": spec["name"][:-2] + "en"} for spec in fields if spec["name"].endswith(".*")]
    assert [] == schema_differences(collection, fields + brought)


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: str(c.name))
@given(st.data())
def test_every_difference_is_seen(collection: Collection, data: st.DataObject) -> None:
    """A missing field, another one, another type or flag: one line that names the field."""
    fields = live(collection)
    spec = data.draw(st.sampled_from(fields))
    match data.draw(st.sampled_from(["missing", "more", "type", "facet", "optional", "index", "sort"])):
        case "missing":
            fields.remove(spec)
            if any(spec["name"].startswith(f.name[:-2]) for f in collection.fields if f.name.endswith(".*")):
                return
        case "more":
            spec = {**spec, "name": "zzz"}
            fields.append(spec)
        case "type":
            spec["type"] = "object"
        case "sort" if not spec["index"] or spec["name"].endswith(".*"):
            return  # not declared, so not compared
        case flag:
            spec[flag] = not spec[flag]
    lines = schema_differences(collection, fields)
    assert [spec["name"]] == [line.split()[1].rstrip(":") for line in lines]


def test_defaults_are_not_sent() -> None:
    """A body says what is meant; `sort` of a field that is not indexed means nothing."""
    expected = {"name": "x", "fields": [{"name": "a", "type": "string"}]}
    assert expected == Collection("c", (Field("a", "string"),)).as_json("x")
    assert {"name": "a", "type": "int64", "index": False} == Field(
        "a", "int64", index=False, sort=True
    ).as_json()


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: str(c.name))
def test_no_collection_has_what_changes_data(collection: Collection) -> None:
    """No automatic types, no nested fields, no two specs of one name (`typesense-v29.md`, 4.5, 10.5)."""
    names = [field.name for field in collection.fields]
    assert len(names) == len(set(names))
    assert {"name", "fields"} == collection.as_json().keys()
    assert not {"auto", "object", "object[]"} & {field.type for field in collection.fields}
    assert not [n for n in names if "." in n.removesuffix(".*")]
