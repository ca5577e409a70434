"""The few things that a writer asks of Typesense, as values.

Writers are generators that yield these and are sent the answers (`Plan`). So what is written, and in
which order, is pure: it is tested by interleaving several writers at every request, without a server.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from cdc_sync.errors import SinkUnavailable
from cdc_sync.model import Document

__all__ = [
    "Delete",
    "Import",
    "LineError",
    "Plan",
    "ReadById",
    "ReadByLookup",
    "Request",
    "import_documents",
    "read_by_id",
    "read_by_lookup",
]


class ReadById(Struct, frozen=True):
    """Documents by id. Answer: `list[Document]`, of those that exist, in any order."""

    collection: str
    ids: tuple[str, ...]


class ReadByLookup(Struct, frozen=True):
    """Documents whose int64 field has one of these values. Answer: `list[Document]`."""

    collection: str
    field: str
    values: tuple[int, ...]


class Import(Struct, frozen=True):
    """Write documents, in this order. Answer: `list[LineError | None]`, one a document.

    `is_derived`: what is written is a function of what is stored, read again afterwards until nothing
    differs. So anybody may write it at any time, whoever owns the partitions.
    """

    collection: str
    action: Literal["upsert", "update"]
    documents: Sequence[Document]
    is_derived: bool = False


class Delete(Struct, frozen=True):
    """Documents that must not exist, whether they do or not. Answer: None."""

    collection: str
    ids: tuple[str, ...]


Request = ReadById | ReadByLookup | Import | Delete
Plan = Generator[Request, Any, Any]

WHOLE_BATCH: Final = "Unhandled Typesense error in index batch"
MISSING: Final = "Could not find a document with id"


class LineError(Struct, frozen=True):
    """Why one line of an import failed (`typesense-v29.md`, 4.2, 4.7)."""

    code: int
    text: str

    @property
    def is_missing_document(self) -> bool:
        """An update of a document that does not exist. The code alone does not say so (4.6)."""
        return self.code == 404 and self.text.startswith(MISSING)

    @property
    def is_of_whole_batch(self) -> bool:
        """One poisoned document fails every one of the same internal batch of up to 1,000."""
        return self.code == 500 and self.text.startswith(WHOLE_BATCH)

    @property
    def is_transient(self) -> bool:
        """Nothing is wrong with the document: the server could not, this time."""
        return (self.code >= 500 and not self.is_of_whole_batch) or self.code in (408, 429)


def read_by_id(collection: str, ids: Iterable[str]) -> Generator[Request, Any, dict[str, Document]]:
    """The documents that exist, by id."""
    wanted = tuple(ids)
    if not wanted:
        return {}
    documents = yield ReadById(collection, wanted)
    return {document["id"]: document for document in documents}


def read_by_lookup(
    collection: str, field: str, values: Iterable[int]
) -> Generator[Request, Any, list[Document]]:
    """The documents whose field has one of these values."""
    wanted = tuple(values)
    if not wanted:
        return []
    documents: list[Document] = yield ReadByLookup(collection, field, wanted)
    return documents


def import_documents(
    collection: str,
    action: Literal["upsert", "update"],
    documents: Sequence[Document],
    *,
    is_derived: bool = False,
) -> Generator[Request, Any, dict[str, LineError]]:
    """Write them; the permanent errors by document id.

    Documents that failed only because of another one in the same internal batch are written again in
    halves until the culprit stands alone. Raises `SinkUnavailable` for errors that will pass.
    """
    if not documents:
        return {}
    answers: list[LineError | None] = yield Import(collection, action, documents, is_derived)
    errors: dict[str, LineError] = {}
    suspects: list[Document] = []
    for document, error in zip(documents, answers, strict=True):
        if error is None:
            continue
        if error.is_transient:
            raise SinkUnavailable(f"{collection}: {error.code} {error.text}")
        if error.is_of_whole_batch and len(documents) > 1:
            suspects.append(document)
        else:
            errors[document["id"]] = error
    half = (len(suspects) + 1) // 2
    for part in (suspects[:half], suspects[half:]):
        errors |= yield from import_documents(collection, action, part, is_derived=is_derived)
    return errors
