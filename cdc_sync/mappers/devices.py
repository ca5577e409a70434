"""public."Device" → devices."""

from cdc_sync.mappers.columns import boolean, text, timestamptz
from cdc_sync.mappers.table import TableMapper

__all__ = ["DEVICE"]

DEVICE = TableMapper(
    table="Device",
    collection="devices",
    columns=(
        text("merchant_id", facet=True),
        text("sale_channel_id", optional=True, facet=True),
        text("name"),
        text("serial_number", optional=True),
        text("kind", optional=True, facet=True),
        boolean("is_online", facet=True),
        timestamptz("last_seen_at", optional=True, sort=True),
        text("status", facet=True),
        timestamptz("created_at", sort=True),
        timestamptz("modified_at", sort=True),
    ),
)
