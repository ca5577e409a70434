"""How a collection is written: the right requests, and every refusal at the one document that caused it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_sync.errors import SinkUnavailable
from cdc_sync.model import Delete, Document, DocumentChange, Rejection, Upsert
from cdc_sync.sink import requests
from cdc_sync.sink.plan import write_collection
from cdc_sync.sink.requests import LineError, import_documents
from tests.fakes import FakeTypesense


def write(server: FakeTypesense, *changes: DocumentChange) -> list[Rejection]:
    """Write changes of the collection `t`."""
    return server.run(write_collection("t", {change.id: change for change in changes}))


def upserts(count: int) -> list[Upsert]:
    """So many documents."""
    return [Upsert("t", {"id": str(n), "n": n}) for n in range(count)]


def stored(server: FakeTypesense) -> dict[str, Document]:
    """What the collection holds."""
    return server.collections["t"]


def test_upserts_and_deletes_in_two_requests() -> None:
    """One import and one delete, however many documents; nothing is read that is not needed."""
    server = FakeTypesense()
    server.collections["t"] = {"old": {"id": "old"}, "stays": {"id": "stays"}}
    assert [] == write(server, *upserts(3), Delete("t", "old"), Delete("t", "never was"))
    assert {"stays", "0", "1", "2"} == stored(server).keys()
    assert [requests.Import, requests.Delete] == [type(request) for request in server.asked]


def test_nothing_is_asked_for_nothing() -> None:
    """No request without documents: an empty import or filter is an error of its own."""
    server = FakeTypesense()
    assert [] == write(server)
    assert [requests.Delete("t", ("a",))] == (write(server, Delete("t", "a")) or server.asked)


def test_a_document_is_replaced_whole() -> None:
    """No field of the old one survives."""
    server = FakeTypesense()
    server.collections["t"] = {"1": {"id": "1", "a": 1, "free": {"x": 1}}}
    write(server, Upsert("t", {"id": "1", "free": {"y": 1}}))
    assert {"1": {"id": "1", "free": {"y": 1}}} == stored(server)


def test_what_is_kept_comes_from_the_stored_document() -> None:
    """The kept fields only, every locale of them; what was null there stays absent."""
    server = FakeTypesense()
    server.collections["t"] = {"1": {"id": "1", "n": 1, "gone": 1, "name_en": "x", "name_vi": "y"}}
    assert [] == write(server, Upsert("t", {"id": "1", "n": 2}, ("name_*", "tags")), Upsert("t", {"id": "2"}))
    assert {"id": "1", "n": 2, "name_en": "x", "name_vi": "y"} == stored(server)["1"]
    assert requests.ReadById("t", ("1",)) == server.asked[0]


def test_a_row_without_a_document_to_keep_from_is_refused() -> None:
    """It is named with the cure, and its neighbours are written."""
    server = FakeTypesense()
    (rejection,) = write(server, Upsert("t", {"id": "1"}, ("a", "name_*")), *upserts(1))
    assert ("t", "1") == rejection.key
    assert all(word in rejection.reason for word in ("a, name_*", "'1'", "FULL", "incremental snapshot"))
    assert {"0"} == stored(server).keys()


def test_typesenses_own_words_are_the_reason() -> None:
    """Code and text; and a refused document stays as it was."""
    server = FakeTypesense()
    server.collections["t"] = {"1": {"id": "1", "n": 0}}
    server.refuse = lambda _, document: document["n"] == 1
    (rejection,) = write(server, *upserts(3))
    assert ("t", "1") == rejection.key
    assert "400 Field `x` must be a string." in rejection.reason
    assert {"0": 0, "1": 0, "2": 2} == {i: document["n"] for i, document in stored(server).items()}


@settings(max_examples=40)
@given(
    st.sampled_from([1, 2, 3, 999, 1000, 1001]),
    st.sets(st.integers(0, 1000), max_size=3),
    st.sets(st.integers(0, 1000), max_size=3),
)
def test_only_the_poisoned_documents_are_refused(count: int, poisoned: set[int], refused: set[int]) -> None:
    """One poisoned document fails its whole batch with 500; it is found, and all others are written."""
    server = FakeTypesense()
    server.poisons = lambda _, document: document["n"] in poisoned
    server.refuse = lambda _, document: document["n"] in refused
    rejections = write(server, *upserts(count))
    expected = {str(n) for n in poisoned | refused if n < count}
    assert expected == {rejection.key.id for rejection in rejections}
    assert len(expected) == len(rejections)
    assert {str(n) for n in range(count)} - expected == stored(server).keys()


def test_a_poisoned_document_is_found_in_few_requests() -> None:
    """By halves: twice the depth, not one request a document."""
    server = FakeTypesense()
    server.poisons = lambda _, document: document["n"] == 617
    assert ["617"] == [rejection.key.id for rejection in write(server, *upserts(1000))]
    assert len(server.asked) <= 1 + 2 * 10


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (LineError(500, "Could not write to on-disk storage."), True),
        (LineError(500, "Error fetching the sequence key for document with id: 1"), True),
        (LineError(503, "x"), True),
        (LineError(408, "x"), True),
        (LineError(429, "x"), True),
        (LineError(400, "Bad JSON: not a properly formed document."), False),
        (LineError(404, "Field `a.b` not found."), False),
        (LineError(404, "Could not find a document with id: 1"), False),
        (LineError(409, "A document with id 1 already exists."), False),
        (LineError(500, "Unhandled Typesense error in index batch, check logs for details."), False),
    ],
)
def test_an_error_that_will_pass_blames_no_document(error: LineError, passes: bool) -> None:
    """The call is made again as a whole; only what lasts is the document's own fault."""
    plan = import_documents("t", "upsert", [{"id": "1"}])
    next(plan)
    if passes:
        with pytest.raises(SinkUnavailable, match=str(error.code)):
            plan.send([error])
    else:
        with pytest.raises(StopIteration) as done:
            plan.send([error])
        assert {"1": error} == done.value.value


