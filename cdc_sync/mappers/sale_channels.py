"""public."SaleChannel" → sale-channels."""

from cdc_sync.mappers.columns import boolean, localized, text, timestamptz
from cdc_sync.mappers.table import TableMapper

__all__ = ["SALE_CHANNEL"]

SALE_CHANNEL = TableMapper(
    table="SaleChannel",
    collection="sale-channels",
    columns=(
        text("merchant_id", facet=True),
        localized("name"),
        text("kind", facet=True),
        boolean("is_default", facet=True),
        text("status", facet=True),
        timestamptz("created_at", sort=True),
        timestamptz("modified_at", sort=True),
    ),
)
