"""public."Product" and public."ProductInfo" → products.

The two tables are keyed differently, so their rows come to different partitions, perhaps to different
replicas. ProductInfo rows are kept in a collection of their own, `product-infos` (stored, hardly indexed);
`PRODUCT_ENRICHMENT` says which of its fields a product takes over, and `sink/enrich.py` how that converges.
"""

from cdc_sync.mappers.columns import (
    bigint,
    boolean,
    computed,
    day,
    free_object,
    localized,
    numeric,
    text,
    text_array,
    timestamptz,
)
from cdc_sync.mappers.table import TableMapper
from cdc_sync.schema import Enrichment, Field, lookup_key, safe_id

__all__ = ["PRODUCT", "PRODUCT_ENRICHMENT", "PRODUCT_INFO"]

PRODUCT = TableMapper(
    table="Product",
    collection="products",
    columns=(
        text("merchant_id", facet=True),
        text("category_id", optional=True, facet=True),
        text("sku"),
        text("barcode", optional=True),
        text("kind", facet=True),
        numeric("base_price", scale=4, optional=True, sort=True),
        text_array("tags", optional=True, facet=True),
        bigint("stock", optional=True, sort=True),
        boolean("is_available", facet=True),
        day("available_from", optional=True, sort=True),
        text("status", facet=True),
        timestamptz("created_at", sort=True),
        timestamptz("modified_at", sort=True),
    ),
    more_fields=(
        # Filled by the enrichment.
        Field("infoId", "string", optional=True),
        Field("name_.*", "string", optional=True),
        Field("description_.*", "string", optional=True),
        Field("images", "string[]", optional=True, index=False),
        Field("infoModifiedAt", "int64", optional=True, sort=True),
    ),
)

PRODUCT_INFO = TableMapper(
    table="ProductInfo",
    collection="product-infos",
    identity=safe_id,
    live_field="_live",
    columns=(
        text("id", field="infoId", index=False),
        text("product_id", index=False),
        computed(("product_id",), "_productKey", "int64", lookup_key, sort=False),
        localized("name", declared=False),
        localized("description", optional=True, declared=False),
        text_array("images", optional=True, index=False),
        free_object("attributes"),
        timestamptz("modified_at", field="infoModifiedAt", index=False),
    ),
    more_fields=(Field("_live", "bool", index=False),),
)

PRODUCT_ENRICHMENT = Enrichment(
    parent="products",
    side="product-infos",
    parent_field="productId",
    lookup_field="_productKey",
    live_field="_live",
    owed_field="_owed",
    order_by=("infoModifiedAt", "infoId"),
    fields=("infoId", "name_*", "description_*", "images", "attributes", "infoModifiedAt"),
)
