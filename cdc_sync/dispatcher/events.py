"""Typed payloads, and readers that are tolerant of how they are written.

The architecture names events, not their fields: these are the few that the work needs. A reader takes camel
and snake case, an envelope around the payload (`data`, `payload`), ids as text or whole numbers (never as
fractions: above 2**53 they are wrong), an id under its object (`merchant.id`), and ignores what it does not
know. What it cannot do without it asks for by name, so that a dead letter says what was missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeVar, get_args

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
    "encode",
    "read",
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


# Reading ----------------------------------------------------------------------------------------------------

ENVELOPES: Final = ("payload", "data")
PARTS: Final = ("transaction", "attempt", "refund")
DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
E = TypeVar("E", bound=Event)


class Field(NamedTuple):
    """A field on the wire: the names that it may have, whether it is an id, an inner object's type."""

    name: str
    names: tuple[str, ...]
    is_id: bool
    kind: type[Struct] | None


def encode(event: Event) -> bytes:
    """The event as JSON: camel case, nothing that is not set."""
    return msgspec.json.encode(event)


def read(kind: type[E], body: bytes | None) -> E:
    """The event in a message's body. Raises `DecodeError`."""
    try:
        found = DECODER.decode(body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DecodeError("expected a JSON object")
    layers = list(layers_of(found, kind))
    try:
        return msgspec.convert(fields_of(layers, kind), kind, strict=False)
    except msgspec.ValidationError as error:
        raise DecodeError(f"{kind.__name__}: {error}") from error


def layers_of(found: dict[str, Any], kind: type[Struct]) -> Iterator[dict[str, Any]]:
    """The payload first, then what is around it, then MQ-Pay's parts and what they carry along."""
    inner = [found[name] for name in ENVELOPES if isinstance(found.get(name), dict)]
    yield from inner
    yield found
    if issubclass(kind, MqPayEvent):
        for outer in (*inner, found):
            parts = [outer[name] for name in PARTS if isinstance(outer.get(name), dict)]
            yield from parts
            yield from (p["metadata"] for p in (outer, *parts) if isinstance(p.get("metadata"), dict))


def fields_of(layers: list[dict[str, Any]], kind: type[Struct]) -> dict[str, Any]:
    """The fields of a kind, found in these layers, under the names that they have in ours."""
    found = {}
    for field in fields(kind):
        value = first(layers, field)
        if field.kind is not None and value is None and field.name in PARTS:
            value = part_without_object(layers, field.name)
        if field.kind is not None and isinstance(value, dict):
            value = fields_of([value], field.kind)
        if field.is_id and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is not None:
            found[field.name] = value
    return found


def first(layers: list[dict[str, Any]], field: Field) -> Any:
    """A field's value in the first layer that has it, under its first name that is there."""
    for name in field.names:
        outer, _, inner = name.partition(".")
        for layer in layers:
            value = layer.get(outer)
            if inner:
                value = value.get(inner) if isinstance(value, dict) else None
            if value is not None:
                return value
    return None


def part_without_object(layers: list[dict[str, Any]], name: str) -> Any:
    """A part whose uid stands flat (`transactionUid`), or that is the payload itself."""
    for layer in layers:
        uid = layer.get(f"{name}Uid") or layer.get(f"{name}Id") or layer.get(f"{name}_uid")
        if uid is not None:
            return {"uid": uid, "status": layer.get("status")}
    payload = layers[0]
    about = str(first(layers, next(f for f in fields(MqPayEvent) if f.name == "eventType")))
    is_it = about.startswith(f"mq-pay:{name}.") and ("uid" in payload or "id" in payload)
    return payload if is_it else None


@cache
def fields(kind: type[Struct]) -> tuple[Field, ...]:
    """How the fields of a kind are found."""
    aliases: Mapping[str, tuple[str, ...]] = getattr(kind, "aliases", {})
    found = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        inner = next((t for t in get_args(field.type) if isinstance(t, type) and issubclass(t, Struct)), None)
        is_id = name.endswith(("Id", "Uid", "uid"))
        under = (f"{name[:-2]}.id", f"{name[:-2]}.uid") if name.endswith("Id") else ()
        names = (name, snake(name), *under, *aliases.get(name, ()))
        found.append(Field(name, tuple(dict.fromkeys(names)), is_id, inner))
    return tuple(found)


def snake(name: str) -> str:
    """`saleOrderId` → `sale_order_id`."""
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


def digest(event: Event) -> str:
    """What the event says, in a few characters; the same for the same fields, whatever the wire had."""
    return sha256(msgspec.json.encode(event, order="deterministic")).hexdigest()[:32]
