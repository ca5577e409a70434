"""The event architecture as data: every topic, channel, event, room, group and client id, exactly.

Start-up checks, `cdc-sync catalog`, the AsyncAPI document and `docs/` come from here; the tests hold it to a
second copy of the tables, typed by hand. What the document does not name but this project had to choose is
in `ADDITIONS`, and nowhere else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "ADDITIONS",
    "CDC",
    "CDC_TABLES",
    "CONSUMERS",
    "EMITTER_EVENTS",
    "INBOX",
    "INBOX_CONSUMER",
    "PAYMENT_ORDER_SUCCESS",
    "PAYMENT_SUCCESS",
    "PRODUCERS",
    "REDIS_CHANNELS",
    "ROOMS",
    "TOPICS",
    "WEBHOOK",
    "WEBHOOK_EVENTS",
    "WEBSOCKET_TOPICS",
    "Addition",
    "Channel",
    "Consumer",
    "Producer",
    "Table",
    "Topic",
    "Webhook",
    "channels_of",
    "client_ids",
    "consumers",
    "topics_of",
]


class Table(NamedTuple):
    """A change topic of Debezium's, its table, and the collection that it feeds."""

    topic: str
    table: str
    collection: str


class Topic(NamedTuple):
    """A Kafka application topic; `key` is the field whose value is the message's key."""

    name: str
    producer: str
    consumers: tuple[str, ...]
    key: str
    meaning: str


class Consumer(NamedTuple):
    """How a service is a member of its group; `{n}` in a client id is a worker's number."""

    service: str
    client_id: str
    group_id: str


class Producer(NamedTuple):
    """How a service's producer calls itself."""

    service: str
    client_id: str


class Channel(NamedTuple):
    """A Redis pub/sub channel. `twin` is the Kafka topic that says the same, and never gets lost."""

    name: str
    publisher: str
    subscribers: tuple[str, ...]
    meaning: str
    twin: str | None = None


class Webhook(NamedTuple):
    """What MQ-Pay calls: `header` names the event's type."""

    sender: str
    receiver: str
    header: str


class Addition(NamedTuple):
    """A name that the architecture does not have; `setting` changes it, where one does."""

    name: str
    meaning: str
    setting: str | None = None


# Change data capture: the daemon's, never the dispatcher's --------------------------------------------------

CDC: Final = Consumer("search", "commerce-cdc-consumer", "commerce-cdc-group")
CDC_TABLES: Final = (
    Table("nx.seller.public.Organizer", "Organizer", "organizers"),
    Table("nx.seller.public.Merchant", "Merchant", "merchants"),
    Table("nx.seller.public.Category", "Category", "categories"),
    Table("nx.seller.public.Device", "Device", "devices"),
    Table("nx.seller.public.SaleChannel", "SaleChannel", "sale-channels"),
    Table("nx.seller.public.Product", "Product", "products"),
    Table("nx.seller.public.ProductInfo", "ProductInfo", "products"),
)

# Kafka ------------------------------------------------------------------------------------------------------

PAYMENT_SUCCESS: Final = "payment.success"

TOPICS: Final = (
    Topic(
        PAYMENT_SUCCESS, "sale", ("finance", "inventory"), "saleOrderId", "payment for a sale order completed"
    ),
    Topic(
        "purchase-order.received",
        "inventory",
        ("finance",),
        "purchaseOrderId",
        "purchase order received and confirmed",
    ),
    Topic(
        "commerce.initialized",
        "commerce",
        ("finance", "inventory"),
        "merchantId",
        "onboarding of a new merchant completed",
    ),
    Topic("merchant.created", "commerce", ("inventory",), "merchantId", "new merchant (inventory set-up)"),
    Topic("product.created", "commerce", ("taxation",), "productId", "product created"),
    Topic("product.updated", "commerce", ("taxation",), "productId", "product updated"),
    Topic("product-variant.created", "commerce", ("pricing",), "productVariantId", "variant created"),
    Topic("product-variant.updated", "commerce", ("pricing",), "productVariantId", "variant updated"),
    Topic("ledger.generate", "ledger", ("ledger",), "ledgerId", "job: generate a ledger as PDF and XLSX"),
)

CONSUMERS: Final = (
    Consumer("finance", "SVC-00040-FINANCE_CONSUMER", "SVC-00040-FINANCE_CONSUMER_GROUP"),
    Consumer("inventory", "SVC-00050-INVENTORY_CONSUMER", "SVC-00050-INVENTORY_CONSUMER_GROUP"),
    Consumer("pricing", "SVC-00070-PRICING_CONSUMER", "SVC-00070-PRICING_CONSUMER_GROUP"),
    Consumer("taxation", "SVC-00130-TAXATION_CONSUMER", "SVC-00130-TAXATION_CONSUMER_GROUP"),
    Consumer("ledger", "SVC-00060-LEDGER-{n}", "SVC-00060-LEDGER_GROUP"),
)

PRODUCERS: Final = (
    Producer("commerce", "SVC-00020-COMMERCE_PRODUCER"),
    Producer("sale", "SVC-00030-SALE_PRODUCER"),
    Producer("inventory", "SVC-00050-INVENTORY_PRODUCER"),
    Producer("ledger", "SVC-00060-LEDGER-01"),
)

