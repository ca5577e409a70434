"""A mapper as a bad deployment may bring it: it fails for rows that are all right."""

from __future__ import annotations

from cdc_sync.errors import MappingError
from cdc_sync.mappers.categories import CATEGORY
from cdc_sync.model import ChangeEvent, DocumentChange, Skip, Upsert


class Picky:
    """The mapper of categories, which takes no status `odd`."""

    table = CATEGORY.table
    collection = CATEGORY.collection
    key = CATEGORY.key
    reads = CATEGORY.reads
    reads_binary = CATEGORY.reads_binary
    owns = CATEGORY.owns

    def map(self, event: ChangeEvent) -> DocumentChange | Skip:
        """As it should be, but for the odd ones."""
        change = CATEGORY.map(event)
        if isinstance(change, Upsert) and change.document["status"] == "odd":
            raise MappingError(f"Category {change.id}: column status: 'odd' is unknown")
        return change


PICKY = Picky()
