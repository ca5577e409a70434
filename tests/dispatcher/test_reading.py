"""Readers take what a payload may look like, and say what is missing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dispatcher.events import (
    EVENTS,
    Event,
    LedgerGenerate,
    MerchantCreated,
    MqPayEvent,
    Part,
    Payment,
    PaymentSuccess,
    ProductUpdated,
    ProductVariantCreated,
    SaleEvent,
    digest,
    encode,
)
from cdc_sync.dispatcher.reading import read
from cdc_sync.errors import DecodeError

PAID = PaymentSuccess(
    sale_order_id="o-1",
    merchant_id="m-1",
    payment=Payment(total=Decimal("10.50"), paid=Decimal("10.50"), currency="VND"),
    attempt_uid="a-1",
)
PLAIN: dict[str, Any] = {
    "saleOrderId": "o-1",
    "merchantId": "m-1",
    "payment": {"total": "10.50", "paid": "10.50", "currency": "VND"},
    "attemptUid": "a-1",
}


@pytest.mark.parametrize(
    "payload",
    [
        PLAIN,
        {**PLAIN, "unknown": {"deep": [1, None]}},
        {"data": PLAIN, "pattern": "payment.success"},
        {"payload": PLAIN, "id": "an envelope's"},
        {
            "sale_order_id": "o-1",
            "merchant_id": "m-1",
            "payment": {"total": "10.50", "paid_amount": "10.50", "currency": "VND"},
            "attempt_uid": "a-1",
        },
        {
            "saleOrder": {"id": "o-1"},
            "merchant": {"id": "m-1"},
            "payment": PLAIN["payment"],
            "attemptId": "a-1",
        },
        {"data": {"orderId": "o-1", "payment": PLAIN["payment"], "attemptUid": "a-1"}, "merchantId": "m-1"},
    ],
)
def test_the_same_event_however_it_is_written(payload: dict[str, Any]) -> None:
    assert read(PaymentSuccess, json.dumps(payload).encode()) == PAID


def test_amounts_are_exact() -> None:
    body = b'{"saleOrderId": "o", "payment": {"total": 0.1, "paid": 12345678901234567.89}}'
    payment = read(PaymentSuccess, body).payment
    assert payment is not None
    assert (payment.total, payment.paid) == (Decimal("0.1"), Decimal("12345678901234567.89"))


def test_whole_numbers_are_ids_and_fractions_are_not() -> None:
    assert read(ProductUpdated, b'{"productId": 9007199254740993}').product_id == "9007199254740993"
    for wrong in (b"1.5", b"1e20", b"true", b"[]", b'""'):
        with pytest.raises(DecodeError, match="productId"):
            read(ProductUpdated, b'{"productId": %s}' % wrong)


@pytest.mark.parametrize(
    ("kind", "payload", "field", "value"),
    [
        (MerchantCreated, {"id": "m-1"}, "merchant_id", "m-1"),
        (ProductUpdated, {"id": 7}, "product_id", "7"),
        (ProductVariantCreated, {"variantId": "v"}, "product_variant_id", "v"),
        (LedgerGenerate, {"jobId": "l"}, "ledger_id", "l"),
        (SaleEvent, {"check": {"id": "c"}, "saleCheckId": "c"}, "sale_check_id", "c"),
    ],
)
def test_other_names_of_an_id(kind: type[Event], payload: dict[str, Any], field: str, value: str) -> None:
    assert getattr(read(kind, json.dumps(payload).encode()), field) == value


@pytest.mark.parametrize(
    "payload",
    [
        {"transaction": {"uid": "t-1", "status": "S"}, "merchantId": "m-1", "saleOrderId": "o-1"},
        {"transaction": {"id": "t-1", "status": "S", "merchantId": "m-1", "saleOrderId": "o-1"}},
        {"data": {"uid": "t-1", "status": "S", "merchantId": "m-1", "metadata": {"saleOrderId": "o-1"}}},
        {"transactionUid": "t-1", "status": "S", "merchantId": "m-1", "orderId": "o-1"},
        {
            "payload": {
                "transaction": {
                    "uid": "t-1",
                    "status": "S",
                    "metadata": {"merchantId": "m-1", "orderId": "o-1"},
                }
            }
        },
    ],
)
def test_mq_pays_event_however_it_is_written(payload: dict[str, Any]) -> None:
    body = json.dumps({"eventType": "mq-pay:transaction.settled", **payload}).encode()
    event = read(MqPayEvent, body)
    assert (event.key, event.merchant_id, event.sale_order_id) == ("t-1", "m-1", "o-1")
    assert event.subject == Part(uid="t-1", status="S")


def test_an_event_without_its_subject_is_refused() -> None:
    event = read(MqPayEvent, b'{"eventType": "mq-pay:attempt.failed", "transaction": {"uid": "t"}}')
    with pytest.raises(DecodeError, match="no attempt"):
        _ = event.subject
    assert event.key == "t"


NAMES = ["data", "payload", "transaction", "metadata", "merchantId", "saleOrderId", "payment", "uid", "id"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=10,
).map(lambda found: json.dumps(found).encode())


@pytest.mark.parametrize("kind", dict.fromkeys(EVENTS.values()))
@given(body=st.binary() | JSON)
def test_any_bytes_are_an_event_or_refused(kind: type[Event], body: bytes) -> None:
    """And an event that was read is read again as it was written."""
    try:
        event = read(kind, body)
    except DecodeError:
        return
    assert read(kind, encode(event)) == event


@pytest.mark.parametrize(
    "body", [None, b"", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"{} {}"]
)
def test_what_is_no_event(body: bytes | None) -> None:
    with pytest.raises(DecodeError):
        read(PaymentSuccess, body)


def test_one_payment_has_one_key_whichever_way_it_comes() -> None:
    """Named by its attempt, its transaction, its time; by its content where nothing names it."""
    ways = [PLAIN, {"data": PLAIN}, {**PLAIN, "somethingElse": 1}]
    assert {read(PaymentSuccess, json.dumps(way).encode()).natural_key for way in ways} == {"o-1:a-1"}
    unnamed = {"saleOrderId": "o-1", "payment": {"paid": 5}}
    other = {"saleOrderId": "o-1", "payment": {"paid": 6}}
    keys = [
        read(PaymentSuccess, json.dumps(p).encode()).natural_key for p in (unnamed, {"data": unnamed}, other)
    ]
    assert keys[0] == keys[1] != keys[2]
    assert len(digest(PAID)) == 32
