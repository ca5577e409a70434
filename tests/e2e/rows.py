"""The seven tables as plain Python rows, read in one transaction.

Values come so that nothing is lost on the way: timestamps and dates as seconds since the epoch (a
`Decimal`, which may be infinite), numerics and jsonb as the text that PostgreSQL prints.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import psycopg
from psycopg import sql

__all__ = ["COLUMNS", "Row", "Tables", "read_tables"]

Row = dict[str, Any]
Tables = dict[str, list[Row]]

_STAMPS: Final = {"created_at": "instant", "modified_at": "instant", "deleted_at": "instant"}

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "Organizer": {
        "id": "plain",
        "name": "text",
        "slug": "plain",
        "status": "plain",
        "metadata": "text",
        **_STAMPS,
    },
    "Merchant": {
        "id": "plain",
        "organizer_id": "plain",
        "name": "text",
        "slug": "plain",
        "phone": "plain",
        "email": "plain",
        "address": "text",
        "latitude": "plain",
        "longitude": "plain",
        "currency": "plain",
        "status": "plain",
        **_STAMPS,
    },
    "Category": {
        "id": "plain",
        "merchant_id": "plain",
        "parent_id": "plain",
        "name": "text",
        "position": "plain",
        "status": "plain",
        **_STAMPS,
    },
    "Device": {
        "id": "plain",
        "merchant_id": "plain",
        "sale_channel_id": "plain",
        "name": "plain",
        "serial_number": "plain",
        "kind": "plain",
        "is_online": "plain",
        "last_seen_at": "instant",
        "status": "plain",
        **_STAMPS,
    },
    "SaleChannel": {
        "id": "plain",
        "merchant_id": "plain",
        "name": "text",
        "kind": "plain",
        "is_default": "plain",
        "status": "plain",
        **_STAMPS,
    },
    "Product": {
        "id": "plain",
        "merchant_id": "plain",
        "category_id": "plain",
        "sku": "plain",
        "barcode": "plain",
        "kind": "plain",
        "base_price": "text",
        "tags": "plain",
        "stock": "plain",
        "is_available": "plain",
        "available_from": "instant",
        "status": "plain",
        **_STAMPS,
    },
    "ProductInfo": {
        "id": "plain",
        "product_id": "plain",
        "name": "text",
        "description": "text",
        "images": "plain",
        "attributes": "text",
        **_STAMPS,
    },
}
"""Table → column → how it is read: as it is, as its text, or as seconds since the epoch."""

_EXPRESSIONS: Final = {
    "plain": "{}",
    "text": "{}::text",
    "instant": "extract(epoch from {})::text",
}


def read_tables(conninfo: str) -> Tables:
    """All rows of the seven tables, as one transaction sees them."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return {table: _read_table(connection, table) for table in COLUMNS}


def _read_table(connection: psycopg.Connection[Any], table: str) -> list[Row]:
    columns = COLUMNS[table]
    chosen = [sql.SQL(_EXPRESSIONS[how]).format(sql.Identifier(name)) for name, how in columns.items()]
    statement = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(chosen), sql.Identifier(table))
    rows = connection.execute(statement).fetchall()
    return [
        {
            name: Decimal(value) if how == "instant" and value is not None else value
            for (name, how), value in zip(columns.items(), row, strict=True)
        }
        for row in rows
    ]
