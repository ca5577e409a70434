"""Each row of the event architecture, driven from outside over a real broker and a real Redis."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.dispatcher.redis_part import redis_part
from tests.dispatcher.tables import (
    CONSUMERS,
    EMITTER_EVENTS,
    KAFKA_TOPICS,
    REDIS_CHANNELS,
    WEBHOOK_EVENTS,
    WEBSOCKET_TOPICS,
)
from tools.stack import Stack, Topics

from .platform import Dispatching, Platform, wait_for

pytestmark = pytest.mark.integration

RECORD = "tests.dispatcher.handlers:record"
ROWS = [(topic, service) for topic, _, consumers in KAFKA_TOPICS for service in consumers]
"""Every (topic, consumer) of the document."""


@pytest.fixture(scope="module")
def platform(stack: Stack, topics: Topics, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    topics.create([topic for topic, _, _ in KAFKA_TOPICS], partitions=3)
    with redis_part() as redis:
        made = Platform(stack.broker.address, redis.address, tmp_path_factory.mktemp("rows"))
        yield made
        made.close()


@pytest.fixture(scope="module")
def everything(platform: Platform) -> Dispatching:
    """All groups, all channels, webhooks and the edge in one process, as `cdc-sync dispatcher run`."""
    handlers = {service: {"*": [RECORD]} for service, _, _ in CONSUMERS}
    handlers["sale"] = {
        channel: [RECORD, "relay"] for channel, _, _ in REDIS_CHANNELS if channel.startswith("sale.")
    }
    return platform.start(
        "all",
        handlers,
        DISPATCHER__WEBSOCKET="edge",
        DISPATCHER__WEBHOOKS="true",
        DISPATCHER__LEDGER_WORKERS="2",
        DISPATCHER__MQ_PAY_FEED="true",
    )


def payload(topic: str, name: str) -> dict[str, Any]:
    """A payload with the ids that the topic is about."""
    fields = {
        "payment.success": ("saleOrderId",),
        "purchase-order.received": ("purchaseOrderId",),
        "commerce.initialized": ("merchantId",),
        "merchant.created": ("merchantId",),
        "product.created": ("productId",),
        "product.updated": ("productId",),
        "product-variant.created": ("productVariantId",),
        "product-variant.updated": ("productVariantId",),
        "ledger.generate": ("ledgerId",),
    }
    return {"merchantId": "m-1", "somethingNew": [1, {}]} | dict.fromkeys(fields[topic], name)


# Kafka -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("topic", "service"), ROWS)
def test_an_event_reaches_its_consumer(
    topic: str, service: str, platform: Platform, everything: Dispatching
) -> None:
    name = f"{service}-{uuid.uuid4().hex[:8]}"
    platform.publish(topic, payload(topic, name), name)
    platform.flush()
    (line,) = wait_for(lambda: platform.handled(service=service, address=topic, key=name))
    assert json.loads(line["body"])["somethingNew"] == [1, {}]


@pytest.mark.parametrize(("service", "client_ids", "group_id"), CONSUMERS)
def test_the_broker_sees_the_ids_of_the_document(
    service: str, client_ids: list[str], group_id: str, platform: Platform, everything: Dispatching
) -> None:
    """And n workers share the ledger's partitions."""
    admin = AdminClient({"bootstrap.servers": platform.kafka})
    wanted = {topic for topic, _, consumers in KAFKA_TOPICS if service in consumers}

    def members() -> Any:
        group = admin.describe_consumer_groups([group_id])[group_id].result(10)
        found = {
            m.client_id: [(p.topic, p.partition) for p in m.assignment.topic_partitions]
            for m in group.members
        }
        return found if all(found.values()) and sum(map(len, found.values())) == 3 * len(wanted) else None

    found = wait_for(members)
    assert sorted(found) == client_ids
    partitions = [partition for of in found.values() for partition in of]
    assert len(set(partitions)) == len(partitions)
    assert {topic for topic, _ in partitions} == wanted