# Redis ------------------------------------------------------------------------------------------------------

PAYMENT_ORDER_SUCCESS: Final = "payment.order.success"

REDIS_CHANNELS: Final = (
    Channel(
        PAYMENT_ORDER_SUCCESS,
        "sale",
        ("finance", "inventory"),
        "an order's payment completed: income is recorded, stock adjusted",
        twin=PAYMENT_SUCCESS,
    ),
    *(
        Channel(f"sale.check.{what}", "sale", ("sale",), f"a check was {said}")
        for what, said in (
            ("created", "created"),
            ("updated", "updated"),
            ("merged", "merged"),
            ("rolledBack", "rolled back"),
            ("paid", "paid"),
        )
    ),
    *(
        Channel(f"sale.order.{what}", "sale", ("sale",), said)
        for what, said in (
            ("merged", "orders were merged"),
            ("mergeRolledBack", "a merge of orders was rolled back"),
            ("split", "an order was split"),
        )
    ),
)

# WebSocket --------------------------------------------------------------------------------------------------

WEBSOCKET_TOPICS: Final = {
    "sale": (
        "ws:observation.sale.sale-order",
        "ws:observation.sale.sale-order-item",
        "ws:observation.sale.sale-check",
        "ws:observation.sale.kitchen-ticket",
        "ws:observation.sale.kitchen-ticket-item",
        "ws:observation.allocation.allocation-usage",
    ),
    "payment": ("ws:observation.payment.transaction", "ws:observation.payment.payment-attempt"),
    "outreach": ("ws:observation.outreach.inquiry.submitted",),
}
ROOMS: Final = ("wr:observation/merchants/{merchantId}",)

# MQ-Pay -----------------------------------------------------------------------------------------------------

WEBHOOK: Final = Webhook("MQ-Pay", "sale", "X-Webhook-Event-Type")
WEBHOOK_EVENTS: Final = (
    "mq-pay:attempt.success",
    "mq-pay:attempt.failed",
    "mq-pay:attempt.expired",
    "mq-pay:attempt.cancelled",
    "mq-pay:transaction.settled",
    "mq-pay:transaction.cancelled",
)
EMITTER_EVENTS: Final = (
    "mq-pay:transaction.created",
    "mq-pay:transaction.settled",
    "mq-pay:transaction.cancelled",
    "mq-pay:attempt.created",
    "mq-pay:attempt.sent",
    "mq-pay:attempt.success",
    "mq-pay:attempt.failed",
    "mq-pay:attempt.expired",
    "mq-pay:attempt.cancelled",
    "mq-pay:refund.success",
    "mq-pay:refund.failed",
)

# What the architecture does not name ------------------------------------------------------------------------

INBOX: Final = Topic("mq-pay.webhook", "sale", ("sale",), "transaction.uid", "verified webhooks, in order")
INBOX_CONSUMER: Final = Consumer(
    "sale", "SVC-00030-SALE_WEBHOOK_CONSUMER", "SVC-00030-SALE_WEBHOOK_CONSUMER_GROUP"
)
ADDITIONS: Final = (
    Addition(INBOX.name, "Kafka topic: a webhook is acknowledged once it is stored here"),
    Addition(INBOX_CONSUMER.group_id, "Kafka group that processes them"),
    Addition(INBOX_CONSUMER.client_id, "its client id"),
    Addition("nx.{service}.dlq", "Kafka topic: dead letters of a service", "CDC_SYNC_DISPATCHER__DLQ_TOPIC"),
    Addition("/webhooks/mq-pay", "HTTP path that MQ-Pay calls, by POST", "CDC_SYNC_DISPATCHER__WEBHOOK_PATH"),
    Addition("/ws", "HTTP path of the WebSocket edge", "CDC_SYNC_DISPATCHER__WEBSOCKET_PATH"),
    Addition("ws:room:{room}", "Redis channel: frames for a room, between replicas and from emitters"),
    Addition("ws:client:{id}", "Redis channel: frames for a client"),
    Addition("ws:user:{id}", "Redis channel: frames for a user"),
    Addition("ws:broadcast", "Redis channel: frames for everybody"),
    Addition("cdc-sync:claim:{service}:{key}", "Redis key: who runs a handler, or that it has run"),
)


def consumers() -> tuple[Consumer, ...]:
    """Every group that the dispatcher can join."""
    return (*CONSUMERS, INBOX_CONSUMER)


def topics_of(service: str) -> tuple[str, ...]:
    """The Kafka topics that a service consumes."""
    return tuple(topic.name for topic in (*TOPICS, INBOX) if service in topic.consumers)


def channels_of(service: str) -> tuple[str, ...]:
    """The Redis channels that a service subscribes to."""
    return tuple(channel.name for channel in REDIS_CHANNELS if service in channel.subscribers)


def client_ids(consumer: Consumer, workers: int = 1) -> tuple[str, ...]:
    """The client ids of a service's members: one, or one a worker (`-01`, `-02`, …)."""
    if "{n}" not in consumer.client_id:
        return (consumer.client_id,)
    return tuple(consumer.client_id.replace("{n}", f"{n:02d}") for n in range(1, workers + 1))