def test_an_outage_among_poison_is_an_outage() -> None:
    """Nothing is decided about the poison before the whole call has gone through."""
    plan = import_documents("t", "upsert", [{"id": "1"}, {"id": "2"}])
    next(plan)
    with pytest.raises(SinkUnavailable):
        plan.send([LineError(400, "x"), LineError(503, "y")])


@pytest.mark.parametrize(
    ("error", "is_missing"),
    [
        (LineError(404, "Could not find a document with id: 1"), True),
        (LineError(404, "Field `a.b` not found."), False),
        (LineError(400, "Could not find a document with id: 1"), False),
    ],
)
def test_a_missing_document_is_known_by_code_and_text(error: LineError, is_missing: bool) -> None:
    """The code alone is also that of a missing nested field."""
    assert is_missing is error.is_missing_document


# The stand-in itself ------------------------------------------------------------------------------------


def test_the_fake_merges_like_typesense() -> None:
    """Null removes, objects merge, arrays are replaced, nulls in what is new are stripped."""
    server = FakeTypesense()
    server.collections["t"] = {"1": {"id": "1", "a": 1, "o": {"x": 1, "y": [1]}, "l": [1, 2]}}
    patch = {"id": "1", "a": None, "o": {"x": None, "z": {"n": None}}, "l": [None, 3]}
    (outcome,) = server.answer(requests.Import("t", "update", [patch]))
    assert outcome is None
    assert {"id": "1", "o": {"y": [1], "z": {}}, "l": [3]} == stored(server)["1"]


def test_the_fake_updates_nothing_that_is_missing() -> None:
    """A line error, which the neighbours do not share; lines see the effect of those before them."""
    server = FakeTypesense()
    outcomes = server.answer(requests.Import("t", "update", [{"id": "1"}]))
    assert [True] == [o.is_missing_document for o in outcomes]
    lines: list[Document] = [{"id": "1", "a": 1}, {"id": "1", "a": 2}, {"id": 1}, {"id": ""}]
    codes = [o and o.code for o in server.answer(requests.Import("t", "upsert", lines))]
    assert ([None, None, 400, 400], {"1": {"id": "1", "a": 2}}) == (codes, stored(server))


def test_the_fake_lends_nothing_of_its_own() -> None:
    """Neither what it was given nor what it answers can change what it holds."""
    server = FakeTypesense()
    document = {"id": "1", "free": {"k": 7}}
    server.answer(requests.Import("t", "upsert", [document]))
    document["free"] = {}
    (found,) = server.answer(requests.ReadByLookup("t", "free", ())) or server.answer(
        requests.ReadById("t", ("1", "2", "1"))
    )
    found["free"]["k"] = 8
    assert {"id": "1", "free": {"k": 7}} == stored(server)["1"]
