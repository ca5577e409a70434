"""public."Organizer" → organizers."""

from cdc_sync.mappers.columns import free_object, localized, text, timestamptz
from cdc_sync.mappers.table import TableMapper

__all__ = ["ORGANIZER"]

ORGANIZER = TableMapper(
    table="Organizer",
    collection="organizers",
    columns=(
        localized("name"),
        text("slug"),
        text("status", facet=True),
        free_object("metadata"),
        timestamptz("created_at", sort=True),
        timestamptz("modified_at", sort=True),
    ),
)
