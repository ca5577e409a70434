"""A mapper as a declaration: which table, which collection, which columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cdc_sync.errors import MappingError
from cdc_sync.mappers.columns import Column
from cdc_sync.mappers.unrolled import NO_VALUE, fill_one, unrolled
from cdc_sync.model import (
    ChangeEvent,
    Delete,
    Document,
    DocumentChange,
    Operation,
    Row,
    Skip,
    Upsert,
)
from cdc_sync.schema import Collection, Field

__all__ = ["TableMapper", "id_text"]

CREATE: Final = Operation.CREATE
DELETE: Final = Operation.DELETE
TOMBSTONE: Final = Operation.TOMBSTONE
SKIPPED: Final = {Operation.TRUNCATE: Skip("truncate"), Operation.MESSAGE: Skip("message")}


class TableMapper:
    """One table's rows as documents of one collection; pure.

    `key` names the primary key's columns; `soft_delete` the timestamp that removes the document while it
    is set. With `live_field` a soft-deleted row stays as a document whose `live_field` is false, for a
    collection that others take fields from. `identity` makes the document's id of the key's text.
    """

    def __init__(
        self,
        table: str,
        collection: str,
        columns: Sequence[Column],
        *,
        key: tuple[str, ...] = ("id",),
        soft_delete: str | None = "deleted_at",
        live_field: str | None = None,
        identity: Callable[[str], str] | None = None,
        more_fields: Sequence[Field] = (),
    ) -> None:
        self.table = table
        self.columns = tuple(columns)
        declared = [field for column in columns for field in column.fields]
        self.collection = Collection(collection, (*declared, *more_fields))
        self.key = key
        self._live_field = live_field
        self._identity = identity
        names = [*key, soft_delete, *(name for column in columns for name in column.names)]
        self.reads = tuple(dict.fromkeys(name for name in names if name is not None))
        at = {name: n for n, name in enumerate(self.reads)}
        self._is_compound = len(key) > 1
        self._key_at = [at[name] for name in key]
        self._soft_delete_at = None if soft_delete is None else at[soft_delete]
        self._place_of = at
        self._fill = unrolled(self.columns, at)

    @property
    def reads_binary(self) -> bool:
        """Whether one of its columns is a bytea or an integer array."""
        return any(column.binary for column in self.columns)

    @property
    def owns(self) -> tuple[str, ...]:
        """The document fields that this mapper fills."""
        return tuple(name for column in self.columns for name in column.owns)

    def map(self, event: ChangeEvent) -> DocumentChange | Skip:
        """The change of one document that this event asks for. Raises `MappingError`."""
        operation, row = event.operation, event.after
        if row is None or operation is DELETE or operation is TOMBSTONE:
            return self._without_row(event)
        document_id = row[self._key_at[0]]
        if self._is_compound or type(document_id) is not str or not document_id or self._identity:
            document_id = self._id([row[n] for n in self._key_at])
        gone = self._soft_delete_at is not None and row[self._soft_delete_at] not in NO_VALUE
        if gone and self._live_field is None:
            return Delete(self.collection.name, document_id)
        unseen: list[Column] = []
        try:
            document = self._fill(document_id, row, unseen)
        except ValueError as error:
            raise self._blamed(document_id, row, error) from error
        if self._live_field is not None:
            document[self._live_field] = not gone
        if unseen:
            return self._partial(document, unseen, operation)
        return Upsert(self.collection.name, document)

    def _partial(self, document: Document, unseen: Sequence[Column], operation: Operation) -> Upsert:
        """A change that keeps what the event could not see. Raises `MappingError` for a new row."""
        keep = tuple(name for column in unseen for name in column.owns)
        if operation is CREATE:
            raise MappingError(
                f"{self.table} {document['id']}: a new row (changed primary key) whose {', '.join(keep)} "
                "are not in the log: set REPLICA IDENTITY FULL, or read it again by incremental snapshot"
            )
        return Upsert(self.collection.name, document, keep)

    def _blamed(self, document_id: str, row: Row, error: ValueError) -> MappingError:
        """The error with the column that it is about: found by doing them again, one by one."""
        for column in self.columns:
            try:
                fill_one({}, [row[self._place_of[name]] for name in column.names], column, [])
            except ValueError:
                return MappingError(f"{self.table} {document_id}: column {', '.join(column.names)}: {error}")
        return MappingError(f"{self.table} {document_id}: {error}")

    def _without_row(self, event: ChangeEvent) -> DocumentChange | Skip:
        if event.operation is not DELETE and event.operation is not TOMBSTONE:
            return SKIPPED[event.operation]
        key = event.key or {}
        return Delete(self.collection.name, self._id([key.get(name) for name in self.key]))

    def _id(self, values: Sequence[Any]) -> str:
        try:
            text = id_text(values)
        except ValueError as error:
            raise MappingError(
                f"{self.table}: column {', '.join(self.key)}: the primary key {error}"
            ) from error
        return self._identity(text) if self._identity is not None else text


def id_text(values: Sequence[Any]) -> str:
    r"""The primary key as text; the parts of a compound one are joined by `:`, with `:` and `\` escaped.

    Raises `ValueError` where a part is missing, empty or neither text nor an integer.
    """
    parts = []
    for value in values:
        text = str(value) if type(value) is int else value
        if type(text) is not str:
            raise ValueError(
                "is missing" if value in NO_VALUE else f"is neither text nor an integer: {value!r}"
            )
        if not text:
            raise ValueError("is empty, and an empty id cannot be a document")
        parts.append(text)
    if len(parts) == 1:
        return parts[0]
    return ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in parts)
