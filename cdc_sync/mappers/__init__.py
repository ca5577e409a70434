"""One pure mapper a table. A new table is one short file here and one line in `MAPPERS`.

Mappers of your own need not live here: see `docs/mappers.md`.
"""

from cdc_sync.mappers.categories import CATEGORY
from cdc_sync.mappers.devices import DEVICE
from cdc_sync.mappers.merchants import MERCHANT
from cdc_sync.mappers.organizers import ORGANIZER
from cdc_sync.mappers.products import PRODUCT, PRODUCT_ENRICHMENT, PRODUCT_INFO
from cdc_sync.mappers.sale_channels import SALE_CHANNEL

__all__ = ["ENRICHMENTS", "MAPPERS"]

MAPPERS = (ORGANIZER, MERCHANT, CATEGORY, DEVICE, SALE_CHANNEL, PRODUCT, PRODUCT_INFO)
ENRICHMENTS = (PRODUCT_ENRICHMENT,)
