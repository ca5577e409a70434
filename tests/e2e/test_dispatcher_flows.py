"""The three flows of the event architecture, end to end (docs/flows.md draws them)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dispatcher.redis_part import redis_part
from tools.stack import LocalProcess, Stack, Topics

from .platform import Dispatching, Platform, wait_for
from .world import World

pytestmark = pytest.mark.integration

RECORD = "tests.dispatcher.handlers:record"


@pytest.fixture(scope="module")
def redis() -> Iterator[LocalProcess]:
    with redis_part() as part:
        yield part


@pytest.fixture
def platform(stack: Stack, redis: LocalProcess, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(stack.broker.address, redis.address, tmp_path)
    yield made
    made.close()


def start_both(platform: Platform, world: World, services: str, handlers: dict[str, Any]) -> Dispatching:
    """`cdc-sync run --with-dispatcher`, in this world."""
    return platform.start(
        services,
        handlers,
        arguments=("run", "--with-dispatcher"),
        KAFKA__GROUP_ID=world.group,
        KAFKA__TOPIC_PREFIX=f"{world.prefix}.public",
        KAFKA__DLQ_TOPIC=world.dlq_topic,
        TYPESENSE__URL=world.server.url,
        TYPESENSE__API_KEY=world.server.api_key,
    )


def insert(world: World, table: str, **row: object) -> None:
    places = ", ".join(["%s"] * len(row))
    world.execute(f'INSERT INTO "{table}" ({", ".join(row)}) VALUES ({places})', list(row.values()))


def has_document(world: World, alias: str, identity: str) -> bool:
    found = json.loads(
        world.server.get(f"/collections/{alias}/documents/search?q=*&filter_by=id:={identity}")
    )
    return bool(found["found"] == 1)


def test_new_merchant_onboarding(platform: Platform, world: World, topics: Topics) -> None:
    """Rows to the search; merchant.created to inventory; commerce.initialized to finance and inventory."""
    topics.create(["merchant.created", "commerce.initialized"], partitions=3)
    world.start_connector()
    handlers = {service: {"*": [RECORD]} for service in ("finance", "inventory")}
    process = start_both(platform, world, "finance,inventory", handlers)
    merchant = f"m-{uuid.uuid4().hex[:8]}"
    name = json.dumps({"en": "A shop"})
    common = {"name": name, "status": "active"}
    insert(world, "Organizer", id=f"org-{merchant}", slug="s", **common)
    insert(world, "Merchant", id=merchant, organizer_id=f"org-{merchant}", slug="s", currency="VND", **common)
    insert(world, "SaleChannel", id=f"sc-{merchant}", merchant_id=merchant, kind="k", **common)
    for topic in ("merchant.created", "commerce.initialized"):
        platform.publish(topic, {"merchantId": merchant}, merchant)
    platform.flush()
    told = {
        ("inventory", "merchant.created"),
        ("inventory", "commerce.initialized"),
        ("finance", "commerce.initialized"),
    }
    wait_for(lambda: {(e["service"], e["address"]) for e in platform.handled(key=merchant)} == told)
    for alias, identity in (
        ("organizers", f"org-{merchant}"),
        ("merchants", merchant),
        ("sale-channels", f"sc-{merchant}"),
    ):
        wait_for(lambda alias=alias, identity=identity: has_document(world, alias, identity))  # type: ignore[misc]  # bound now
    assert process.stop() == 0


def test_product_sync(platform: Platform, world: World, topics: Topics) -> None:
    """Product and ProductInfo to one document; product.* to taxation, product-variant.* to pricing."""
    names = ["product.created", "product.updated", "product-variant.created", "product-variant.updated"]
    topics.create(names, partitions=3)
    world.start_connector()
    handlers = {"taxation": {"*": [RECORD]}, "pricing": {"*": [RECORD]}}
    start_both(platform, world, "taxation,pricing", handlers)
    product = f"p-{uuid.uuid4().hex[:8]}"
    insert(world, "Product", id=product, merchant_id="m", sku="k", status="active")
    text = json.dumps({"en": "Coffee"})
    insert(
        world, "ProductInfo", id=f"i-{product}", product_id=product, name=text, description=text, images=[]
    )
    for topic in names:
        variant = {"productVariantId": f"v-{product}"} if "variant" in topic else {}
        platform.publish(topic, {"productId": product, **variant}, product)
    platform.flush()
    taxation = wait_for(lambda: len(e := platform.handled(service="taxation", key=product)) == 2 and e)
    pricing = wait_for(lambda: len(e := platform.handled(service="pricing", key=f"v-{product}")) == 2 and e)
    assert isinstance(taxation, list)
    assert isinstance(pricing, list)
    assert {event["address"] for event in taxation + pricing} == set(names)
    wait_for(lambda: has_document(world, "products", product))


@pytest.mark.parametrize("completes", ["transaction.settled", "attempt.success"])
def test_payment(completes: str, platform: Platform, topics: Topics) -> None:
    """Webhook → inbox → adapter, mapper, handler → Kafka, Redis, rooms → finance and inventory, once."""
    topics.create(["payment.success"], partitions=3)
    process = platform.start(
        "sale,finance,inventory",
        {service: {"payment.success": [RECORD]} for service in ("finance", "inventory")},
        DISPATCHER__WEBHOOKS="true",
        DISPATCHER__WEBSOCKET="edge",
        DISPATCHER__PAYMENT_SUCCESS_ON=completes,
    )
    listener = platform.redis.pubsub()  # type: ignore[no-untyped-call]  # the client has no types for it
    listener.subscribe("payment.order.success", "sale.check.paid")
    run = uuid.uuid4().hex[:8]
    merchant, order, check = f"m-{run}", f"o-{run}", f"c-{run}"
    client = process.member(merchant)
    about = {"merchantId": merchant, "saleOrderId": order, "saleCheckId": check}
    attempt = {"uid": f"a-{run}", "status": "SUCCESS", "amount": 10.5, "currency": "VND"}
    transaction = {"uid": f"t-{run}", "status": "SETTLED", "amount": 10.5, "currency": "VND"}
    for kind in ("mq-pay:attempt.success", "mq-pay:transaction.settled"):
        payload = {**about, "attempt": attempt, "transaction": transaction}
        assert process.webhook(kind, payload).status == 202
    for service in ("finance", "inventory"):
        (line,) = wait_for(lambda service=service: platform.handled(service=service, key=order))  # type: ignore[misc]  # bound now
        body = json.loads(line["body"])
        assert (body["merchantId"], body["payment"]["paid"], body["payment"]["currency"]) == (
            merchant,
            "10.5",
            "VND",
        )
    frames = [client.hear(), *client.hear_all()]
    assert {(f["event"].removeprefix("ws:observation."), f["data"]["id"]) for f in frames} == {
        ("payment.payment-attempt", attempt["uid"]),
        ("payment.transaction", transaction["uid"]),
        ("sale.sale-order", order),
        ("sale.sale-check", check),
    }
    check_stored(topics, order)
    heard = [m for m in iter(lambda: listener.get_message(timeout=1), None) if m["type"] == "message"]
    assert [m["channel"] for m in heard] == [b"payment.order.success", b"sale.check.paid"]
    assert len(platform.handled(key=order)) == 2


def check_stored(topics: Topics, order: str) -> None:
    """One message of this order, which says who published what."""
    (stored,) = [message for message in topics.read(["payment.success"]) if message.key() == order.encode()]
    headers = dict(stored.headers() or [])
    assert headers["ce_type"] == b"payment.success"
    assert headers["ce_source"] == b"/SVC-00030-SALE_PRODUCER"
