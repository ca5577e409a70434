"""Sinks hold one contract, whether they write to the fake or, over HTTP, to a server.

The server is the stand-in, or a real Typesense when `CDC_SYNC_TEST_TYPESENSE_URL` (and `…_API_KEY`) is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytest

from cdc_sync.app import resolver
from cdc_sync.compaction import Asked, Batch
from cdc_sync.errors import LeaseExpired, SinkAmbiguous, SinkMisconfigured, SinkUnavailable, TransientError
from cdc_sync.mappers.products import PRODUCT_ENRICHMENT
from cdc_sync.model import Delete, Document, DocumentChange, Partition, Record, Rejection, Upsert
from cdc_sync.schema import Collection, Enrichment, Field, lookup_key
from cdc_sync.sink import TypesenseSink
from cdc_sync.sink.collections import Collections, client_of
from cdc_sync.sink.connection import Connection
from cdc_sync.sink.requests import Request
from cdc_sync.sink.typesense import plans
from cdc_sync.typesense_standin import Fault, StandIn
from tests.fakes import FakeTypesense

AWKWARD = ["a b", " edge ", "a/b", "a?b", "a#b", "a%41", "a+b", '"q"', "`t`", "a,b", ".", "..", "*", "日本",
           "search", "export", "a&&b", "(a)", "\\", "[a]", "x:y", "~", "a\nb"]  # fmt: skip


class Subject(Protocol):
    """What the contract is about: write changes, look at what is stored."""

    def write(self, *changes: DocumentChange) -> Sequence[Rejection]: ...
    def stored(self, collection: str) -> dict[str, Document]: ...


def batch_of(changes: Sequence[DocumentChange]) -> Batch:
    """The changes as one batch."""
    batch = Batch()
    for offset, change in enumerate(changes):
        batch.add(Asked(Record(Partition("t", 0), offset, None, None), change))
    return batch


class OnFake:
    """The plans, answered by the in-memory fake."""

    def __init__(self, enrichments: Sequence[Enrichment]) -> None:
        self.server = FakeTypesense()
        self.enrichments = enrichments
        self.server.refuse = lambda _, document: not isinstance(document.get("name", ""), str)

    def write(self, *changes: DocumentChange) -> Sequence[Rejection]:
        by_collection: dict[str, dict[str, DocumentChange]] = {}
        for pending in batch_of(changes):
            by_collection.setdefault(pending.change.collection, {})[pending.change.id] = pending.change
        rejections: list[Rejection] = []
        for plan in plans(by_collection, self.enrichments):
            answer: Any = None
            while True:
                try:
                    request: Request = plan.send(answer)
                except StopIteration as done:
                    rejections += done.value
                    break
                answer = self.server.answer(request)
        return rejections

    def stored(self, collection: str) -> dict[str, Document]:
        return self.server.collections.get(collection, {})


class OverHttp:
    """The real sink."""

    def __init__(self, url: str, api_key: str, suffix: str, read_timeout_s: float = 10.0) -> None:
        self.url, self.api_key = url, api_key
        names = [("things", ()), (PRODUCT_ENRICHMENT.parent, ()), (PRODUCT_ENRICHMENT.side, (LOOKUP,))]
        fields = (Field("name", "string", optional=True),)
        self.collections = [Collection(name + suffix, fields + more) for name, more in names]
        self.suffix = suffix
        self.connection = Connection([url], api_key, read_timeout_s=read_timeout_s)
        self.admin = Collections(client_of([url], api_key))
        self.may_write: Callable[[], bool] = lambda: True
        self.sink = TypesenseSink(
            self.connection,
            resolver(self.admin, self.collections, lambda *_: None),
            [renamed(suffix)],
            may_write=lambda: self.may_write(),
        )

    def write(self, *changes: DocumentChange) -> Sequence[Rejection]:
        return self.sink.write(batch_of([self.renamed(change) for change in changes]))

    def renamed(self, change: DocumentChange) -> DocumentChange:
        if isinstance(change, Delete):
            return Delete(change.collection + self.suffix, change.id)
        return Upsert(change.collection + self.suffix, change.document, change.keep)

    def get(self, path: str, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path, method=method, headers={"X-TYPESENSE-API-KEY": self.api_key}
        )
        if body is not None:
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def stored(self, collection: str) -> dict[str, Document]:
        lines = self.get(f"/collections/{collection}{self.suffix}/documents/export").split("\n")
        return {document["id"]: document for line in lines if line for document in [json.loads(line)]}

    def disconnect(self) -> None:
        self.connection.close()
        self.admin.close()

    def close(self) -> None:
        self.disconnect()
        for collection in self.collections:
            for path in (f"/collections/{collection.name}", f"/aliases/{collection.name}"):
                with contextlib.suppress(urllib.error.HTTPError):
                    self.get(path, "DELETE")


LOOKUP = Field(PRODUCT_ENRICHMENT.lookup_field, "int64", optional=True)


def renamed(suffix: str) -> Enrichment:
    """The enrichment, between the collections of one test."""
    return Enrichment(
        **{
            name: getattr(PRODUCT_ENRICHMENT, name) + (suffix if name in ("parent", "side") else "")
            if name in ("parent", "side")
            else getattr(PRODUCT_ENRICHMENT, name)
            for name in Enrichment.__struct_fields__
        }
    )


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    """One stand-in for the module."""
    with StandIn(port=0, api_key="xyz") as server:
        yield server


@pytest.fixture
def over_http(standin: StandIn) -> Iterator[OverHttp]:
    """The real sink on collections of its own; faults are gone at the end."""
    url = os.environ.get("CDC_SYNC_TEST_TYPESENSE_URL", standin.url)
    subject = OverHttp(
        url, os.environ.get("CDC_SYNC_TEST_TYPESENSE_API_KEY", "xyz"), f"_{uuid.uuid4().hex[:8]}"
    )
    yield subject
    standin.faults.clear()
    subject.close()


@pytest.fixture(params=["fake", "http"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Every implementation of the contract."""
    if request.param == "fake":
        return OnFake([PRODUCT_ENRICHMENT])
    found: Subject = request.getfixturevalue("over_http")
    return found


