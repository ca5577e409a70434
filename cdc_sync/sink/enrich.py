"""How a collection is written whose documents also carry fields from rows of another table.

Product and ProductInfo rows are keyed differently, so with several replicas they are written by different
processes, and Typesense has no conditional write. What makes it converge:

1. A writer first writes its own input: the side rows, or the parents' own fields.
2. Then it reads the side rows of every parent it touched, and makes each parent's enrichment the function
   of them (`Enrichment.of`).
3. After its last write it has read the side rows again, and the parents too where it wrote only a part of
   them, and has seen nothing that differs.

Why that is enough. Take the last write to a parent. Its writer read the side rows after it and found the
parent to be their function; so if the parent is wrong at the end, a side row changed after that reading.
But whoever changed it read the parent afterwards, found it wrong, and wrote: a later write. (A parent that
was written whole needs no second reading by its writer: a writer of a part that came in between does its
own.) A writer that dies on the way has not settled its records: its successor does all of this again. For
that, a side row remembers the parents that it used to belong to (`owed_field`) until they are put right,
and a deleted side row stays, marked not live, for just as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Final

from cdc_sync.errors import SinkUnavailable
from cdc_sync.model import Delete, Document, DocumentChange, DocumentKey, Rejection, Upsert
from cdc_sync.schema import Enrichment, lookup_key
from cdc_sync.sink import requests
from cdc_sync.sink.patch import difference, same
from cdc_sync.sink.plan import complete, complete_changes, delete_documents, rejected
from cdc_sync.sink.requests import Request, import_documents, read_by_id, read_by_lookup

__all__ = ["write_enriched"]

MAX_ROUNDS: Final = 100
"""Each round more means that another writer was in the middle of the same parents."""

Changes = Mapping[str, DocumentChange]


def write_enriched(
    enrichment: Enrichment, parents: Changes, sides: Changes
) -> Generator[Request, Any, list[Rejection]]:
    """Apply changes of parents and of side rows (by document id); what can never be applied comes back."""
    ours = SideRows(enrichment)
    rejections = yield from ours.write(sides)
    yield from delete_documents(enrichment.parent, parents)
    documents, incomplete = yield from complete_changes(enrichment.parent, parents)

    fresh = {document["id"]: document for document in documents}
    rows = yield from side_rows(enrichment, fresh)
    written = {parent: enrichment.of(rows[parent]) for parent in fresh}
    errors = yield from import_documents(
        enrichment.parent, "upsert", [fresh[parent] | written[parent] for parent in fresh]
    )
    for parent in errors:
        del written[parent]
    refused = yield from converge(enrichment, written, ours.touched - written.keys())

    yield from ours.settle()
    rejections += incomplete + rejected(enrichment.parent, errors)
    return rejections + ours.blamed(refused)


def converge(
    enrichment: Enrichment, written: Mapping[str, Document], touched: Iterable[str]
) -> Generator[Request, Any, dict[str, requests.LineError]]:
    """Make parents the function of their side rows, and see that they are.

    `written` are parents that were just written whole, with the enrichment they got; `touched` are others
    that may differ. Returns the parents whose enrichment Typesense refused.
    """
    unsure = set(touched)
    refused: dict[str, requests.LineError] = {}
    for _ in range(MAX_ROUNDS):
        rows = yield from side_rows(enrichment, {*unsure, *written})
        unsure |= {p for p, was in written.items() if not same(was, enrichment.of(rows[p]))}
        written = {}
        if not unsure:
            return refused
        stored = yield from read_by_id(enrichment.parent, sorted(unsure))
        patches = {}
        for parent, document in stored.items():
            patch = difference(enrichment.part_of(document), enrichment.of(rows[parent]))
            if patch:
                patches[parent] = {"id": parent, **patch}
        errors = yield from import_documents(
            enrichment.parent, "update", list(patches.values()), is_derived=True
        )
        refused |= {p: error for p, error in errors.items() if not error.is_missing_document}
        unsure = patches.keys() - refused.keys()
    raise SinkUnavailable(
        f"{enrichment.parent}: {len(unsure)} documents did not settle: other writers are busy"
    )


def side_rows(
    enrichment: Enrichment, parents: Iterable[str]
) -> Generator[Request, Any, dict[str, list[Document]]]:
    """The side rows of each parent, live or not. A lookup key is a hash, so the parents are compared too."""
    keys = {lookup_key(parent) for parent in parents}
    found = yield from read_by_lookup(enrichment.side, enrichment.lookup_field, sorted(keys))
    rows: dict[str, list[Document]] = defaultdict(list)
    for row in found:
        rows[row[enrichment.parent_field]].append(row)
    return rows


class SideRows:
    """The side rows of one batch: written first, settled last; `touched` are the parents in between."""

    def __init__(self, enrichment: Enrichment) -> None:
        self._enrichment = enrichment
        self._rows: dict[str, Document] = {}
        self._gone: list[str] = []
        self.touched: set[str] = set()

    def write(self, changes: Changes) -> Generator[Request, Any, list[Rejection]]:
        """Write the rows, a deleted one as not live, and note whom they belong and used to belong to."""
        side = self._enrichment.side
        stored = yield from read_by_id(side, changes)
        rejections = []
        for change in changes.values():
            old = stored.get(change.id)
            row = self._row(change, old)
            if isinstance(row, Rejection):
                rejections.append(row)
            elif row is not None:
                self._rows[change.id] = row
        errors = yield from import_documents(side, "upsert", list(self._rows.values()))
        for row_id in errors:
            del self._rows[row_id]
        self._gone = [i for i, c in changes.items() if isinstance(c, Delete) and i in self._rows]
        return rejections + rejected(side, errors)

    def _row(self, change: DocumentChange, old: Document | None) -> Document | Rejection | None:
        e = self._enrichment
        former = set(old.get(e.owed_field, ())) | {old[e.parent_field]} if old else set()
        if isinstance(change, Upsert):
            row = complete(change, old)
            if isinstance(row, Rejection):
                return row
            self.touched.add(row[e.parent_field])
        elif old is None:
            return None
        else:
            row = {**old, e.live_field: False}
        self.touched |= former
        owed = sorted(former - {row[e.parent_field]})
        row = {name: value for name, value in row.items() if name != e.owed_field}
        return {**row, e.owed_field: owed} if owed else row

    def settle(self) -> Generator[Request, Any, None]:
        """The parents are right: nothing is owed any more, and the deleted rows may go."""
        e = self._enrichment
        gone = set(self._gone)
        paid = [
            {"id": row_id, e.owed_field: None}
            for row_id, row in self._rows.items()
            if e.owed_field in row and row_id not in gone
        ]
        yield from import_documents(e.side, "update", paid)
        if gone:
            yield requests.Delete(e.side, tuple(self._gone))

    def blamed(self, refused: Mapping[str, requests.LineError]) -> list[Rejection]:
        """Our rows whose fields a parent could not take."""
        e = self._enrichment
        return [
            Rejection(DocumentKey(e.side, row_id), f"Typesense: {error.code} {error.text}")
            for row_id, row in self._rows.items()
            if (error := refused.get(row[e.parent_field])) is not None
        ]
