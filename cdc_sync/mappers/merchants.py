"""public."Merchant" → merchants."""

from cdc_sync.mappers.columns import (
    computed,
    free_object,
    json_of,
    localized,
    string_leaves,
    text,
    timestamptz,
)
from cdc_sync.mappers.decimals import finite
from cdc_sync.mappers.table import TableMapper

__all__ = ["MERCHANT"]


def address_text(address: object) -> str | None:
    """The string leaves of the address, depth first with keys sorted, joined; None without any."""
    leaves = list(string_leaves(json_of(address)))
    return ", ".join(leaves) if leaves else None


def location(latitude: object, longitude: object) -> list[float] | None:
    """`[lat, lng]`, Typesense's order, when both are set."""
    both = [finite(coordinate) for coordinate in (latitude, longitude) if coordinate is not None]
    return both if len(both) == 2 else None


MERCHANT = TableMapper(
    table="Merchant",
    collection="merchants",
    columns=(
        text("organizer_id", facet=True),
        localized("name"),
        text("slug"),
        text("phone", optional=True),
        text("email", optional=True),
        free_object("address"),
        computed(("address",), "addressText", "string", address_text, optional=True),
        computed(("latitude", "longitude"), "location", "geopoint", location, optional=True),
        text("currency", optional=True, facet=True),
        text("status", facet=True),
        timestamptz("created_at", sort=True),
        timestamptz("modified_at", sort=True),
    ),
)