def thing(thing_id: str, **fields: Any) -> Upsert:
    """A document of a plain collection."""
    return Upsert("things", {"id": thing_id, **fields})


# The contract ------------------------------------------------------------------------------------------


def test_upserts_replace_and_deletes_remove(subject: Subject) -> None:
    """Whatever was there before, present or not."""
    assert (
        subject.write(thing("a", name="1", extra=1), thing("b", name="1"), Delete("things", "never was"))
        == []
    )
    assert subject.write(thing("a", name="2"), Delete("things", "b")) == []
    assert subject.stored("things") == {"a": {"id": "a", "name": "2"}}


def test_awkward_ids_mean_only_themselves(subject: Subject) -> None:
    """Written, completed and deleted one by one, none touches another or drops a collection."""
    subject.write(*[thing(i, name=f"n{i}", big="kept") for i in AWKWARD], thing("plain", name="n"))
    subject.write(*[Upsert("things", {"id": i, "name": "new"}, ("big",)) for i in AWKWARD])
    assert {i: {"id": i, "name": "new", "big": "kept"} for i in AWKWARD} | {
        "plain": {"id": "plain", "name": "n"}
    } == subject.stored("things")
    for n, awkward in enumerate(AWKWARD):
        subject.write(Delete("things", awkward))
        assert {*AWKWARD[n + 1 :], "plain"} == subject.stored("things").keys()


def test_a_bad_document_is_rejected_alone(subject: Subject) -> None:
    """One among 1,000; the others are in the index."""
    changes = [thing(f"t{n}", name=7 if n == 500 else "x") for n in range(1000)]
    [rejection] = subject.write(*changes)
    assert (rejection.key.id, "must be a string" in rejection.reason or "refused" in rejection.reason) == (
        "t500",
        True,
    )
    assert len(subject.stored("things")) == 999


def test_a_partial_row_without_its_document_is_rejected(subject: Subject) -> None:
    """Never written half, and the reason names the cure."""
    [rejection] = subject.write(Upsert("things", {"id": "a", "name": "x"}, ("big",)))
    assert "REPLICA IDENTITY FULL" in rejection.reason
    assert subject.stored("things") == {}


def test_a_partial_row_keeps_every_locale_and_loses_stale_ones(subject: Subject) -> None:
    """`name_*` is kept whole; fields that the event knows are replaced whole, nested ones too."""
    subject.write(thing("a", d_en="1", d_vi="2", n_en="old", n_fr="old", o={"x": 1, "y": 2}))
    subject.write(Upsert("things", {"id": "a", "n_en": "new", "o": {"y": 3}}, ("d_*",)))
    assert subject.stored("things") == {
        "a": {"id": "a", "d_en": "1", "d_vi": "2", "n_en": "new", "o": {"y": 3}}
    }


def test_large_and_many_documents_lose_nothing(subject: Subject) -> None:
    """Unicode across body limits, and single documents larger than a body."""
    texts = {f"t{n}": "日本語テキスト" * (300 + n) for n in range(120)} | {"huge": "đặc biệt " * 60_000}
    assert subject.write(*[thing(i, name=text) for i, text in texts.items()]) == []
    assert texts == {i: d["name"] for i, d in subject.stored("things").items()}


