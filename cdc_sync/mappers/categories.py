"""public."Category" → categories."""

from cdc_sync.mappers.columns import integer, localized, text, timestamptz
from cdc_sync.mappers.table import TableMapper

__all__ = ["CATEGORY"]

CATEGORY = TableMapper(
    table="Category",
    collection="categories",
    columns=(
        text("merchant_id", facet=True),
        text("parent_id", optional=True, facet=True),
        localized("name"),
        integer("position", optional=True, sort=True),
        text("status", facet=True),
        timestamptz("created_at", sort=True),
        timestamptz("modified_at", sort=True),
    ),
)
