"""Typed payloads: the few fields that the work needs. The architecture names events, not their fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta, Struct

from cdc_sync.dispatcher import catalog
from cdc_sync.errors import DecodeError

__all__ = [
    "EVENTS",
    "CommerceInitialized",
    "Event",
    "LedgerGenerate",
    "MerchantCreated",
    "MqPayEvent",
    "Part",
    "Payment",
    "PaymentSuccess",
    "ProductCreated",
    "ProductUpdated",
    "ProductVariantCreated",
    "ProductVariantUpdated",
    "PurchaseOrderReceived",
    "SaleEvent",
    "digest",
    "encode",
]


Id = Annotated[str, Meta(min_length=1, max_length=256)]


class Event(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every event may have."""

    address: ClassVar[str] = ""
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Other names of a field, as they may stand on the wire."""

    merchant_id: Id | None = None
    event_id: Id | None = None

    @property
    def key(self) -> str:
        """The Kafka key: what is in order among itself."""
        raise NotImplementedError

    @property
    def natural_key(self) -> str | None:
        """What makes two deliveries the same event, whatever way they came; None where nothing does."""
        return self.event_id


class Payment(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How much of an order is paid."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"total": ("amount",), "paid": ("paidAmount",)}

    total: Decimal | None = None
    paid: Decimal | None = None
    currency: str | None = None


class PaymentSuccess(Event, frozen=True, kw_only=True):
    """Kafka `payment.success`, and the same on Redis `payment.order.success`."""

    address = catalog.PAYMENT_SUCCESS
    aliases = {
        "saleOrderId": ("orderId",),
        "attemptUid": ("attemptId",),
        "transactionUid": ("transactionId",),
    }

    sale_order_id: Id
    payment: Payment | None = None
    attempt_uid: Id | None = None
    transaction_uid: Id | None = None
    sale_check_id: Id | None = None
    paid_at: str | int | None = None

    @property
    def key(self) -> str:
        """Its order."""
        return self.sale_order_id

    @property
    def natural_key(self) -> str | None:
        """The order and what was paid; its content, where nothing names the payment."""
        payment = self.attempt_uid or self.transaction_uid or self.event_id or self.paid_at
        return f"{self.sale_order_id}:{payment if payment is not None else digest(self)}"


class PurchaseOrderReceived(Event, frozen=True, kw_only=True):
    """A purchase order received and confirmed."""

    address = "purchase-order.received"
    aliases = {"purchaseOrderId": ("orderId", "id")}

    purchase_order_id: Id

    @property
    def key(self) -> str:
        """The purchase order."""
        return self.purchase_order_id

    @property
    def natural_key(self) -> str | None:
        """A purchase order is received once."""
        return self.purchase_order_id


class MerchantEvent(Event, frozen=True, kw_only=True):
    """Something about a merchant that happens once."""

    aliases = {"merchantId": ("id",)}

    merchant_id: Id

    @property
    def key(self) -> str:
        """The merchant."""
        return self.merchant_id

    @property
    def natural_key(self) -> str | None:
        """Once a merchant."""
        return f"{self.address}:{self.merchant_id}"


class CommerceInitialized(MerchantEvent, frozen=True, kw_only=True):
    """Onboarding of a new merchant completed."""

    address = "commerce.initialized"


class MerchantCreated(MerchantEvent, frozen=True, kw_only=True):
    """A new merchant."""

    address = "merchant.created"


class ProductEvent(Event, frozen=True, kw_only=True):
    """Something about a product."""

    aliases = {"productId": ("id",)}

    product_id: Id

    @property
    def key(self) -> str:
        """The product."""
        return self.product_id


class ProductCreated(ProductEvent, frozen=True, kw_only=True):
    """A product was created."""

    address = "product.created"


class ProductUpdated(ProductEvent, frozen=True, kw_only=True):
    """A product was updated."""

    address = "product.updated"


class ProductVariantEvent(Event, frozen=True, kw_only=True):
    """Something about a variant of a product."""

    aliases = {"productVariantId": ("variantId", "id")}

    product_variant_id: Id
    product_id: Id | None = None

    @property
    def key(self) -> str:
        """The variant."""
        return self.product_variant_id


class ProductVariantCreated(ProductVariantEvent, frozen=True, kw_only=True):
    """A variant was created."""

    address = "product-variant.created"


class ProductVariantUpdated(ProductVariantEvent, frozen=True, kw_only=True):
    """A variant was updated."""

    address = "product-variant.updated"


class LedgerGenerate(Event, frozen=True, kw_only=True):
    """A job: these rows as PDF and XLSX. A row is a JSON object; its names are the columns."""

    address = "ledger.generate"
    aliases = {"ledgerId": ("jobId", "id"), "rows": ("entries", "lines")}

    ledger_id: Id
    title: str | None = None
    period: str | None = None
    rows: list[dict[str, Any]] = []

    @property
    def key(self) -> str:
        """The ledger."""
        return self.ledger_id


class SaleEvent(Event, frozen=True, kw_only=True):
    """A check's or an order's life, on Redis; which of the eight says the channel."""

    aliases = {"saleCheckId": ("checkId",), "saleOrderId": ("orderId",)}

    sale_check_id: Id | None = None
    sale_order_id: Id | None = None
    status: str | None = None

    @property
    def key(self) -> str:
        """The check, or the order."""
        return self.sale_check_id or self.sale_order_id or ""


class Part(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """MQ-Pay's transaction, attempt or refund."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"uid": ("id",)}

    uid: Id
    status: str | None = None
    amount: Decimal | None = None
    currency: str | None = None