def test_products_are_joined_with_their_infos(subject: Subject) -> None:
    """Before, with and after the product; moved; removed."""
    parent, side = PRODUCT_ENRICHMENT.parent, PRODUCT_ENRICHMENT.side

    def info(info_id: str, product_id: str, **fields: Any) -> Upsert:
        row = {"id": info_id, "infoId": info_id, "productId": product_id, "_live": True,
               PRODUCT_ENRICHMENT.lookup_field: lookup_key(product_id)}  # fmt: skip
        return Upsert(side, row | fields)

    subject.write(info("i1", "p/1", name_en="One", attributes={"a": {"b": 1}}))
    subject.write(Upsert(parent, {"id": "p/1", "stock": 1}), Upsert(parent, {"id": "p2", "stock": 2}))
    assert subject.stored(parent)["p/1"]["name_en"] == "One"
    subject.write(info("i1", "p2", name_vi="Một", attributes={"a": {"c": 2}}))
    assert subject.stored(parent) == {
        "p/1": {"id": "p/1", "stock": 1},
        "p2": {"id": "p2", "stock": 2, "infoId": "i1", "name_vi": "Một", "attributes": {"a": {"c": 2}}},
    }
    subject.write(Delete(side, "i1"))
    assert subject.stored(parent)["p2"] == {"id": "p2", "stock": 2}
    assert subject.stored(side) == {}


# What only a server can do --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "lagging"}, SinkUnavailable),
        ({"kind": "rate_limit"}, SinkUnavailable),
        ({"kind": "out_of_resources"}, SinkUnavailable),
        ({"kind": "status"}, SinkUnavailable),
        ({"kind": "reset_before_apply"}, SinkAmbiguous),
        ({"kind": "reset_after_apply"}, SinkAmbiguous),
        ({"kind": "truncate", "lines": 1}, SinkAmbiguous),
        ({"kind": "append_422", "lines": 1}, SinkUnavailable),
    ],
)
def test_an_outage_is_never_a_rejection(
    standin: StandIn, over_http: OverHttp, fault: dict[str, Any], error: type[TransientError]
) -> None:
    """Each way in which a server fails a whole call raises, and calling again writes everything."""
    over_http.write(thing("first", name="x"))
    standin.faults.add(Fault(**fault, path="import", count=1))
    changes = [thing(f"t{n}", name="x") for n in range(10)]
    with pytest.raises(error):
        over_http.write(*changes)
    assert over_http.write(*changes) == []
    assert len(over_http.stored("things")) == 11


def allowed(times: int) -> Callable[[], bool]:
    """A lease that runs out after so many looks."""
    left = iter([True] * times)
    return lambda: next(left, False)


def test_nothing_more_is_written_without_the_lease(over_http: OverHttp) -> None:
    """It is looked at before every body and every delete, for a process may be suspended between any two."""
    large = "x" * 150_000
    names = ("a", "b", "c")
    over_http.write(thing("old", name="x"))
    for asked, written in ((0, set()), (1, {"a"}), (3, {"a", "b", "c"})):
        over_http.may_write = allowed(asked)
        with pytest.raises(LeaseExpired):
            over_http.write(*[thing(i, name=large) for i in names], Delete("things", "old"))
        assert written | {"old"} == over_http.stored("things").keys()
    over_http.may_write = allowed(4)
    assert [] == over_http.write(*[thing(i, name=large) for i in names], Delete("things", "old"))
    assert set(names) == over_http.stored("things").keys()


def test_what_is_a_function_of_the_index_is_put_right_without_the_lease(over_http: OverHttp) -> None:
    """A side row went out while the lease was held: its parent is joined with it by whoever sees it."""
    parent, side = PRODUCT_ENRICHMENT.parent, PRODUCT_ENRICHMENT.side
    row = {"id": "i", "infoId": "i", "productId": "p", "_live": True, LOOKUP.name: lookup_key("p")}
    over_http.write(Upsert(parent, {"id": "p"}))
    over_http.may_write = allowed(1)
    assert [] == over_http.write(Upsert(side, row))
    assert {"id": "p", "infoId": "i"} == over_http.stored(parent)["p"]


def test_a_late_write_cannot_win(standin: StandIn) -> None:
    """The answer is lost, the old request is applied seconds later: the newer one still comes after it."""
    subject = OverHttp(standin.url, "xyz", f"_{uuid.uuid4().hex[:8]}", read_timeout_s=0.3)
    subject.write(thing("a", name="0"))
    standin.faults.add(Fault(kind="apply_late", seconds=1.0, path="import", count=1))
    with pytest.raises(SinkAmbiguous):
        subject.write(thing("a", name="1"))
    deadline = time.monotonic() + 10
    while True:
        try:
            subject.write(thing("a", name="2"))
            break
        except TransientError:
            assert time.monotonic() < deadline
    time.sleep(1.2)
    assert subject.stored("things")["a"]["name"] == "2"
    subject.close()


