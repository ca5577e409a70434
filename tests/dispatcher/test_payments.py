"""From MQ-Pay's events to a sale's: the emitter, the three classes, and a failure at each step."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_sync.dispatcher.errors import NotPublished, Reject
from cdc_sync.dispatcher.events import MqPayEvent, Part, PaymentSuccess
from cdc_sync.dispatcher.payments import (
    Emitter,
    MQPaySaleEventAdapter,
    SaleEventMapperService,
    SalePaymentEventHandlerService,
)
from tests.dispatcher.harness import Outbox, run
from tests.dispatcher.tables import EMITTER_EVENTS

SETTLED = "mq-pay:transaction.settled"
ROOM = "wr:observation/merchants/m-1 ws:observation."


def event(kind: str, **changes: Any) -> MqPayEvent:
    about = kind.removeprefix("mq-pay:").partition(".")[0]
    parts = {about: Part(uid=f"{about}-1", status="S"), "transaction": Part(uid="transaction-1", status="S")}
    facts: dict[str, Any] = {"merchant_id": "m-1", "sale_order_id": "o-1", "sale_check_id": "c-1", **parts}
    return MqPayEvent(event_type=kind, **(facts | changes))


def told(*events: MqPayEvent, outbox: Outbox | None = None, completes: str = SETTLED) -> list[str]:
    """What is told of these events, in order, through the whole chain."""
    box = outbox or Outbox()
    emitter = Emitter()
    adapter = MQPaySaleEventAdapter(SaleEventMapperService(completes), SalePaymentEventHandlerService(box))
    adapter.listen_to(emitter)

    async def main() -> None:
        for one in events:
            await emitter.emit(one)

    run(main())
    return [where for where, _ in box.sent]


TOLD = {
    "mq-pay:transaction.created": [f"{ROOM}payment.transaction"],
    "mq-pay:transaction.settled": [
        "kafka payment.success",
        "redis payment.order.success",
        "redis sale.check.paid",
        f"{ROOM}payment.transaction",
        f"{ROOM}sale.sale-order",
        f"{ROOM}sale.sale-check",
    ],
    "mq-pay:transaction.cancelled": [f"{ROOM}payment.transaction", f"{ROOM}sale.sale-order"],
    "mq-pay:attempt.created": [f"{ROOM}payment.payment-attempt"],
    "mq-pay:attempt.sent": [f"{ROOM}payment.payment-attempt"],
    "mq-pay:attempt.success": [f"{ROOM}payment.payment-attempt", f"{ROOM}payment.transaction"],
    "mq-pay:attempt.failed": [f"{ROOM}payment.payment-attempt"],
    "mq-pay:attempt.expired": [f"{ROOM}payment.payment-attempt"],
    "mq-pay:attempt.cancelled": [f"{ROOM}payment.payment-attempt"],
    "mq-pay:refund.success": [f"{ROOM}payment.transaction"],
    "mq-pay:refund.failed": [f"{ROOM}payment.transaction"],
}


@pytest.mark.parametrize("kind", EMITTER_EVENTS)
def test_what_is_told_of_each_event(kind: str) -> None:
    assert told(event(kind)) == TOLD[kind]


def test_the_other_event_may_mean_that_an_order_is_paid() -> None:
    """And never both do."""
    both = event("mq-pay:attempt.success"), event(SETTLED)
    for completes in (SETTLED, "mq-pay:attempt.success"):
        assert told(*both, completes=completes).count("kafka payment.success") == 1


def test_a_payment_without_a_check_says_nothing_of_checks() -> None:
    assert not [where for where in told(event(SETTLED, sale_check_id=None)) if "check" in where]


def test_the_same_delivery_again_says_the_same() -> None:
    box = Outbox()
    told(event(SETTLED), event(SETTLED), outbox=box)
    first, second = [sent for where, sent in box.sent if where == "kafka payment.success"]
    assert first == second
    assert isinstance(first, PaymentSuccess)
    assert first.natural_key == second.natural_key


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"sale_order_id": None}, "does not say which order"), ({"merchant_id": "m/../1"}, "merchantId")],
)
def test_what_cannot_be_told_is_refused_before_anything_is(changes: dict[str, Any], said: str) -> None:
    box = Outbox()
    with pytest.raises(Reject, match=said):
        told(event(SETTLED, **changes), outbox=box)
    assert box.sent == []


def test_without_a_merchant_no_room_hears_of_it() -> None:
    assert told(event(SETTLED, merchant_id=None))[0] == "kafka payment.success"
    assert not [w for w in told(event(SETTLED, merchant_id=None)) if w.startswith("wr:")]


@pytest.mark.parametrize("step", ["redis", "rooms"])
def test_what_may_get_lost_stops_nothing(step: str) -> None:
    box = Outbox()
    box.fails.add(step)
    expected = [w for w in TOLD[SETTLED] if not w.startswith({"redis": "redis", "rooms": "wr:"}[step])]
    assert told(event(SETTLED), outbox=box) == expected


def test_without_kafka_nothing_is_told_and_the_delivery_fails() -> None:
    box = Outbox()
    box.fails.add("kafka")
    with pytest.raises(NotPublished):
        told(event(SETTLED), outbox=box)
    assert box.sent == []


def test_listeners_are_awaited_in_turn_and_one_that_fails_fails_the_emission() -> None:
    heard: list[str] = []
    emitter = Emitter()

    async def first(_: MqPayEvent) -> None:
        heard.append("first")

    async def failing(_: MqPayEvent) -> None:
        raise ValueError("no")

    emitter.on(SETTLED, first)
    emitter.on(SETTLED, failing)
    emitter.on(SETTLED, first)
    with pytest.raises(ValueError, match="no"):
        run(emitter.emit(event(SETTLED)))
    assert heard == ["first"]


def test_no_other_event_than_those_of_the_catalog() -> None:
    with pytest.raises(ValueError, match="no event"):
        Emitter().on("mq-pay:attempt.lost", lambda _: None)  # type: ignore[arg-type, return-value]  # never called
    with pytest.raises(ValueError, match="no event"):
        run(Emitter().emit(MqPayEvent(event_type="mq-pay:attempt.lost")))