class MqPayEvent(Event, frozen=True, kw_only=True):
    """One of MQ-Pay's eleven events, by webhook or by the emitter."""

    address = catalog.INBOX.name
    aliases = {
        "eventType": ("type", "event"),
        "saleOrderId": ("orderId",),
        "saleCheckId": ("checkId",),
        "occurredAt": ("createdAt", "time"),
    }

    event_type: str
    transaction: Part | None = None
    attempt: Part | None = None
    refund: Part | None = None
    sale_order_id: Id | None = None
    sale_check_id: Id | None = None
    occurred_at: str | int | None = None

    @property
    def subject(self) -> Part:
        """What the event is about."""
        kind = self.event_type.removeprefix("mq-pay:").partition(".")[0]
        about: Part | None = getattr(self, kind, None)
        if about is None:
            raise DecodeError(f"{self.event_type} has no {kind} with a uid")
        return about

    @property
    def key(self) -> str:
        """The transaction, so that its events stay in order."""
        return (self.transaction or self.subject).uid

    @property
    def natural_key(self) -> str | None:
        """The event's type, what it is about and its state."""
        return f"{self.event_type}:{self.subject.uid}:{self.subject.status or ''}"


EVENTS: Final[Mapping[str, type[Event]]] = {
    **{
        kind.address: kind
        for kind in (
            PaymentSuccess,
            PurchaseOrderReceived,
            CommerceInitialized,
            MerchantCreated,
            ProductCreated,
            ProductUpdated,
            ProductVariantCreated,
            ProductVariantUpdated,
            LedgerGenerate,
            MqPayEvent,
        )
    },
    catalog.PAYMENT_ORDER_SUCCESS: PaymentSuccess,
    **{channel.name: SaleEvent for channel in catalog.REDIS_CHANNELS if channel.twin is None},
    **dict.fromkeys(catalog.EMITTER_EVENTS, MqPayEvent),
}
"""By topic, channel and emitter event."""


def encode(event: Event) -> bytes:
    """The event as JSON: camel case, nothing that is not set."""
    return msgspec.json.encode(event)


def digest(event: Event) -> str:
    """What the event says, in a few characters; the same for the same fields, whatever the wire had."""
    return sha256(msgspec.json.encode(event, order="deterministic")).hexdigest()[:32]