def test_no_connection_is_used_before_its_barrier(standin: StandIn) -> None:
    """Also when the names of the collections cannot be had at first: nothing is written before it."""
    operations: list[str] = []
    connection = Connection([standin.url], "xyz", observe=lambda operation, *_: operations.append(operation))
    admin = Collections(client_of([standin.url], "xyz"))
    things = Collection(f"things_{uuid.uuid4().hex[:8]}", (Field("name", "string", optional=True),))
    resolve = resolver(admin, [things], lambda *_: None)
    answers: list[TransientError] = [SinkUnavailable("not yet")]

    def resolve_later(connection: Connection) -> Mapping[str, str]:
        if answers:
            raise answers.pop()
        return resolve(connection)

    sink = TypesenseSink(connection, resolve_later)
    with contextlib.closing(connection), contextlib.closing(admin):
        with pytest.raises(SinkUnavailable):
            sink.open()
        sink.write(batch_of([Upsert(things.name, {"id": "a"})]))
    assert "barrier" in operations
    assert operations.index("barrier") < operations.index("import")


def test_a_sink_that_is_opened_anew_comes_after_what_others_have_sent(standin: StandIn) -> None:
    """Somebody died with a request that is received and not applied: who takes over does not read past it."""
    dead, heir = (OverHttp(standin.url, "xyz", "_heir", read_timeout_s=s) for s in (0.3, 10.0))
    heir.write(thing("a", name="0"))
    standin.faults.add(Fault(kind="apply_late", seconds=1.0, path="import", count=1))
    with pytest.raises(SinkAmbiguous):
        dead.write(thing("a", name="1"))
    heir.sink.open()
    assert heir.stored("things")["a"]["name"] == "1"
    for subject in (dead, heir):
        subject.close()


def test_a_poisoned_internal_batch_is_taken_apart(standin: StandIn, over_http: OverHttp) -> None:
    """500 for every document of the batch: the culprit is found, the others are written."""
    over_http.write(thing("first"))
    standin.faults.add(Fault(kind="batch_500", ids=("t7",)))
    [rejection] = over_http.write(*[thing(f"t{n}", name="x") for n in range(100)])
    assert rejection.key.id == "t7"
    assert len(over_http.stored("things")) == 100


def test_a_wrong_key_waits_for_an_operator(over_http: OverHttp) -> None:
    """401 names the setting, and the key is not in the text."""
    wrong = OverHttp(over_http.url, "wrong-secret", over_http.suffix)
    with pytest.raises(SinkMisconfigured, match="CDC_SYNC_TYPESENSE__API_KEY") as error:
        wrong.write(thing("a"))
    assert "wrong-secret" not in str(error.value)
    wrong.disconnect()


def test_a_dropped_collection_is_not_made_again(over_http: OverHttp) -> None:
    """An empty collection in its place would hide the loss."""
    over_http.write(thing("a"))
    over_http.get(f"/collections/things{over_http.suffix}_1", "DELETE")
    with pytest.raises(SinkMisconfigured):
        over_http.write(thing("b"))
    over_http.get(f"/aliases/things{over_http.suffix}", "DELETE")
    with pytest.raises(SinkMisconfigured):
        over_http.write(thing("b"))


def test_a_moved_alias_is_followed(over_http: OverHttp) -> None:
    """On a new connection, and soon on an old one: documents go to what searches see."""
    over_http.write(thing("a"))
    name = f"things{over_http.suffix}"
    over_http.get("/collections", "POST", over_http.collections[0].as_json(f"{name}_2"))
    over_http.get(f"/aliases/{name}", "PUT", {"collection_name": f"{name}_2"})
    over_http.connection.close()
    over_http.write(thing("b"))
    assert {"b"} == over_http.stored("things").keys()
    over_http.get(f"/collections/{name}_1", "DELETE")


def test_it_tells_how_many_writes_wait_inside(over_http: OverHttp) -> None:
    """Now and then, after a batch; an answer that says nothing of it is no trouble."""
    told: list[int] = []
    now = 0.0
    sink = TypesenseSink(
        over_http.connection,
        resolver(over_http.admin, over_http.collections, lambda *_: None),
        on_queued=told.append,
        clock=lambda: now,
    )
    for now in (0.5, 1.5, 2.0, 3.0):
        sink.write(batch_of([over_http.renamed(thing("a", name=str(now)))]))
    assert [0, 0] == told
    assert {"a": {"id": "a", "name": "3.0"}} == over_http.stored("things")


def test_nobody_listens() -> None:
    """A refused connection is an outage."""
    subject = OverHttp("http://127.0.0.1:9", "xyz", "_x")
    with pytest.raises(SinkUnavailable, match="Connection refused"):
        subject.write(thing("a"))
    subject.disconnect()
