"""Search that a person enjoys: what is found, in which order, and what is marked."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from cdc_sync.typesense_standin.textindex import distance

from .conftest import Client

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "1", "name_en": "Running shoe", "name_vi": "Giày chạy bộ", "price": 30, "kind": "shoe"},
    {"id": "2", "name_en": "Shoelace, red", "price": 3, "kind": "part", "tags": ["Red shoe", "x"]},
    {"id": "3", "name_en": "Trail shirt", "name_vi": "Áo đường mòn", "price": 20, "kind": "wear"},
    {"id": "4", "name_en": "Crème brûlée", "price": 5, "kind": "food"},
    {"id": "5", "name_en": "Shoe", "price": 40, "kind": "shoe"},
]


@pytest.fixture(autouse=True)
def products(client: Client) -> None:
    client.create(
        "p",
        {"name": "name_.*", "type": "string"},
        {"name": "price", "type": "float"},
        {"name": "kind", "type": "string", "facet": True},
        {"name": "tags", "type": "string[]", "optional": True},
    )
    assert all(line["success"] for line in client.upsert("p", *DOCUMENTS))


def search(client: Client, q: str, **params: object) -> Any:
    query = {"q": q, "query_by": "name_*", **params}
    text = "&".join(f"{key}={quote(str(value))}" for key, value in query.items())
    return client.json("GET", f"/collections/p/documents/search?{text}")


def ids(result: Any) -> list[str]:
    return [hit["document"]["id"] for hit in result["hits"]]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("shoe", ["5", "1", "2"]),  # all of the field, then a word of it, then a prefix
        ("sho", ["5", "2", "1"]),
        ("running shoe", ["1"]),
        ("shoe running", ["1"]),
        ("GIAY chay", ["1"]),
        ("giày", ["1"]),
        ("duong", ["3"]),
        ("creme brulee", ["4"]),
        ("runing", ["1"]),  # one letter missing
        ("rnuning", ["1"]),  # two swapped
        ("shirt -trail", []),
        ("shoe -running", ["5", "2"]),
        ("trail spaceship", ["3"]),  # a word that is nowhere is dropped
        ("qqqq", []),
    ],
)
def test_what_is_found(client: Client, q: str, expected: list[str]) -> None:
    assert ids(search(client, q)) == expected


def test_typos_only_when_nothing_else_is_found(client: Client) -> None:
    assert ids(search(client, "shoe", num_typos=2)) == ["5", "1", "2"]
    assert ids(search(client, "shie", num_typos=0)) == []
    assert set(ids(search(client, "shie", prefix="false"))) == {"1", "5"}


def test_an_earlier_field_beats_a_later_one(client: Client) -> None:
    found = search(client, "red", query_by="tags,name_en")
    assert ids(found) == ["2"]
    assert ids(search(client, "x shoe", query_by="name_en,tags")) == ["2"]


def test_highlights(client: Client) -> None:
    hit = search(client, "giay", filter_by="id:1")["hits"][0]
    assert hit["highlight"] == {
        "name_vi": {"matched_tokens": ["Giày"], "snippet": "<mark>Giày</mark> chạy bộ"}
    }
    lace = search(client, "shoel")["hits"][0]["highlights"]
    expected = {"field": "name_en", "matched_tokens": ["Shoel"]}
    assert lace == [expected | {"snippet": "<mark>Shoel</mark>ace, red"}]
    array = search(client, "red", query_by="tags")["hits"][0]["highlight"]["tags"]
    assert array == [
        {"matched_tokens": ["Red"], "snippet": "<mark>Red</mark> shoe"},
        {"matched_tokens": [], "snippet": "x"},
    ]


def test_long_texts_are_cut_to_a_snippet(client: Client) -> None:
    client.upsert(
        "p", {"id": "6", "name_en": "word " * 40 + "needle" + " word" * 40, "price": 1, "kind": "x"}
    )
    snippet = search(client, "needle")["hits"][0]["highlights"][0]["snippet"]
    assert snippet == "word word word word <mark>needle</mark> word word word word"


def test_sorting_and_facets(client: Client) -> None:
    result = search(client, "*", sort_by="price:asc", facet_by="kind", per_page=2)
    assert ids(result) == ["2", "4"]
    assert result["facet_counts"][0]["counts"][0] == {
        "count": 2,
        "highlighted": "shoe",
        "value": "shoe",
    }
    assert ids(search(client, "shoe", sort_by="price:desc")) == ["5", "1", "2"]


def test_multi_search(client: Client) -> None:
    asked = {"searches": [{"collection": "p", "q": "shoe", "per_page": 1}, {"collection": "no"}]}
    results = client.json("POST", "/multi_search?query_by=name_en", asked)["results"]
    assert results[0]["found"] == 3
    assert results[1] == {"code": 404, "error": "Collection not found"}


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("shoe", "shoe", 0),
        ("shoe", "shoes", 1),
        ("shoe", "sheo", 1),
        ("shoe", "hose", 2),
        ("", "ab", 2),
        ("abc", "xyz", 3),
    ],
)
def test_distance(left: str, right: str, edits: int) -> None:
    assert distance(left, right, 2) == min(edits, 3)
    assert distance(right, left, 2) == min(edits, 3)
