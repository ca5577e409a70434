"""Documents become bodies that lose nothing on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_sync.model import Document
from cdc_sync.sink.bodies import chunked, import_bodies
from tests.strategies import json_objects, texts

CUT_FROM = 196_605
"""Typesense cuts bodies from here on at any byte."""


def bodies_of(documents: Sequence[Document]) -> list[list[Any]]:
    """The documents of each body, in order; every rule about bodies is checked on the way."""
    found = []
    for body, count in import_bodies(documents):
        lines = body.split(b"\n")
        assert len(body) < 190_000 < CUT_FROM or (body.isascii() and len(lines) == 1)
        assert count == len(lines)
        assert all(lines)
        found.append([json.loads(line) for line in lines])
    return found


@st.composite
def large_documents(draw: st.DrawFn) -> list[Document]:
    """Documents whose sizes are around what a body takes, in characters of one to four bytes."""
    sizes = st.one_of(st.integers(0, 300), st.integers(60_000, 64_000), st.integers(189_900, 190_100))
    kinds = st.tuples(st.sampled_from(["a", "é", "日", "👩"]), sizes)
    return [
        {"id": str(n), "text": character * (size // len(character.encode()))}
        for n, (character, size) in enumerate(draw(st.lists(kinds, max_size=8)))
    ]


@settings(max_examples=40)
@given(large_documents())
def test_bodies_are_small_or_ascii_and_hold_every_document_in_order(documents: list[Document]) -> None:
    """One by itself that is too large goes alone."""
    bodies = bodies_of(documents)
    assert documents == [document for body in bodies for document in body]


@given(st.lists(st.fixed_dictionaries({"id": texts(), "x": json_objects()}), max_size=20))
def test_small_documents_go_in_one_body(documents: list[Document]) -> None:
    """With every value as it was, whatever its strings hold; none without documents."""
    assert ([documents] if documents else []) == bodies_of(documents)


@pytest.mark.parametrize("character", ["a", "é", "日", "👩"])
@pytest.mark.parametrize("delta", range(-3, 4))
def test_the_edge(character: str, delta: int) -> None:
    """Around the largest line that may go with others."""
    plain = len(b'{"id":"1","text":""}')
    size = 190_000 - plain + delta
    filler = "a" * (size % len(character.encode()))
    document = {"id": "1", "text": filler + character * (size // len(character.encode()))}
    assert [[document]] == bodies_of([document])


def test_a_body_is_filled() -> None:
    """Not one request a document: so many as fit go together."""
    documents = [{"id": str(n), "text": "x" * 1000} for n in range(1000)]
    assert len(bodies_of(documents)) <= 7


def test_numbers_are_exact_in_a_large_document() -> None:
    """Writing it in ASCII changes no digit."""
    numbers = [2**63 - 1, -(2**63), 2**64 - 1, 0.1, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 12.5]
    document = {"id": "1", "n": numbers, "b": [True, False], "text": "é" * 100_000}
    ((found,),) = bodies_of([document])
    assert json.dumps(document) == json.dumps(found)


@given(st.lists(texts()), st.integers(1, 20))
def test_chunks_are_the_values_in_order(values: list[str], max_chars: int) -> None:
    """Each within the limit, unless one value by itself is longer; none is empty; none could be larger."""
    chunks = [list(chunk) for chunk in chunked(values, max_chars)]
    assert values == [value for chunk in chunks for value in chunk]
    sizes = [sum(len(value) + 1 for value in chunk) for chunk in chunks]
    assert all(size <= max_chars or len(chunk) == 1 for size, chunk in zip(sizes, chunks, strict=True))
    assert [] not in chunks
    for size, following in zip(sizes, chunks[1:], strict=False):
        assert size + len(following[0]) + 1 > max_chars
