"""Stand-ins that behave like the real thing where a test depends on it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from cdc_sync.model import Document
from cdc_sync.sink import requests
from cdc_sync.sink.requests import MISSING, WHOLE_BATCH, LineError, Request

__all__ = ["FakeTypesense"]

T = TypeVar("T")

INTERNAL_BATCH = 1_000
"""So many lines of one import are indexed together, and fail together (4.7)."""


class FakeTypesense:
    """Typesense in memory, asked in the words of `cdc_sync.sink.requests` (`typesense-v29.md`, section 4).

    `refuse` names documents that get an error of their own, `poisons` those that fail their whole internal
    batch; both see the collection and the document as it would be stored. `asked` are all requests so far.
    """

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Document]] = defaultdict(dict)
        self.refuse: Callable[[str, Document], bool] = lambda _collection, _document: False
        self.poisons: Callable[[str, Document], bool] = lambda _collection, _document: False
        self.asked: list[Request] = []

    def answer(self, request: Request) -> Any:
        """What Typesense answers; a write is applied then."""
        self.asked.append(request)
        documents = self.collections[request.collection]
        match request:
            case requests.ReadById(ids=ids):
                return [rendered(documents[i]) for i in sorted(set(ids), reverse=True) if i in documents]
            case requests.ReadByLookup(field=field, values=values):
                return [rendered(d) for d in documents.values() if d.get(field) in values]
            case requests.Import():
                return list(self._import(request))
            case requests.Delete(ids=ids):
                for document_id in ids:
                    documents.pop(document_id, None)
                return None

    def run(self, plan: Generator[Request, Any, T]) -> T:
        """Answer a plan until it returns."""
        answer = None
        while True:
            try:
                answer = self.answer(plan.send(answer))
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # the generator's own return type

    def _import(self, request: requests.Import) -> Iterator[LineError | None]:
        for batch in internal_batches(request.documents):
            yield from self._import_batch(request, batch)

    def _import_batch(self, request: requests.Import, lines: Sequence[Document]) -> list[LineError | None]:
        """One error or None a line; lines with one id never share a batch, so they see one another."""
        documents = self.collections[request.collection]
        outcomes: list[LineError | Document] = []
        for line in map(rendered, lines):
            error = id_error(line)
            stored = None if error else documents.get(line["id"])
            if error is None and request.action == "update" and stored is None:
                error = LineError(404, f"{MISSING}: {line['id']}")
            if error is not None:
                outcomes.append(error)
                continue
            if request.action == "update":
                line = merged(stored, line)
            elif stored is not None:  # over an existing document nulls go, in a new one they are stored
                line = {name: value for name, value in line.items() if value is not None}
            refused = self.refuse(request.collection, line)
            outcomes.append(LineError(400, "Field `x` must be a string.") if refused else line)
        good = [o for o in outcomes if not isinstance(o, LineError)]
        if any(self.poisons(request.collection, document) for document in good):
            whole = LineError(500, f"{WHOLE_BATCH}, check logs for details.")
            return [o if isinstance(o, LineError) else whole for o in outcomes]
        documents.update({document["id"]: document for document in good})
        return [o if isinstance(o, LineError) else None for o in outcomes]


def internal_batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Up to 1,000 lines each, and a new one before an id repeats (4.4)."""
    batch: list[Document] = []
    ids: set[object] = set()
    for document in documents:
        document_id = json.dumps(document.get("id"))
        if len(batch) == INTERNAL_BATCH or document_id in ids:
            yield batch
            batch, ids = [], set()
        batch.append(document)
        ids.add(document_id)
    if batch:
        yield batch


def id_error(document: Document) -> LineError | None:
    """What is wrong with the id; a missing one would get a number, which no writer of ours may rely on."""
    document_id = document.get("id")
    if not isinstance(document_id, str):
        return LineError(400, "Document's `id` field should be a string.")
    return None if document_id else LineError(400, "The `id` should not be empty.")


def rendered(document: Document) -> Document:
    """A document as it comes back: parsed and printed anew, keys sorted. Raises `ValueError` for NaN."""
    copy: Document = json.loads(json.dumps(document, sort_keys=True, allow_nan=False))
    return copy


def merged(stored: Any, patch: Any) -> Any:
    """RFC 7396, and nulls stripped from what is newly assigned (4.5)."""
    if not isinstance(patch, dict):
        return (
            [merged(None, member) for member in patch if member is not None]
            if isinstance(patch, list)
            else patch
        )
    result = dict(stored) if isinstance(stored, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
