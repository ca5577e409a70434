"""A batch to Typesense: runs the writers' plans over one connection, strictly one request at a time.

One sink a lane, so there are never two requests in flight that touch one document. After an answer that
got lost, and on every new connection, nothing is sent before a *barrier* has come back: a write that
changes nothing and is answered only when everything queued before it has been executed. So an old request
can no longer be applied after a newer one, and reads see all that was acknowledged, also right after
Typesense has restarted (`typesense-v29.md`, 0.4 and 7).

Before every write it is asked anew whether we may write at all (`lease.py`): a process that was suspended
in the middle of a batch sends nothing more of it. Only what is a function of the index itself goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import quote

from cdc_sync.compaction import Batch
from cdc_sync.errors import LeaseExpired, SinkUnavailable, TransientError
from cdc_sync.model import Document, DocumentChange, Rejection
from cdc_sync.schema import Enrichment, filter_safe
from cdc_sync.sink import requests
from cdc_sync.sink.answers import Answer, failure, import_lines, queued_writes, stored_documents
from cdc_sync.sink.bodies import chunked, import_bodies
from cdc_sync.sink.connection import Connection
from cdc_sync.sink.enrich import write_enriched
from cdc_sync.sink.plan import write_collection
from cdc_sync.sink.requests import LineError, Request

__all__ = ["TypesenseSink"]

T = TypeVar("T")

MAX_FILTER_CHARS: Final = 7_000
"""Of an id list in a URL, so that ordinary proxies (8 KB) let it pass."""

QUEUE_EVERY_S: Final = 1.0
"""Between two looks at the queue inside Typesense."""

NOTHING: Final = "filter_by=id:%5B%5D"
"""`id:[]` matches nothing: a write without effect."""

Resolve = Callable[[Connection], Mapping[str, str]]
"""Alias → real collection, asked on a new connection and every few seconds. Raises `TransientError`."""


class TypesenseSink:
    """Writes the collections of one lane. `write` raises `TransientError` when it has to be called again.

    `resolve` names the real collections behind the aliases; documents are written to those, since an alias
    may move while a request is under way. `may_write` is whether our partitions are certainly still ours,
    `on_queued` is told how many writes wait inside Typesense.
    """

    def __init__(
        self,
        connection: Connection,
        resolve: Resolve,
        enrichments: Sequence[Enrichment] = (),
        *,
        may_write: Callable[[], bool] = lambda: True,
        resolve_every_s: float = 5.0,
        on_queued: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._may_write = may_write
        self._connection = connection
        self._resolve = resolve
        self._enrichments = tuple(enrichments)
        self._resolve_every_s = resolve_every_s
        self._on_queued = on_queued
        self._clock = clock
        self._names: Mapping[str, str] = {}
        self._resolved_at = float("-inf")
        self._queue_asked_at = clock()

    def open(self) -> None:
        """Connect anew and know the collections, behind everything that was sent before by anybody.

        Raises `TransientError`.
        """
        self._connection.close()
        self._ready()

    def write(self, batch: Batch) -> Sequence[Rejection]:
        """Apply every change; what Typesense will never take comes back, all else is in the index."""
        changes = {
            collection: {document_id: p.change for document_id, p in pendings.items()}
            for collection, pendings in batch.changes.items()
        }
        self._ready()
        rejections: list[Rejection] = []
        for plan in plans(changes, self._enrichments):
            rejections += self.run(plan)
        self._look_at_queue()
        return rejections

    def run(self, plan: Generator[Request, Any, T]) -> T:
        """Ask what the plan asks until it returns."""
        answer = None
        while True:
            try:
                request = plan.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # the generator's own return type
            answer = self._answer(request)

    def abort(self) -> None:
        """End the request in flight, from another thread."""
        self._connection.abort()

    def _answer(self, request: Request) -> object:
        match request:
            case requests.Import():
                return self._import(request)
            case requests.ReadById():
                return self._read_by_id(request)
            case requests.ReadByLookup(collection, field, values):
                return self._export(collection, field, [str(value) for value in values])
            case requests.Delete():
                self._delete(request)
                return None

    def _import(self, request: requests.Import) -> list[LineError | None]:
        lines: list[LineError | None] = []
        target = f"{self._documents(request.collection)}/import?action={request.action}&dirty_values=reject"
        for body, count in import_bodies(request.documents):
            if not request.is_derived:
                self._check_lease()
            lines += import_lines(self._send("import", "POST", target, body), count)
        return lines

    def _read_by_id(self, request: requests.ReadById) -> list[Document]:
        plain, awkward = by_filter_safety(request.ids)
        documents = self._export(request.collection, "id", [f"%60{i}%60" for i in plain])
        for document_id in awkward:
            target = f"{self._documents(request.collection)}/{path_segment(document_id)}"
            answer = self._send("read", "GET", target, missing_ok=True)
            if answer.status != 404:
                documents += stored_documents(answer)
        return documents

    def _export(self, collection: str, field: str, values: Sequence[str]) -> list[Document]:
        documents: list[Document] = []
        for part in chunked(values, MAX_FILTER_CHARS):
            target = f"{self._documents(collection)}/export?filter_by={quote(field)}:%5B{','.join(part)}%5D"
            documents += stored_documents(self._send("read", "GET", target))
        return documents

    def _delete(self, request: requests.Delete) -> None:
        documents = self._documents(request.collection)
        plain, awkward = by_filter_safety(request.ids)
        for part in chunked([f"%60{i}%60" for i in plain], MAX_FILTER_CHARS):
            self._check_lease()
            self._send("delete", "DELETE", f"{documents}?filter_by=id:%5B{','.join(part)}%5D")
        for document_id in awkward:
            self._check_lease()
            self._send("delete", "DELETE", f"{documents}/{path_segment(document_id)}?ignore_not_found=true")

    def _check_lease(self) -> None:
        if not self._may_write():
            raise LeaseExpired

    def _documents(self, collection: str) -> str:
        return f"/collections/{quote(self._names[collection], safe='')}/documents"

    def _ready(self) -> None:
        """Have a connection on which everything sent before has been decided, and know the real names."""
        if not self._connection.is_open:
            self._connect()
        elif self._clock() - self._resolved_at > self._resolve_every_s:
            self._names = self._resolve(self._connection)
            self._resolved_at = self._clock()

    def _connect(self) -> None:
        """Whole or not at all: a connection that is open is one behind its barrier."""
        self._connection.open()
        try:
            self._names = self._resolve(self._connection)
            self._resolved_at = self._clock()
            for name in self._names.values():
                self._send("barrier", "DELETE", f"/collections/{quote(name, safe='')}/documents?{NOTHING}")
        except TransientError:
            self._connection.close()
            raise

    def _look_at_queue(self) -> None:
        """Ask, now and then, how many writes wait inside Typesense; a key may have no right to know."""
        if self._clock() - self._queue_asked_at < QUEUE_EVERY_S or not self._connection.is_open:
            return
        self._queue_asked_at = self._clock()
        with suppress(SinkUnavailable):  # the batch is written; the next one will meet what is wrong
            queued = queued_writes(self._connection.request("stats", "GET", "/stats.json"))
            if queued is not None:
                self._on_queued(queued)

    def _send(
        self, operation: str, method: str, target: str, body: bytes | None = None, *, missing_ok: bool = False
    ) -> Answer:
        answer = self._connection.request(operation, method, target, body)
        error = failure(operation, answer)
        if error is None or (missing_ok and is_missing_document(answer)):
            return answer
        self._connection.close()  # so that the next attempt begins behind a barrier
        raise error


def plans(
    changes: Mapping[str, Mapping[str, DocumentChange]], enrichments: Iterable[Enrichment]
) -> Iterable[Generator[Request, Any, list[Rejection]]]:
    """One plan a collection; an enriched one and its side share theirs."""
    left = dict(changes)
    for enrichment in enrichments:
        parents, sides = left.pop(enrichment.parent, {}), left.pop(enrichment.side, {})
        if parents or sides:
            yield write_enriched(enrichment, parents, sides)
    for collection, documents in left.items():
        yield write_collection(collection, documents)


def is_missing_document(answer: Answer) -> bool:
    """404 for the document, not for its collection. The body may be invalid JSON (0.3)."""
    return answer.status == 404 and b"Could not find a document" in answer.body


def by_filter_safety(ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Ids that may stand in a filter, and those that need a request of their own.

    `search` and `export` are safe in a filter only: as a path they are other endpoints (0.1).
    """
    plain: list[str] = []
    awkward: list[str] = []
    for document_id in ids:
        (plain if filter_safe(document_id) else awkward).append(document_id)
    return plain, awkward


def path_segment(document_id: str) -> str:
    """An id as one path segment that is only ever this document; dots too, or `..` is another path."""
    return quote(document_id, safe="").replace(".", "%2E")
