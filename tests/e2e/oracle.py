"""What every collection must hold: the second, independent reading of `documents.md`.

Nothing here comes from the daemon's code, on purpose: both were written from the contract, and a
test compares what they say. Plain Python over the rows of the database; slow and simple.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from .rows import Row, Tables, read_tables

__all__ = ["COLLECTIONS", "ENRICHMENT", "Expected", "Poison", "expected_collections", "expected_of"]

Document = dict[str, Any]

COLLECTIONS: Final = {
    "Organizer": "organizers",
    "Merchant": "merchants",
    "Category": "categories",
    "Device": "devices",
    "SaleChannel": "sale-channels",
    "Product": "products",
}

ENRICHMENT: Final = re.compile(r"infoId|infoModifiedAt|images|attributes|(name|description)_.*")
"""The fields of a product that come from its ProductInfo row."""

_LOCALE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


class Poison(Exception):
    """A row that no document can hold; the text is the reason."""


@dataclass
class Expected:
    """One collection: its documents by id, and what cannot be one.

    `poison` are ids whose own row is poison. `poison_info` is for products only: product id → id of
    the ProductInfo row that cannot enrich it; such a product is listed without any enrichment.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    poison: dict[str, str] = field(default_factory=dict)
    poison_info: dict[str, str] = field(default_factory=dict)


def expected_collections(conninfo: str) -> dict[str, Expected]:
    """Collection → what it must hold, for the database as it is now."""
    return expected_of(read_tables(conninfo))


def expected_of(tables: Tables) -> dict[str, Expected]:
    """Collection → what it must hold, for rows as `rows.read_tables` gives them."""
    collections = {
        collection: _collection(tables[table], _BUILDERS[table]) for table, collection in COLLECTIONS.items()
    }
    _enrich(collections["products"], tables["ProductInfo"])
    return collections


def _collection(rows: list[Row], build: Callable[[Row], Document]) -> Expected:
    expected = Expected()
    for row in rows:
        if row["deleted_at"] is not None:
            continue
        try:
            if row["id"] == "":
                raise Poison("id is empty")
            document = {"id": row["id"], **build(row)}
        except Poison as poison:
            expected.poison[row["id"]] = str(poison)
        else:
            expected.documents[row["id"]] = _without_none(document)
    return expected


def _enrich(products: Expected, infos: list[Row]) -> None:
    for info in infos:
        product = products.documents.get(info["product_id"])
        if info["deleted_at"] is not None or product is None:
            continue
        try:
            enrichment = _without_none(
                {
                    "infoId": info["id"],
                    **_localized("name", info["name"]),
                    **_localized("description", info["description"]),
                    "images": _texts(info["images"]),
                    "attributes": _free(info["attributes"]),
                    "infoModifiedAt": _millis(info["modified_at"]),
                }
            )
        except Poison:
            products.poison_info[info["product_id"]] = info["id"]
        else:
            product.update(enrichment)


def _organizer(row: Row) -> Document:
    return {
        **_localized("name", row["name"]),
        "slug": row["slug"],
        "status": row["status"],
        "metadata": _free(row["metadata"]),
        "createdAt": _millis(row["created_at"]),
        "modifiedAt": _millis(row["modified_at"]),
    }


def _merchant(row: Row) -> Document:
    address = _free(row["address"])
    leaves = list(_string_leaves(address))
    latitude, longitude = row["latitude"], row["longitude"]
    for coordinate in (latitude, longitude):
        if coordinate is not None and not math.isfinite(coordinate):
            raise Poison(f"coordinate {coordinate}")
    return {
        "organizerId": row["organizer_id"],
        **_localized("name", row["name"]),
        "slug": row["slug"],
        "phone": row["phone"],
        "email": row["email"],
        "address": address,
        "addressText": ", ".join(leaves) if leaves else None,
        "location": [latitude, longitude] if None not in (latitude, longitude) else None,
        "currency": row["currency"],
        "status": row["status"],
        "createdAt": _millis(row["created_at"]),
        "modifiedAt": _millis(row["modified_at"]),
    }


def _category(row: Row) -> Document:
    return {
        "merchantId": row["merchant_id"],
        "parentId": row["parent_id"],
        **_localized("name", row["name"]),
        "position": row["position"],
        "status": row["status"],
        "createdAt": _millis(row["created_at"]),
        "modifiedAt": _millis(row["modified_at"]),
    }


def _device(row: Row) -> Document:
    return {
        "merchantId": row["merchant_id"],
        "saleChannelId": row["sale_channel_id"],
        "name": row["name"],
        "serialNumber": row["serial_number"],
        "kind": row["kind"],
        "isOnline": row["is_online"],
        "lastSeenAt": _millis(row["last_seen_at"]),
        "status": row["status"],
        "createdAt": _millis(row["created_at"]),
        "modifiedAt": _millis(row["modified_at"]),
    }


def _sale_channel(row: Row) -> Document:
    return {
        "merchantId": row["merchant_id"],
        **_localized("name", row["name"]),
        "kind": row["kind"],
        "isDefault": row["is_default"],
        "status": row["status"],
        "createdAt": _millis(row["created_at"]),
        "modifiedAt": _millis(row["modified_at"]),
    }


def _product(row: Row) -> Document:
    price = row["base_price"]
    if price is not None and not Decimal(price).is_finite():
        raise Poison(f"base_price {price}")
    return {
        "merchantId": row["merchant_id"],
        "categoryId": row["category_id"],
        "sku": row["sku"],
        "barcode": row["barcode"],
        "kind": row["kind"],
        "basePrice": None if price is None else float(price),
        "basePriceExact": price,
        "tags": _texts(row["tags"]),
        "stock": row["stock"],
        "isAvailable": row["is_available"],
        "availableFrom": _millis(row["available_from"]),
        "status": row["status"],
        "createdAt": _millis(row["created_at"]),
        "modifiedAt": _millis(row["modified_at"]),
    }


_BUILDERS: Final = {
    "Organizer": _organizer,
    "Merchant": _merchant,
    "Category": _category,
    "Device": _device,
    "SaleChannel": _sale_channel,
    "Product": _product,
}


def _millis(seconds: Decimal | None) -> int | None:
    """Milliseconds since the epoch, rounded down."""
    if seconds is None:
        return None
    if not seconds.is_finite():
        raise Poison(f"time {seconds}")
    return math.floor(seconds * 1000)


def _localized(stem: str, text: str | None) -> Document:
    """One string field a locale. The jsonb value null is SQL NULL."""
    value = None if text is None else json.loads(text)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Poison(f"{stem} is no object")
    fields: Document = {}
    for locale, translation in value.items():
        if not _LOCALE.fullmatch(locale):
            raise Poison(f"{stem} has locale {locale!r}")
        if translation is None:
            continue
        if not isinstance(translation, str):
            raise Poison(f"{stem}.{locale} is no string")
        fields[f"{stem}_{locale}"] = translation
    return fields


def _free(text: str | None) -> Any:
    """The parsed value without null members, at every level."""
    return None if text is None else _without_nulls(json.loads(text))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value if member is not None]
    return value


def _string_leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name in sorted(value):
            yield from _string_leaves(value[name])
    elif isinstance(value, list):
        for member in value:
            yield from _string_leaves(member)


def _texts(values: list[str | None] | None) -> list[str] | None:
    """The members of a text[] that are not null."""
    return None if values is None else [value for value in values if value is not None]


def _without_none(document: Document) -> Document:
    return {name: value for name, value in document.items() if value is not None}
