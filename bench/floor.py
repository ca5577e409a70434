"""The floor: consume, decode, map and dump Product events in a bare loop, with nothing that a daemon needs.

    python -m bench.floor BOOTSTRAP TOPIC COUNT

Prints CPU seconds from the first message on, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime

import msgspec
from confluent_kafka import Consumer


class Row(msgspec.Struct, gc=False):
    """The columns of a Product that become fields."""

    id: str
    merchant_id: str
    sku: str
    kind: str
    is_available: bool
    status: str
    created_at: datetime
    modified_at: datetime
    category_id: str | None = None
    barcode: str | None = None
    base_price: str | None = None
    tags: list[str | None] | None = None
    stock: int | None = None
    available_from: int | None = None
    deleted_at: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """As much of an envelope as a bare loop needs."""

    op: str
    after: Row | None = None


def document(row: Row) -> dict[str, object]:
    """The document, by hand."""
    fields: dict[str, object] = {
        "id": row.id,
        "merchantId": row.merchant_id,
        "sku": row.sku,
        "kind": row.kind,
        "isAvailable": row.is_available,
        "status": row.status,
        "createdAt": int(row.created_at.timestamp() * 1000),
        "modifiedAt": int(row.modified_at.timestamp() * 1000),
    }
    if row.category_id is not None:
        fields["categoryId"] = row.category_id
    if row.barcode is not None:
        fields["barcode"] = row.barcode
    if row.base_price is not None:
        fields["basePrice"] = float(row.base_price)
        fields["basePriceExact"] = row.base_price
    if row.tags is not None:
        fields["tags"] = [tag for tag in row.tags if tag is not None]
    if row.stock is not None:
        fields["stock"] = row.stock
    if row.available_from is not None:
        fields["availableFrom"] = row.available_from * 86_400_000
    return fields


def main(bootstrap: str, topic: str, count: int) -> None:
    """Consume so many events and print what it cost."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"floor-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    decode, encode = msgspec.json.Decoder(Envelope).decode, msgspec.json.Encoder().encode
    seen, size = 0, 0
    started = (time.process_time(), time.monotonic())
    while seen < count:
        messages = consumer.consume(1000, 1.0)
        if not seen:
            started = (time.process_time(), time.monotonic())
        for message in messages:
            seen += 1
            value = message.value()
            if value is None:
                continue
            row = decode(value).after
            if row is not None and row.deleted_at is None:
                size += len(encode(document(row)))
    spent = {"cpu_s": time.process_time() - started[0], "wall_s": time.monotonic() - started[1]}
    print(json.dumps({"events": seen, "bytes": size, **spent}))
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