def test_events_of_a_key_stay_in_order(platform: Platform, everything: Dispatching) -> None:
    """Created before updated; and a thousand of one key in the order in which they were sent."""
    name = f"order-{uuid.uuid4().hex[:8]}"
    for n in range(1000):
        platform.publish("product.updated", {"productId": name, "n": n}, name)
    platform.flush()
    wait_for(lambda: len(platform.handled_keys(service="taxation", key=name)) >= 1000)
    numbers = [json.loads(line["body"])["n"] for line in platform.handled(service="taxation", key=name)]
    assert numbers == list(range(1000))


# Redis -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "service"), [(channel, service) for channel, _, of in REDIS_CHANNELS for service in of]
)
def test_a_message_on_a_channel_reaches_its_subscriber(
    channel: str, service: str, platform: Platform, everything: Dispatching
) -> None:
    name = f"redis-{service}-{uuid.uuid4().hex[:8]}"
    assert platform.announce(channel, {"saleOrderId": name, "merchantId": "m-1", "unknown": True}) == 1
    (line,) = wait_for(lambda: platform.handled(service=service, key=name))
    assert (line["transport"], line["address"]) == ("redis", channel)


@pytest.mark.parametrize("channel", [name for name, _, _ in REDIS_CHANNELS if name.startswith("sale.")])
def test_a_sale_event_is_seen_in_the_merchants_room(
    channel: str, platform: Platform, everything: Dispatching
) -> None:
    merchant, name = f"m-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    field = "saleCheckId" if channel.startswith("sale.check.") else "saleOrderId"
    client, other = everything.member(merchant), everything.member("somebody-else")
    platform.announce(channel, {field: name, "merchantId": merchant})
    frame = client.hear()
    topic = "sale-check" if channel.startswith("sale.check.") else "sale-order"
    assert frame["event"] == f"ws:observation.sale.{topic}"
    assert (frame["data"]["id"], frame["data"]["event"]) == (name, channel)
    assert other.hear_all(0.3) == []


def test_what_is_no_event_on_a_channel_is_counted_and_dropped(
    platform: Platform, everything: Dispatching
) -> None:
    platform.redis.publish("sale.check.paid", b"\xff{")
    platform.announce("sale.check.paid", {"saleCheckId": "without a merchant"})

    def outcomes() -> bool:
        found = everything.metric("cdc_sync_dispatcher_redis_events_total", "outcome")
        return found.get("undecodable", 0) >= 1 and found.get("failed", 0) >= 1

    wait_for(outcomes)


# WebSocket ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", [topic for _, topic in WEBSOCKET_TOPICS])
def test_an_emitters_frame_reaches_the_merchants_room(
    topic: str, platform: Platform, everything: Dispatching
) -> None:
    """What another service publishes to the backplane, for each topic of the document."""
    merchant = f"m-{uuid.uuid4().hex[:8]}"
    client = everything.member(merchant)
    platform.to_room(f"wr:observation/merchants/{merchant}", topic, {"id": "1"})
    assert client.hear() == {"event": topic, "data": {"id": "1"}}


def test_a_client_joins_no_room_of_another_merchant(platform: Platform, everything: Dispatching) -> None:
    client = everything.socket()
    assert client.authenticate(Platform.token("mine"))["event"] == "connected"
    for room in (
        "wr:observation/merchants/theirs",
        "wr:observation/merchants/*",
        "wr:observation/merchants/mine/../theirs",
        "wr:observation/merchants/",
        "wr:observation",
        "ws:observation.sale.sale-order",
        "wr:observation/merchants/mine\u0000",
    ):
        assert client.join(room)["event"] == "error", room
    platform.to_room("wr:observation/merchants/theirs", "ws:observation.sale.sale-order", {"id": "secret"})
    assert client.hear_all(0.5) == []


