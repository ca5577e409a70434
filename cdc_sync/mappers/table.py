"""A mapper as a declaration: which table, which collection, which columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from cdc_sync.errors import MappingError
from cdc_sync.mappers.columns import Column
from cdc_sync.model import (
    UNAVAILABLE,
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
        self._key = key
        self._soft_delete = soft_delete
        self._live_field = live_field
        self._identity = identity
        self._single = [
            (c.names[0], c.owns[0], c.passes, c.convert, c.write, c.required, c.owns)
            for c in columns
            if len(c.names) == 1 and (c.passes or c.write or c.convert)
        ]
        self._several = [c for c in columns if len(c.names) > 1]

    @property
    def required_columns(self) -> frozenset[str]:
        """The columns without which no event of this table is understood."""
        return frozenset(self._key) | {n for c in self.columns if c.required for n in c.names}

    @property
    def owns(self) -> tuple[str, ...]:
        """The document fields that this mapper fills."""
        return tuple(name for column in self.columns for name in column.owns)

    def map(self, event: ChangeEvent) -> DocumentChange | Skip:
        """The change of one document that this event asks for. Raises `MappingError`."""
        operation = event.operation
        if operation in (Operation.DELETE, Operation.TOMBSTONE):
            return Delete(self.collection.name, self._id(event.key))
        row = event.after
        if row is None:
            return SKIPPED[operation]
        document_id = self._id(row)
        gone = self._soft_delete is not None and row.get(self._soft_delete) is not None
        if gone and self._live_field is None:
            return Delete(self.collection.name, document_id)
        document: Document = {"id": document_id}
        keep = self._fill(document, row)
        if self._live_field is not None:
            document[self._live_field] = not gone
        if keep and operation is Operation.CREATE:
            raise MappingError(
                f"{self.table} {document_id}: a new row (changed primary key) whose {', '.join(keep)} "
                "are not in the log: set REPLICA IDENTITY FULL, or read it again by incremental snapshot"
            )
        return Upsert(self.collection.name, document, keep)

    def _fill(self, document: Document, row: Row) -> tuple[str, ...]:
        """Put every column's fields into the document; the fields that the event could not see."""
        keep: tuple[str, ...] = ()
        name = ""
        try:
            for name, field, passes, convert, write, required, owns in self._single:
                value = row.get(name)
                if value is None:
                    if required:
                        raise ValueError("is null" if name in row else "is missing from the event")
                elif type(value) is passes:
                    document[field] = value
                elif value is UNAVAILABLE:
                    keep += owns
                elif write is not None:
                    write(document, value)
                elif convert is not None and (converted := convert(value)) is not None:
                    document[field] = converted
            for column in self._several:
                name = ", ".join(column.names)
                keep += fill_several(document, row, column)
        except ValueError as error:
            raise MappingError(f"{self.table} {document['id']}: column {name}: {error}") from error
        return keep

    def _id(self, row: Row | None) -> str:
        try:
            text = id_text(row or {}, self._key)
        except ValueError as error:
            raise MappingError(f"{self.table}: {error}") from error
        return self._identity(text) if self._identity is not None else text


def fill_several(document: Document, row: Mapping[str, Any], column: Column) -> tuple[str, ...]:
    """One field of several columns; what it keeps when one of them was not seen."""
    values = [row.get(name) for name in column.names]
    if any(value is UNAVAILABLE for value in values):
        return column.owns
    value = column.convert(*values) if column.convert is not None else None
    if value is not None:
        document[column.owns[0]] = value
    return ()


def id_text(row: Mapping[str, Any], key: tuple[str, ...]) -> str:
    """The primary key as text; the parts of a compound one are joined by `:`, with `:` and `\\` escaped.

    Raises `ValueError` where a part is missing, empty or neither text nor an integer.
    """
    parts = []
    for name in key:
        value = row.get(name)
        if type(value) is int:
            value = str(value)
        if type(value) is not str:
            what = "is missing" if value is None else f"is neither text nor an integer: {value!r}"
            raise ValueError(f"column {name}: the primary key {what}")
        if not value:
            raise ValueError(f"column {name}: the primary key is empty, and an empty id cannot be a document")
        parts.append(value)
    if len(parts) == 1:
        return parts[0]
    return ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in parts)
