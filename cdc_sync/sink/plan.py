"""How a collection that stands for itself is written: one import, then one delete.

With at most one change a document, imports and deletes commute. A row whose large values were not in the
log is completed from the stored document first: this lane is the only writer of it, so reading and
writing back is safe.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from cdc_sync.model import Delete, Document, DocumentChange, DocumentKey, Rejection, Upsert
from cdc_sync.schema import field_matches
from cdc_sync.sink import requests
from cdc_sync.sink.requests import LineError, Request, import_documents, read_by_id

__all__ = ["complete", "complete_changes", "delete_documents", "rejected", "write_collection"]

Changes = Mapping[str, DocumentChange]


def write_collection(collection: str, changes: Changes) -> Generator[Request, Any, list[Rejection]]:
    """Apply the changes (by document id); what can never be applied comes back."""
    documents, rejections = yield from complete_changes(collection, changes)
    errors = yield from import_documents(collection, "upsert", documents)
    yield from delete_documents(collection, changes)
    return rejections + rejected(collection, errors)


def complete_changes(
    collection: str, changes: Changes
) -> Generator[Request, Any, tuple[list[Document], list[Rejection]]]:
    """The documents to upsert, each whole, and the rows that could not be completed."""
    upserts = [change for change in changes.values() if isinstance(change, Upsert)]
    stored = yield from read_by_id(collection, [u.id for u in upserts if u.keep])
    documents, rejections = [], []
    for upsert in upserts:
        document = complete(upsert, stored.get(upsert.id))
        if isinstance(document, Rejection):
            rejections.append(document)
        else:
            documents.append(document)
    return documents, rejections


def complete(upsert: Upsert, stored: Document | None) -> Document | Rejection:
    """The whole document, with what the event could not see taken from the stored one."""
    if not upsert.keep:
        return upsert.document
    if stored is None:
        return Rejection(
            DocumentKey(upsert.collection, upsert.id),
            f"{', '.join(upsert.keep)} are not in the log (unchanged large values), and there is no document "
            f"{upsert.id!r} to take them from: set REPLICA IDENTITY FULL on the table, or read the row again "
            "by incremental snapshot",
            is_incomplete=True,
        )
    kept = {name: value for name, value in stored.items() if field_matches(name, upsert.keep)}
    return {**upsert.document, **kept}


def delete_documents(collection: str, changes: Changes) -> Generator[Request, Any, None]:
    """Remove what must not exist."""
    ids = tuple(change.id for change in changes.values() if isinstance(change, Delete))
    if ids:
        yield requests.Delete(collection, ids)


def rejected(collection: str, errors: Mapping[str, LineError]) -> list[Rejection]:
    """Typesense's refusals as ours."""
    return [
        Rejection(DocumentKey(collection, document_id), f"Typesense: {error.code} {error.text}")
        for document_id, error in errors.items()
    ]
