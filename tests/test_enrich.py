"""The enrichment converges however several writers are interleaved, crash, or lose their answers."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_sync.mappers.products import PRODUCT_ENRICHMENT
from cdc_sync.model import Delete, Document, DocumentChange, Rejection, Upsert
from cdc_sync.schema import lookup_key
from cdc_sync.sink.enrich import write_enriched
from cdc_sync.sink.requests import Request
from tests.fakes import FakeTypesense

PARENT, SIDE = PRODUCT_ENRICHMENT.parent, PRODUCT_ENRICHMENT.side
PRODUCTS = ["p1", "p2", "p3"]
INFOS = ["i1", "i2"]
LOCALES = ["en", "vi", "fr"]


def product(product_id: str, stock: int) -> Upsert:
    """A product's own part."""
    return Upsert(PARENT, {"id": product_id, "sku": f"sku-{product_id}", "stock": stock})


def info(info_id: str, product_id: str, version: int, live: bool = True) -> Upsert:
    """A ProductInfo row, with a locale and attributes that depend on its version."""
    document: Document = {
        "id": info_id,
        "infoId": info_id,
        "productId": product_id,
        "_productKey": lookup_key(product_id),
        "_live": live,
        f"name_{LOCALES[version % 3]}": f"{info_id} v{version}",
        "attributes": {"v": version} if version % 2 else {"other": {"deep": version}},
        "infoModifiedAt": version,
    }
    return Upsert(SIDE, document)


class Story:
    """One input's changes in order; each is written by one plan after the other, as one partition is."""

    def __init__(self, changes: list[DocumentChange]) -> None:
        self.changes = changes

    def plan(self, change: DocumentChange) -> Generator[Request, Any, Any]:
        """The plan that writes one change."""
        parents = {change.id: change} if change.collection == PARENT else {}
        sides = {change.id: change} if change.collection == SIDE else {}
        return write_enriched(PRODUCT_ENRICHMENT, parents, sides)


def drive(server: FakeTypesense, change: DocumentChange, dies_at: int | None = None) -> list[Rejection]:
    """One writer alone; it may die just after a request (counted from 0) was applied."""
    plan = Story([]).plan(change)
    request = next(plan)
    for step in itertools.count():
        answer = server.answer(request)
        if step == dies_at:
            return []
        try:
            request = plan.send(answer)
        except StopIteration as done:
            return list(done.value)
    raise AssertionError


def expected(stories: list[Story]) -> dict[str, Document]:
    """The function of the inputs: each input's last change, joined."""
    last: dict[tuple[str, str], DocumentChange] = {
        (c.collection, c.id): c for story in stories for c in story.changes
    }
    rows = [c.document for (where, _), c in last.items() if where == SIDE and isinstance(c, Upsert)]
    return {
        product_id: change.document
        | PRODUCT_ENRICHMENT.of([row for row in rows if row["productId"] == product_id])
        for (where, product_id), change in last.items()
        if where == PARENT and isinstance(change, Upsert)
    }


def run_interleaved(stories: list[Story], choose: Any, crashes: int) -> FakeTypesense:
    """Run every story as a writer of its own, switching (and sometimes crashing) at every request."""
    server = FakeTypesense()
    todo = {n: list(story.changes) for n, story in enumerate(stories) if story.changes}
    running: dict[int, tuple[Generator[Request, Any, Any], Request]] = {}
    while todo:
        n = choose(sorted(todo))
        if n not in running:
            plan = stories[n].plan(todo[n][0])
            running[n] = (plan, next(plan))
        plan, request = running.pop(n)
        outcome = choose(["answer"] * 6 + ["die before", "die after"]) if crashes else "answer"
        if outcome == "die before":
            crashes -= 1
            continue  # its successor begins the same change again
        answer = server.answer(request)
        if outcome == "die after":
            crashes -= 1
            continue
        rejections: list[Rejection] | None = None
        try:
            running[n] = (plan, plan.send(answer))
        except StopIteration as done:
            rejections = done.value
        if rejections is not None:
            assert [] == rejections
            todo[n].pop(0)
            if not todo[n]:
                del todo[n]
    return server


@st.composite
def worlds(draw: st.DrawFn) -> list[Story]:
    """Each product and each info has a writer of its own, as if every one were in another partition."""
    stories = []
    for product_id in PRODUCTS:
        steps = draw(st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=3))
        stories.append(
            Story([Delete(PARENT, product_id) if s is None else product(product_id, s) for s in steps])
        )
    for info_id in INFOS:
        changes: list[DocumentChange] = []
        for version in range(draw(st.integers(0, 4))):
            kind = draw(st.sampled_from(["upsert", "upsert", "soft delete", "delete"]))
            owner = draw(st.sampled_from(PRODUCTS))
            if kind == "delete":
                changes.append(Delete(SIDE, info_id))
            else:
                changes.append(info(info_id, owner, version, live=kind == "upsert"))
        stories.append(Story(changes))
    return stories


@settings(max_examples=500, deadline=None)
@given(worlds(), st.data(), st.integers(0, 3))
def test_any_interleaving_with_crashes_ends_in_the_function_of_the_inputs(
    stories: list[Story], data: st.DataObject, crashes: int
) -> None:
    """Products equal their last own part and their live info, whoever wrote when and died where."""
    server = run_interleaved(stories, lambda options: data.draw(st.sampled_from(options)), crashes)
    assert expected(stories) == server.collections.get(PARENT, {})


def test_side_rows_of_deleted_infos_do_not_stay() -> None:
    """A deleted info leaves nothing in the side collection once its products are right."""
    stories = [Story([product("p1", 1)]), Story([info("i1", "p1", 1), Delete(SIDE, "i1")])]
    server = run_interleaved(stories, lambda options: options[0], 0)
    assert {} == server.collections[SIDE]


@pytest.mark.parametrize("live", [True, False])
def test_nothing_is_owed_at_the_end(live: bool) -> None:
    """A row that moved remembers its former product only until that one is put right."""
    stories = [
        Story([product("p1", 1), product("p2", 1)]),
        Story([info("i1", "p1", 1), info("i1", "p2", 2, live)]),
    ]
    server = run_interleaved(stories, lambda options: options[0], 0)
    assert "_owed" not in server.collections[SIDE]["i1"]
    assert expected(stories) == server.collections[PARENT]


@pytest.mark.parametrize("move", [info("i1", "p2", 2), Delete(SIDE, "i1")])
@pytest.mark.parametrize("dies_at", range(6))
def test_a_writer_that_dies_while_an_info_leaves_a_product(move: DocumentChange, dies_at: int) -> None:
    """Its successor still puts the former product right, at whatever request it died."""
    server = FakeTypesense()
    before: list[DocumentChange] = [product("p1", 1), product("p2", 1), info("i1", "p1", 1)]
    for change in before:
        drive(server, change)
    drive(server, move, dies_at)
    drive(server, move)
    assert expected([Story([*before, move])]) == server.collections[PARENT]


def test_a_refused_enrichment_is_blamed_on_its_row() -> None:
    """When a product cannot take a field, the info row is the one that becomes a dead letter."""
    server = FakeTypesense()
    drive(server, product("p1", 1))
    server.refuse = lambda collection, document: collection == PARENT and "attributes" in document
    assert [(SIDE, "i1")] == [tuple(r.key) for r in drive(server, info("i1", "p1", 1))]
