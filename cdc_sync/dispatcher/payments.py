"""From MQ-Pay's events to what the rest of the platform hears of a payment.

The emitter has MQ-Pay's eleven events. `MQPaySaleEventAdapter` takes them from it, `SaleEventMapperService`
says what each means to a sale, and `SalePaymentEventHandlerService` tells it: first Kafka, which keeps it;
then Redis and the WebSocket rooms, which may lose it. A failure before the first is over is the delivery's
failure, so the event comes again; what it then repeats carries the same id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.context import Context, Outlets
from cdc_sync.dispatcher.errors import Reject
from cdc_sync.dispatcher.events import Event, MqPayEvent, Part, Payment, PaymentSuccess, SaleEvent
from cdc_sync.dispatcher.names import WebSocketRooms, WebSocketTopics

__all__ = [
    "SALE_CHECK",
    "SALE_ORDER",
    "Emitter",
    "MQPaySaleEventAdapter",
    "SaleEventMapperService",
    "SalePaymentEventHandlerService",
    "merchant_room",
    "payments_handler",
]

SALE_ORDER: Final = WebSocketTopics.observation("sale", "sale-order")
SALE_CHECK: Final = WebSocketTopics.observation("sale", "sale-check")
TRANSACTION: Final = WebSocketTopics.observation("payment", "transaction")
ATTEMPT: Final = WebSocketTopics.observation("payment", "payment-attempt")

OBSERVED: Final[Mapping[str, tuple[str, ...]]] = {
    "mq-pay:transaction.created": (TRANSACTION,),
    "mq-pay:transaction.settled": (TRANSACTION, SALE_ORDER, SALE_CHECK),
    "mq-pay:transaction.cancelled": (TRANSACTION, SALE_ORDER),
    "mq-pay:attempt.created": (ATTEMPT,),
    "mq-pay:attempt.sent": (ATTEMPT,),
    "mq-pay:attempt.success": (ATTEMPT, TRANSACTION),
    "mq-pay:attempt.failed": (ATTEMPT,),
    "mq-pay:attempt.expired": (ATTEMPT,),
    "mq-pay:attempt.cancelled": (ATTEMPT,),
    "mq-pay:refund.success": (TRANSACTION,),
    "mq-pay:refund.failed": (TRANSACTION,),
}
"""Which WebSocket topics a merchant sees an event on; `sale-check` only where there is one."""

Listener = Callable[[MqPayEvent], Awaitable[None]]


class Emitter:
    """MQ-Pay's internal events. `emit` waits for each listener in turn; one that fails fails the emission."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)

    def on(self, name: str, listener: Listener) -> None:
        """Call it for every event of this name. Raises `ValueError` for a name that is not in the catalog."""
        self._listeners[checked(name)].append(listener)

    async def emit(self, event: MqPayEvent) -> None:
        """Tell the listeners. Raises what they raise, and `ValueError` for an unknown name."""
        for listener in self._listeners[checked(event.event_type)]:
            await listener(event)


def checked(name: str) -> str:
    """The name, if MQ-Pay has such an event."""
    if name not in catalog.EMITTER_EVENTS:
        raise ValueError(f"MQ-Pay has no event {name!r}")
    return name


class Observation(NamedTuple):
    """A frame for the merchant's room."""

    topic: str
    data: dict[str, Any]


class SaleNews(NamedTuple):
    """What one of MQ-Pay's events means to a sale, in the order in which it is told."""

    room: str | None
    paid: PaymentSuccess | None
    announcements: tuple[tuple[str, Event], ...]
    observations: tuple[Observation, ...]


