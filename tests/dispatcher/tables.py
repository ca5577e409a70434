"""The tables of the event architecture, typed by hand from the document: a second copy."""

from __future__ import annotations

CHANGE_TOPICS = [
    ("nx.seller.public.Organizer", "Organizer", "organizers"),
    ("nx.seller.public.Merchant", "Merchant", "merchants"),
    ("nx.seller.public.Category", "Category", "categories"),
    ("nx.seller.public.Device", "Device", "devices"),
    ("nx.seller.public.SaleChannel", "SaleChannel", "sale-channels"),
    ("nx.seller.public.Product", "Product", "products"),
    ("nx.seller.public.ProductInfo", "ProductInfo", "products"),
]
CHANGE_CONSUMER = ("commerce-cdc-consumer", "commerce-cdc-group")

KAFKA_TOPICS = [
    ("payment.success", "sale", ["finance", "inventory"]),
    ("purchase-order.received", "inventory", ["finance"]),
    ("commerce.initialized", "commerce", ["finance", "inventory"]),
    ("merchant.created", "commerce", ["inventory"]),
    ("product.created", "commerce", ["taxation"]),
    ("product.updated", "commerce", ["taxation"]),
    ("product-variant.created", "commerce", ["pricing"]),
    ("product-variant.updated", "commerce", ["pricing"]),
    ("ledger.generate", "ledger", ["ledger"]),
]

CONSUMERS = [
    ("finance", ["SVC-00040-FINANCE_CONSUMER"], "SVC-00040-FINANCE_CONSUMER_GROUP"),
    ("inventory", ["SVC-00050-INVENTORY_CONSUMER"], "SVC-00050-INVENTORY_CONSUMER_GROUP"),
    ("pricing", ["SVC-00070-PRICING_CONSUMER"], "SVC-00070-PRICING_CONSUMER_GROUP"),
    ("taxation", ["SVC-00130-TAXATION_CONSUMER"], "SVC-00130-TAXATION_CONSUMER_GROUP"),
    ("ledger", ["SVC-00060-LEDGER-01", "SVC-00060-LEDGER-02"], "SVC-00060-LEDGER_GROUP"),
]
"""With two workers in the ledger's group."""

PRODUCERS = [
    ("commerce", "SVC-00020-COMMERCE_PRODUCER"),
    ("sale", "SVC-00030-SALE_PRODUCER"),
    ("inventory", "SVC-00050-INVENTORY_PRODUCER"),
    ("ledger", "SVC-00060-LEDGER-01"),
]

REDIS_CHANNELS = [
    ("payment.order.success", "sale", ["finance", "inventory"]),
    ("sale.check.created", "sale", ["sale"]),
    ("sale.check.updated", "sale", ["sale"]),
    ("sale.check.merged", "sale", ["sale"]),
    ("sale.check.rolledBack", "sale", ["sale"]),
    ("sale.check.paid", "sale", ["sale"]),
    ("sale.order.merged", "sale", ["sale"]),
    ("sale.order.mergeRolledBack", "sale", ["sale"]),
    ("sale.order.split", "sale", ["sale"]),
]

WEBSOCKET_TOPICS = [
    ("sale", "ws:observation.sale.sale-order"),
    ("sale", "ws:observation.sale.sale-order-item"),
    ("sale", "ws:observation.sale.sale-check"),
    ("sale", "ws:observation.sale.kitchen-ticket"),
    ("sale", "ws:observation.sale.kitchen-ticket-item"),
    ("sale", "ws:observation.allocation.allocation-usage"),
    ("payment", "ws:observation.payment.transaction"),
    ("payment", "ws:observation.payment.payment-attempt"),
    ("outreach", "ws:observation.outreach.inquiry.submitted"),
]

WEBHOOK_EVENTS = [
    "mq-pay:attempt.success",
    "mq-pay:attempt.failed",
    "mq-pay:attempt.expired",
    "mq-pay:attempt.cancelled",
    "mq-pay:transaction.settled",
    "mq-pay:transaction.cancelled",
]

EMITTER_EVENTS = [
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
]
