"""Handlers that come with the dispatcher: `relay` and `audit`. None invents rules of accounting or stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.context import Context, Handler
from cdc_sync.dispatcher.errors import Reject
from cdc_sync.dispatcher.events import Event, SaleEvent
from cdc_sync.dispatcher.payments import SALE_CHECK, SALE_ORDER, merchant_room
from cdc_sync.log import get_logger

__all__ = ["RELAYED", "audit", "relay"]

RELAYED: Final[Mapping[str, str]] = {
    catalog.PAYMENT_SUCCESS: SALE_ORDER,
    **{
        channel.name: SALE_CHECK if channel.name.startswith("sale.check.") else SALE_ORDER
        for channel in catalog.REDIS_CHANNELS
    },
}
"""The WebSocket topic that says the same; other events have none in the architecture."""


async def to_merchant(event: Event, context: Context) -> None:
    """To the merchant's room and no other: an event without a merchant goes nowhere."""
    room = merchant_room(event)
    if room is None:
        raise Reject(f"{context.address} without merchantId: it has no room to go to")
    topic = RELAYED[context.address]
    check = event.sale_check_id if isinstance(event, SaleEvent) and topic == SALE_CHECK else None
    fields: dict[str, Any] = msgspec.to_builtins(event)
    await context.to_room(room, topic, {**fields, "id": check or event.key, "event": context.address})


async def to_log(event: Event, context: Context) -> None:
    """One line of ids, never of what an event contains."""
    get_logger("audit").info(
        "event",
        service=context.service,
        address=context.address,
        transport=context.transport,
        key=event.key,
        idempotency_key=context.idempotency_key,
    )


relay: Final = Handler("relay", to_merchant, is_async=True)
audit: Final = Handler("audit", to_log, is_async=True, is_effectful=False)