class SaleEventMapperService:
    """MQ-Pay's event to a sale's; pure. `completes` is the one event that means an order is paid."""

    def __init__(self, completes: str) -> None:
        self._completes = completes

    def map(self, event: MqPayEvent) -> SaleNews:
        """What is to be told. Raises `Reject` where an order is paid and it does not say which."""
        paid = self._paid(event) if event.event_type == self._completes else None
        announcements: list[tuple[str, Event]] = []
        if paid is not None:
            announcements.append((catalog.PAYMENT_ORDER_SUCCESS, paid))
        if paid is not None and event.sale_check_id is not None:
            check = SaleEvent(
                merchant_id=event.merchant_id,
                sale_check_id=event.sale_check_id,
                sale_order_id=event.sale_order_id,
                status="PAID",
                event_id=event.natural_key,
            )
            announcements.append(("sale.check.paid", check))
        return SaleNews(merchant_room(event), paid, tuple(announcements), tuple(observations(event)))

    def _paid(self, event: MqPayEvent) -> PaymentSuccess:
        if event.sale_order_id is None:
            raise Reject(f"{event.event_type} of {event.subject.uid} does not say which order is paid")
        about = event.subject
        payment = Payment(total=about.amount, paid=about.amount, currency=about.currency)
        return PaymentSuccess(
            merchant_id=event.merchant_id,
            sale_order_id=event.sale_order_id,
            payment=None if about.amount is None else payment,
            attempt_uid=event.attempt.uid if event.attempt is not None else None,
            transaction_uid=event.transaction.uid if event.transaction is not None else None,
            sale_check_id=event.sale_check_id,
            paid_at=event.occurred_at,
            event_id=event.natural_key,
        )


def merchant_room(event: Event) -> str | None:
    """Where its merchant listens; None without a merchant. Raises `Reject` for an id that is no room's."""
    if event.merchant_id is None:
        return None
    try:
        return WebSocketRooms.merchant(event.merchant_id)
    except ValueError as error:
        raise Reject(f"merchantId: {error}") from error


def observations(event: MqPayEvent) -> list[Observation]:
    """What the merchant's room sees."""
    common = {"event": event.event_type, "merchantId": event.merchant_id, "saleOrderId": event.sale_order_id}
    seen = []
    for topic in OBSERVED[event.event_type]:
        if topic == SALE_ORDER:
            data = {"id": event.sale_order_id}
        elif topic == SALE_CHECK:
            data = {"id": event.sale_check_id}
        else:
            data = part_data(event.attempt if topic == ATTEMPT else event.transaction or event.subject)
        if data.get("id") is not None:
            seen.append(Observation(topic, {**common, **data}))
    return seen


def part_data(part: Part | None) -> dict[str, Any]:
    """A transaction or an attempt, as a client sees it."""
    return {} if part is None else {"id": part.uid, "status": part.status}


class SalePaymentEventHandlerService:
    """Tells it: Kafka, and when that has it, Redis and WebSocket."""

    def __init__(self, outlets: Outlets) -> None:
        self._outlets = outlets

    async def handle(self, news: SaleNews) -> None:
        """Raises `NotPublished` while Kafka does not take it; the rest is best effort."""
        if news.paid is not None:
            await self._outlets.publish(news.paid, event_id=news.paid.event_id)
        for channel, event in news.announcements:
            await self._outlets.announce(channel, event)
        if news.room is not None:
            for topic, data in news.observations:
                await self._outlets.to_room(news.room, topic, data)


class MQPaySaleEventAdapter:
    """Takes all eleven events from the emitter to the sale's services."""

    def __init__(self, mapper: SaleEventMapperService, service: SalePaymentEventHandlerService) -> None:
        self._mapper = mapper
        self._service = service

    def listen_to(self, emitter: Emitter) -> None:
        """Hear every event of MQ-Pay's."""
        for name in catalog.EMITTER_EVENTS:
            emitter.on(name, self.on_event)

    async def on_event(self, event: MqPayEvent) -> None:
        """One event, told to the end."""
        await self._service.handle(self._mapper.map(event))


def payments_handler(emitter: Emitter) -> Callable[[MqPayEvent, Context], Awaitable[None]]:
    """The handler of the inbox: what a webhook brought, into the emitter."""

    async def payments(event: MqPayEvent, _: Context) -> None:
        if event.event_type not in catalog.EMITTER_EVENTS:
            raise Reject(f"MQ-Pay has no event {event.event_type!r}")
        await emitter.emit(event)

    return payments