# Webhooks ----------------------------------------------------------------------------------------------


def event_of(kind: str, merchant: str, uid: str) -> dict[str, Any]:
    """What MQ-Pay says of a payment of a sale order."""
    about = kind.removeprefix("mq-pay:").partition(".")[0]
    parts = {"transaction": {"uid": f"t-{uid}", "status": "S", "amount": "10.50", "currency": "VND"}}
    parts[about] = {"uid": f"{about[0]}-{uid}", "status": "S", "amount": "10.50"}
    return {"merchantId": merchant, "saleOrderId": f"o-{uid}", **parts}


SEEN = {
    "mq-pay:transaction.created": ["payment.transaction"],
    "mq-pay:transaction.settled": ["payment.transaction", "sale.sale-order"],
    "mq-pay:transaction.cancelled": ["payment.transaction", "sale.sale-order"],
    "mq-pay:attempt.created": ["payment.payment-attempt"],
    "mq-pay:attempt.sent": ["payment.payment-attempt"],
    "mq-pay:attempt.success": ["payment.payment-attempt", "payment.transaction"],
    "mq-pay:attempt.failed": ["payment.payment-attempt"],
    "mq-pay:attempt.expired": ["payment.payment-attempt"],
    "mq-pay:attempt.cancelled": ["payment.payment-attempt"],
    "mq-pay:refund.success": ["payment.transaction"],
    "mq-pay:refund.failed": ["payment.transaction"],
}
"""What a merchant's client sees of each event."""


@pytest.mark.parametrize("kind", WEBHOOK_EVENTS)
def test_a_webhook_is_stored_and_seen(kind: str, platform: Platform, everything: Dispatching) -> None:
    merchant, uid = f"m-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:8]
    client = everything.member(merchant)
    assert everything.webhook(kind, event_of(kind, merchant, uid)).status == 202
    frames = [client.hear() for _ in SEEN[kind]]
    assert [frame["event"] for frame in frames] == [f"ws:observation.{topic}" for topic in SEEN[kind]]
    assert {frame["data"]["event"] for frame in frames} == {kind}


@pytest.mark.parametrize("kind", WEBHOOK_EVENTS)
def test_a_forged_stale_or_replayed_webhook_does_nothing(
    kind: str, platform: Platform, everything: Dispatching
) -> None:
    merchant, uid = f"m-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:8]
    payload = event_of(kind, merchant, uid)
    others = [other for other in WEBHOOK_EVENTS if other != kind]
    client = everything.member(merchant)
    assert everything.webhook(kind, payload, key=b"not the secret").status == 401
    assert everything.webhook(kind, payload, age_s=3600).status == 401
    assert everything.webhook(kind, payload, age_s=-3600).status == 401
    assert everything.webhook(kind, payload, tamper=b" ").status == 401
    assert everything.webhook(kind, payload, header="mq-pay:attempt.unheard").status == 422
    for other in others:
        assert everything.webhook(kind, payload, header=other).status == 400
    assert client.hear_all(0.3) == []
    first = everything.webhook(kind, payload, delivery_id=f"msg-{uid}")
    again = everything.webhook(kind, payload, delivery_id=f"msg-{uid}")
    assert (first.status, again.status) == (202, 200)
    assert len(client.hear_all()) == len(SEEN[kind])


@pytest.mark.parametrize("kind", [kind for kind in EMITTER_EVENTS if kind not in WEBHOOK_EVENTS])
def test_an_event_without_a_webhook_comes_by_the_feed(
    kind: str, platform: Platform, everything: Dispatching
) -> None:
    merchant, uid = f"m-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:8]
    client = everything.member(merchant)
    assert platform.announce(kind, {"eventType": kind, **event_of(kind, merchant, uid)}) == 1
    assert [client.hear()["event"] for _ in SEEN[kind]] == [f"ws:observation.{topic}" for topic in SEEN[kind]]
