"""No id reaches another document, another collection or an alias, whatever it means elsewhere in HTTP."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cdc_sync.mappers.products import PRODUCT_ENRICHMENT
from cdc_sync.model import Delete, Document, Upsert
from cdc_sync.typesense_standin import StandIn
from tests.test_sink import OverHttp, thing


@pytest.fixture
def over_http() -> Iterator[OverHttp]:
    """The real sink, over the stand-in or a real Typesense."""
    with StandIn(port=0, api_key="xyz") as standin:
        url = os.environ.get("CDC_SYNC_TEST_TYPESENSE_URL", standin.url)
        key = os.environ.get("CDC_SYNC_TEST_TYPESENSE_API_KEY", "xyz")
        with closing(OverHttp(url, key, f"_{uuid.uuid4().hex[:8]}")) as subject:
            yield subject


HOSTILE = [
    "..", ".", "../..", "../../aliases/x", "%2E%2E", "%2e%2e/x", "*", "?", "a/b?c#d", "a#b",
    "?filter_by=id:*", "&filter_by=id:*", "a&truncate=true", "`", "``", "`]||id:*||id:[`", "] || id:!=[x",
    "id:*", "x || id:*", "search", "export", "import", "documents", "overrides/x", " ", "\t", "\n",
    "\r\nX: y", "a\x00b", "a,plain", "plain ", "Plain", "plain`", "plain/", "plain?", "plain%00",
]  # fmt: skip


def test_no_id_reaches_another_document_or_drops_a_collection(over_http: OverHttp) -> None:
    """Ids that mean something in a path, a query, a filter or a header: written, completed and deleted.

    A bystander in the same collection, the other collections and all aliases stay as they are.
    """
    parent = PRODUCT_ENRICHMENT.parent
    bystanders = {"plain": {"id": "plain", "name": "n"}, "b": {"id": "b", "name": "n"}}
    over_http.write(*[thing(i, name="n") for i in bystanders], Upsert(parent, {"id": "p", "stock": 1}))

    def surroundings() -> tuple[Any, Any, dict[str, Document]]:
        collections = [c["name"] for c in json.loads(over_http.get("/collections"))]
        aliases = json.loads(over_http.get("/aliases"))["aliases"]
        return sorted(collections), sorted(aliases, key=str), over_http.stored(parent)

    before = surroundings()
    for hostile in HOSTILE:
        over_http.write(thing(hostile, name="1", big="kept"))
        over_http.write(Upsert("things", {"id": hostile, "name": "2"}, ("big",)))
        written = {hostile: {"id": hostile, "name": "2", "big": "kept"}}
        assert bystanders | written == over_http.stored("things"), hostile
        over_http.write(Delete("things", hostile))
        over_http.write(Delete("things", hostile))  # also when it is not there
        assert (bystanders, before) == (over_http.stored("things"), surroundings()), hostile
    over_http.write(*[thing(hostile, name="n") for hostile in HOSTILE])
    over_http.write(*[Delete("things", hostile) for hostile in HOSTILE])
    assert (bystanders, before) == (over_http.stored("things"), surroundings())
