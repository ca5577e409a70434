"""A mapper as a declaration: which table, which collection, which columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cdc_sync.errors import MappingError
from cdc_sync.mappers.columns import Column
from cdc_sync.model import (
    ABSENT,
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

NO_VALUE: Final = (None, ABSENT)
ORDINARY: Final = frozenset({str, int, float, bool, list})
"""Types of values that are certainly there."""

REMOVES: Final = frozenset({Operation.DELETE, Operation.TOMBSTONE})
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
        self._soft_delete = soft_delete
        self._live_field = live_field
        self._identity = identity
        names = [*key, soft_delete, *(name for column in columns for name in column.names)]
        self.reads = tuple(dict.fromkeys(name for name in names if name is not None))
        at = {name: n for n, name in enumerate(self.reads)}
        self._is_compound = len(key) > 1
        self._key_at = [at[name] for name in key]
        self._soft_delete_at = None if soft_delete is None else at[soft_delete]
        self._plain = [(at[c.names[0]], c.owns[0], c.passes, c) for c in columns if c.passes]
        self._converted = [
            (at[c.names[0]], c.owns[0], c.convert, c) for c in columns if c.convert and not c.passes
        ]
        self._written = [(at[c.names[0]], c.write, c) for c in columns if c.write]
        self._computed = [([at[name] for name in c.names], c) for c in columns if c.compute is not None]

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
        if row is None or operation in REMOVES:
            return self._without_row(event)
        document_id = row[self._key_at[0]]
        if self._is_compound or type(document_id) is not str or not document_id or self._identity:
            document_id = self._id([row[n] for n in self._key_at])
        gone = self._soft_delete_at is not None and row[self._soft_delete_at] not in NO_VALUE
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

    def _without_row(self, event: ChangeEvent) -> DocumentChange | Skip:
        if event.operation not in REMOVES:
            return SKIPPED[event.operation]
        key = event.key or {}
        return Delete(self.collection.name, self._id([key.get(name) for name in self.key]))

    def _fill(self, document: Document, row: Row) -> tuple[str, ...]:
        """Put every column's fields into the document; the fields that the event could not see."""
        unseen: list[Column] = []
        try:
            for n, field, passes, column in self._plain:
                value = row[n]
                if type(value) is passes:
                    document[field] = value
                elif not has_none(value, column, unseen) and column.convert is not None:
                    document[field] = column.convert(value)
            for n, field, convert, column in self._converted:
                value = row[n]
                if value.__class__ in ORDINARY or not has_none(value, column, unseen):
                    converted = convert(value)
                    if converted is not None:
                        document[field] = converted
            for n, write, column in self._written:
                value = row[n]
                if value.__class__ in ORDINARY or not has_none(value, column, unseen):
                    write(document, value)
            for places, column in self._computed:
                compute(document, [row[n] for n in places], column, unseen)
        except ValueError as error:
            raise MappingError(f"{self.table} {document['id']}: {column_said(column)}: {error}") from error
        return tuple(name for column in unseen for name in column.owns) if unseen else ()

    def _id(self, values: Sequence[Any]) -> str:
        try:
            text = id_text(values)
        except ValueError as error:
            raise MappingError(
                f"{self.table}: column {', '.join(self.key)}: the primary key {error}"
            ) from error
        return self._identity(text) if self._identity is not None else text


def has_none(value: Any, column: Column, unseen: list[Column]) -> bool:
    """Whether a column has nothing to write; one that the event could not see is noted in `unseen`.

    Raises `ValueError` for a required column without a value.
    """
    if value is UNAVAILABLE:
        unseen.append(column)
        return True
    if column.required and value in NO_VALUE:
        raise ValueError("is null" if value is None else "is missing from the event")
    return value in NO_VALUE


def compute(document: Document, values: Sequence[Any], column: Column, unseen: list[Column]) -> None:
    """Fill the one field that comes of several columns."""
    if UNAVAILABLE in values:
        unseen.append(column)
    elif column.compute is not None:
        value = column.compute(*(None if v is ABSENT else v for v in values))
        if value is not None:
            document[column.owns[0]] = value


def column_said(column: Column) -> str:
    """A column's name, for a reason."""
    return f"column {', '.join(column.names)}"


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
