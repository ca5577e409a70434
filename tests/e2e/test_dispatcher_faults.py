"""Handlers that fail, processes that die, servers that are away: what the dispatcher promises meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tests.dispatcher.redis_part import redis_part
from tools.stack import LocalProcess, Stack, Topics
from tools.stack.broker import broker
from tools.stack.layout import RUNS
from tools.stack.ledger import Ledger

from .platform import Dispatching, Platform, wait_for

pytestmark = pytest.mark.integration

RECORD = "tests.dispatcher.handlers:record"
TOPICS = (
    "payment.success",
    "product.created",
    "product.updated",
    "product-variant.created",
    "merchant.created",
)


@pytest.fixture(scope="module")
def redis() -> Iterator[LocalProcess]:
    with redis_part() as part:
        yield part


@pytest.fixture
def platform(stack: Stack, topics: Topics, redis: LocalProcess, tmp_path: Path) -> Iterator[Platform]:
    topics.create(TOPICS, partitions=3)
    made = Platform(stack.broker.address, redis.address, tmp_path)
    yield made
    made.close()


def letters(topics: Topics, topic: str, key_part: str) -> dict[str, dict[str, str]]:
    """Dead letters by the id in their body: their headers."""
    found = {}
    for message in topics.read([topic]):
        body = message.value() or b""
        if key_part.encode() in body:
            pairs: Any = message.headers() or []
            headers = {name: (value or b"").decode() for name, value in pairs}
            found[body.decode(errors="replace")] = headers
    return found


# Nothing lost ------------------------------------------------------------------------------------------


def test_sigkill_in_the_middle_of_ten_thousand_loses_none(platform: Platform, topics: Topics) -> None:
    """Killed twice; what was committed was handled, what was not is handled again, in order."""
    run = uuid.uuid4().hex[:8]
    names = [f"kill-{run}-{n:05d}" for n in range(10_000)]
    handlers = {"taxation": {"product.created": ["tests.dispatcher.handlers:slow"]}}

    def ours() -> set[str]:
        return {key for key in platform.handled_keys() if run in key}

    for name in names:
        platform.publish("product.created", {"productId": name}, name)
    platform.flush()
    for so_far in (2_000, 5_000):
        process = platform.start("taxation", handlers, ready=False)
        wait_for(lambda so_far=so_far: len(ours()) >= so_far, 60)  # type: ignore[misc]  # a default binds it now
        process.kill()
    assert 0 < len(ours()) < 10_000, "it was not killed in the middle"
    platform.start("taxation", handlers, ready=False)
    wait_for(lambda: set(names) <= ours(), 90)


def test_a_polite_end_finishes_what_was_begun_and_repeats_nothing(platform: Platform) -> None:
    run = uuid.uuid4().hex[:8]
    names = [f"polite-{run}-{n}" for n in range(3_000)]
    handlers = {"taxation": {"product.created": ["tests.dispatcher.handlers:slow"]}}
    for name in names:
        platform.publish("product.created", {"productId": name}, name)
    platform.flush()
    first = platform.start("taxation", handlers)
    wait_for(lambda: [key for key in platform.handled_keys() if key in names])
    assert first.stop() == 0
    platform.start("taxation", handlers)
    wait_for(lambda: set(names) <= set(platform.handled_keys()))
    ours = [key for key in platform.handled_keys() if run in key]
    assert len(ours) == len(names), "handled twice"


def test_a_second_replica_takes_over_without_loss_or_repetition(platform: Platform) -> None:
    run = uuid.uuid4().hex[:8]
    handlers = {"taxation": {"product.updated": [RECORD]}}
    first = platform.start("taxation", handlers)
    names = [f"share-{run}-{n}" for n in range(2_000)]
    for n, name in enumerate(names):
        platform.publish("product.updated", {"productId": name}, name)
        if n == 500:
            platform.flush()
            platform.start("taxation", handlers)
    platform.flush()
    first.stop()
    wait_for(lambda: set(names) <= set(platform.handled_keys()))
    assert len([key for key in platform.handled_keys() if run in key]) == len(names)


# Handlers that fail ------------------------------------------------------------------------------------


@pytest.fixture
def pricing(platform: Platform) -> Dispatching:
    """Handlers with moods, and little patience."""
    return platform.start(
        "pricing",
        {"pricing": {"product-variant.created": ["tests.dispatcher.handlers:moody"]}},
        DISPATCHER__HANDLER_TIMEOUT_S="1",
        DISPATCHER__MAX_BACKOFF_S="0.3",
    )


def publish_moods(platform: Platform, run: str, *moods: str) -> list[str]:
    """Events in one partition, in this order."""
    names = [f"{mood}-{run}" for mood in moods]
    for name in names:
        platform.publish("product-variant.created", {"productVariantId": name}, f"one key of {run}")
    platform.flush()
    return names


def test_what_can_never_be_handled_becomes_a_letter_of_its_service(
    platform: Platform, pricing: Dispatching, topics: Topics
) -> None:
    """Refused, a bug after as many tries as are allowed, undecodable: with their bytes and a reason each."""
    run = uuid.uuid4().hex[:8]
    reject, bug, well = publish_moods(platform, run, "reject", "bug", "well")
    platform.publish("product-variant.created", b'{"unknown": "%s"}' % run.encode(), "k")
    platform.flush()
    wait_for(lambda: platform.handled(key=well, what="handled"))
    found = wait_for(lambda: len(of := letters(topics, "nx.pricing.dlq", run)) == 3 and of)
    assert isinstance(found, dict)
    by_class = {headers["__connect.errors.exception.class.name"]: body for body, headers in found.items()}
    assert {"Reject", "Exhausted", "DecodeError"} == set(by_class)
    assert json.loads(by_class["Reject"]) == {"productVariantId": reject}
    headers = found[by_class["Exhausted"]]
    assert headers["__connect.errors.topic"] == "product-variant.created"
    assert headers["__connect.errors.connector.name"] == "SVC-00070-PRICING_CONSUMER_GROUP"
    assert "failed 5 times: ValueError: a bug in a handler" in headers["__connect.errors.exception.message"]
    assert [line["what"] for line in platform.handled(key=bug)] == [f"try {n}" for n in range(1, 6)]
    assert "productVariantId" in found[by_class["DecodeError"]]["__connect.errors.exception.message"]


def test_what_passes_is_waited_for_in_place(platform: Platform, pricing: Dispatching, topics: Topics) -> None:
    """More tries than a bug gets, no letter, and nothing of the partition overtakes."""
    run = uuid.uuid4().hex[:8]
    outage, later, after = publish_moods(platform, run, "outage", "later", "after")
    wait_for(lambda: platform.handled(key=after, what="handled"))
    whats = [(line["key"], line["what"]) for line in platform.handled() if run in line["key"]]
    handled = [key for key, what in whats if what == "handled"]
    assert handled == [outage, later, after]
    assert [what for key, what in whats if key == outage] == [*(f"try {n}" for n in range(1, 9)), "handled"]
    assert whats.index((outage, "handled")) < whats.index((later, "try 1"))
    assert not letters(topics, "nx.pricing.dlq", run)


def test_a_hung_handler_is_cancelled_and_tried_again(platform: Platform, pricing: Dispatching) -> None:
    run = uuid.uuid4().hex[:8]
    hang, after = publish_moods(platform, run, "hang", "after")
    wait_for(lambda: platform.handled(key=after, what="handled"))
    assert [line["what"] for line in platform.handled(key=hang)] == ["try 1", "try 2", "handled"]
    assert sum(pricing.metric("cdc_sync_dispatcher_handler_timeouts_total").values()) == 1


def test_a_stuck_thread_stops_its_partition_only_and_not_the_end(platform: Platform) -> None:
    """It cannot be ended: it is counted, named by readiness, and the process ends without it, with code 1."""
    run = uuid.uuid4().hex[:8]
    process = platform.start(
        "inventory",
        {"inventory": {"merchant.created": ["tests.dispatcher.handlers:stuck_thread"]}},
        TEST_RUN=run,
        DISPATCHER__HANDLER_TIMEOUT_S="0.5",
        DISPATCHER__DRAIN_TIMEOUT_S="2",
    )
    platform.publish("merchant.created", {"merchantId": f"hang-{run}"}, f"hang-{run}")
    platform.flush()
    wait_for(lambda: platform.handled(key=f"hang-{run}", what="begun"))
    wait_for(lambda: "a handler has been at work" in process.ask("/readyz")[1])
    others = [f"well-{run}-{n}" for n in range(60)]
    for name in others:
        platform.publish("merchant.created", {"merchantId": name}, name)
    platform.flush()
    wait_for(lambda: len([key for key in platform.handled_keys(what="handled") if run in key]) >= 10)
    assert process.stop() == 1
    assert "Traceback" not in process.tail()
    platform.start("inventory", {"inventory": {"merchant.created": [RECORD]}})
    wait_for(lambda: {f"hang-{run}", *others} <= set(platform.handled_keys(what="handled")))


def test_a_flood_of_letters_stops_the_line(platform: Platform, topics: Topics) -> None:
    """A deployment that refuses everything does not empty the topic into the dead letters."""
    run = uuid.uuid4().hex[:8]
    process = platform.start(
        "pricing",
        {"pricing": {"product-variant.created": ["tests.dispatcher.handlers:moody"]}},
        DLQ__LIMIT_COUNT="20",
        DISPATCHER__MAX_WAITING_RECORDS="10",
    )
    for n in range(2_000):
        platform.publish("product-variant.created", {"productVariantId": f"reject-{run}-{n}"}, f"{run}-{n}")
    platform.flush()
    wait_for(lambda: "flood of dead letters" in process.ask("/readyz")[1])
    time.sleep(1.0)
    count = len(letters(topics, "nx.pricing.dlq", run))
    assert 20 <= count < 2_000
    process.kill()
    last = platform.start("pricing", {"pricing": {"product-variant.created": [RECORD]}})
    wait_for(
        lambda: len({key for key in platform.handled_keys(what="handled") if run in key}) >= 2_000 - count
    )
    assert last.stop() == 0


# Two ways, one claim -----------------------------------------------------------------------------------


def test_kafka_and_redis_together_run_a_handler_once(platform: Platform) -> None:
    """Both services, two replicas, both ways: once a service and payment, whichever came first."""
    run = uuid.uuid4().hex[:8]
    handlers = {service: {"payment.success": [RECORD]} for service in ("finance", "inventory")}
    for _ in range(2):
        platform.start("finance,inventory", handlers)
    names = [f"pay-{run}-{n}" for n in range(200)]
    for n, name in enumerate(names):
        paid = {"saleOrderId": name, "merchantId": "m", "attemptUid": f"a-{name}"}
        if n % 2:
            platform.announce("payment.order.success", paid)
        platform.publish("payment.success", paid, name)
        if n % 4 == 0:
            platform.announce("payment.order.success", paid)
    platform.flush()
    for service in ("finance", "inventory"):
        wait_for(lambda service=service: set(names) <= set(platform.handled_keys(service=service)))  # type: ignore[misc]  # as above
    time.sleep(1.0)
    ours = [line for line in platform.handled() if run in line["key"]]
    assert len(ours) == 2 * len(names)
    assert {"kafka", "redis"} == {line["transport"] for line in ours}


def test_a_cut_redis_is_counted_and_kafka_is_the_authority(platform: Platform, redis: LocalProcess) -> None:
    run = uuid.uuid4().hex[:8]
    process = platform.start("finance", {"finance": {"payment.success": [RECORD]}})

    def pay(name: str) -> None:
        platform.publish("payment.success", {"saleOrderId": f"{name}-{run}", "attemptUid": name}, name)
        platform.flush()

    redis.kill()
    pay("without-redis")
    (line,) = wait_for(lambda: platform.handled(key=f"without-redis-{run}"))
    assert line["transport"] == "kafka"
    assert wait_for(lambda: "not subscribed to Redis" in process.ask("/readyz")[1])
    redis.start()
    redis.wait_ready()
    process.wait_ready()
    assert process.metric("cdc_sync_dispatcher_redis_gaps_total", "subscriber") == {"events": 1.0}
    announced = {"saleOrderId": f"again-{run}", "attemptUid": "1"}
    assert platform.announce("payment.order.success", announced) == 1
    (line,) = wait_for(lambda: platform.handled(key=f"again-{run}"))
    assert line["transport"] == "redis"


# Nothing starts by itself ------------------------------------------------------------------------------


def members(platform: Platform, group: str) -> list[str]:
    admin = AdminClient({"bootstrap.servers": platform.kafka})
    try:
        described: Any = admin.describe_consumer_groups([group])[group].result(10)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise
    return [member.client_id for member in described.members]


def test_only_what_is_named_is_joined(platform: Platform) -> None:
    """And of its topics only those with a handler that does something."""
    handlers = {
        "taxation": {"product.created": [RECORD], "product.updated": ["audit"]},
        "pricing": {"*": [RECORD]},
    }
    platform.start("taxation", handlers)
    assert members(platform, "SVC-00130-TAXATION_CONSUMER_GROUP") == ["SVC-00130-TAXATION_CONSUMER"]
    for name in (
        "00040-FINANCE_CONSUMER",
        "00050-INVENTORY_CONSUMER",
        "00060-LEDGER",
        "00070-PRICING_CONSUMER",
    ):
        wait_for(lambda name=name: not members(platform, f"SVC-{name}_GROUP"))  # type: ignore[misc]  # as above
    name = f"unread-{uuid.uuid4().hex}"
    platform.publish("product.updated", {"productId": name}, name)
    platform.publish("product.created", {"productId": name}, name)
    platform.flush()
    wait_for(lambda: platform.handled(key=name))
    time.sleep(1.0)
    assert [line["address"] for line in platform.handled(key=name)] == ["product.created"]


def test_the_doctor_shows_foreign_members(platform: Platform, stack: Stack) -> None:
    foreign = Consumer(
        {
            "bootstrap.servers": platform.kafka,
            "group.id": "SVC-00040-FINANCE_CONSUMER_GROUP",
            "client.id": "somebody-else",
            "session.timeout.ms": 6000,
        }
    )
    foreign.subscribe(["payment.success"])
    try:
        wait_for(lambda: foreign.poll(0.2) or foreign.assignment())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_SYNC_")}
        environment |= {
            "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": platform.kafka,
            "CDC_SYNC_DISPATCHER__SERVICES": "finance",
            "CDC_SYNC_SYNC__SINK": "null",
        }
        command = [sys.executable, "-m", "cdc_sync", "doctor", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        (found,) = [f for f in findings if "foreign members" in f["text"]]
        assert found["level"] == "warning"
        assert found["subject"] == "group SVC-00040-FINANCE_CONSUMER_GROUP"
        assert "somebody-else at" in found["text"]
    finally:
        foreign.close()


# Webhooks without Kafka --------------------------------------------------------------------------------


def test_a_webhook_while_kafka_is_down_is_refused_and_not_lost(redis: LocalProcess, tmp_path: Path) -> None:
    """503 while the broker is away; sent again, it is stored once and does its work once."""
    RUNS.mkdir(parents=True, exist_ok=True)
    run = Path(tempfile.mkdtemp(prefix="webhook-", dir=RUNS))
    kafka = broker(run, Ledger(run))
    kafka.start()
    kafka.wait_ready()
    platform = Platform(kafka.address, redis.address, tmp_path)
    try:
        process = platform.start("sale", DISPATCHER__WEBHOOKS="true", DISPATCHER__WEBSOCKET="edge")
        client = process.member("m-1")
        paid = {"merchantId": "m-1", "saleOrderId": "o-1", "transaction": {"uid": "t-1", "status": "SETTLED"}}
        kind = "mq-pay:transaction.settled"
        os.kill(kafka.pid or 0, signal.SIGSTOP)
        assert process.webhook(kind, paid, delivery_id="msg-1").status == 503
        os.kill(kafka.pid or 0, signal.SIGCONT)

        def deliver() -> bool:
            return process.webhook(kind, paid, delivery_id="msg-1").status in (200, 202)

        wait_for(deliver)
        frames = [client.hear(20), *client.hear_all()]
        assert "ws:observation.sale.sale-order" in [frame["event"] for frame in frames]
        topics = Topics(kafka.address)
        stored = {message.key() for message in topics.read(["payment.success"])}
        assert stored == {b"o-1"}
    finally:
        platform.close()
        kafka.stop()
