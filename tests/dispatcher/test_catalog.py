"""The catalog is the document: held to a copy of its tables typed by hand; and the AsyncAPI made from it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.asyncapi import document
from cdc_sync.dispatcher.events import EVENTS
from cdc_sync.dispatcher.names import WebSocketRooms, WebSocketTopics, is_room, is_topic
from cdc_sync.dispatcher.producer import PRODUCER_OF
from cdc_sync.mappers import ENRICHMENTS, MAPPERS
from tests.dispatcher import tables
from tests.e2e.shared import skip_unless_ci
from tools.stack import Unavailable
from tools.stack.npm import ASYNCAPI_SPECS, unpacked


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    """The official schema, as its package has it."""
    try:
        path = unpacked(ASYNCAPI_SPECS) / "schemas" / "3.0.0.json"
    except Unavailable as error:
        skip_unless_ci(f"a real part is missing: {error}")
    return Draft7Validator(json.loads(path.read_text("utf-8")))


# The tables --------------------------------------------------------------------------------------------


def test_change_topics() -> None:
    assert [tuple(table) for table in catalog.CDC_TABLES] == tables.CHANGE_TOPICS
    assert (catalog.CDC.client_id, catalog.CDC.group_id) == tables.CHANGE_CONSUMER


def test_change_topics_are_those_of_the_daemon() -> None:
    assert {mapper.table for mapper in MAPPERS} == {table.table for table in catalog.CDC_TABLES}
    own = {table.table: table.collection for table in catalog.CDC_TABLES if table.table != "ProductInfo"}
    assert {m.table: m.collection.name for m in MAPPERS if m.table in own} == own
    assert [e.parent for e in ENRICHMENTS] == ["products"]


def test_kafka_topics() -> None:
    assert [(t.name, t.producer, list(t.consumers)) for t in catalog.TOPICS] == tables.KAFKA_TOPICS


@pytest.mark.parametrize(("service", "client_ids", "group_id"), tables.CONSUMERS)
def test_consumers(service: str, client_ids: list[str], group_id: str) -> None:
    (consumer,) = [consumer for consumer in catalog.CONSUMERS if consumer.service == service]
    assert consumer.group_id == group_id
    assert list(catalog.client_ids(consumer, workers=2)) == client_ids
    assert len(catalog.CONSUMERS) == len(tables.CONSUMERS)


def test_producers() -> None:
    assert [tuple(producer) for producer in catalog.PRODUCERS] == tables.PRODUCERS


@pytest.mark.parametrize(("topic", "service", "_"), tables.KAFKA_TOPICS)
def test_a_topic_is_produced_by_its_service(topic: str, service: str, _: list[str]) -> None:
    assert PRODUCER_OF[topic] == dict(tables.PRODUCERS)[service]


def test_redis_channels() -> None:
    assert [
        (c.name, c.publisher, list(c.subscribers)) for c in catalog.REDIS_CHANNELS
    ] == tables.REDIS_CHANNELS


def test_websocket_topics_and_rooms() -> None:
    found = [(service, topic) for service, topics in catalog.WEBSOCKET_TOPICS.items() for topic in topics]
    assert found == tables.WEBSOCKET_TOPICS
    assert catalog.ROOMS == ("wr:observation/merchants/{merchantId}",)
    assert WebSocketRooms.merchant("42") == "wr:observation/merchants/42"


@pytest.mark.parametrize("topic", [topic for _, topic in tables.WEBSOCKET_TOPICS])
def test_a_topic_is_what_its_builder_makes(topic: str) -> None:
    words = topic.removeprefix("ws:").split(".")
    assert WebSocketTopics.topic(words[0], *words[1:]) == topic
    assert WebSocketTopics.observation(*words[1:]) == topic
    assert is_topic(topic)


def test_mq_pay() -> None:
    assert catalog.WEBHOOK == ("MQ-Pay", "sale", "X-Webhook-Event-Type")
    assert list(catalog.WEBHOOK_EVENTS) == tables.WEBHOOK_EVENTS
    assert list(catalog.EMITTER_EVENTS) == tables.EMITTER_EVENTS


def test_every_address_has_a_payload() -> None:
    addresses = {topic for topic, _, _ in tables.KAFKA_TOPICS} | {
        channel for channel, _, _ in tables.REDIS_CHANNELS
    }
    assert addresses | set(tables.EMITTER_EVENTS) | {catalog.INBOX.name} == set(EVENTS)


# AsyncAPI ----------------------------------------------------------------------------------------------


SERVICES = [
    None,
    "commerce",
    "sale",
    "finance",
    "inventory",
    "pricing",
    "taxation",
    "ledger",
    "search",
    "payment",
    "outreach",
]


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_is_valid(service: str | None, schema: Draft7Validator) -> None:
    made = json.loads(json.dumps(document(service)))
    assert [error.message for error in schema.iter_errors(made)] == []
    assert made["operations"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.pop("info"),
        lambda made: made.update(asyncapi="9.9.9"),
        lambda made: made["operations"]["sale.send.payment.success"].update(action="shout"),
        lambda made: made["channels"]["payment.success"].update(address=7),
    ],
)
def test_a_wrong_document_is_refused(spoil: Any, schema: Draft7Validator) -> None:
    made = copy.deepcopy(document())
    spoil(made)
    assert not schema.is_valid(made)


def references(value: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


@pytest.mark.parametrize("service", SERVICES)
def test_every_reference_leads_somewhere(service: str | None) -> None:
    made = json.loads(json.dumps(document(service)))
    found = list(references(made))
    assert found
    for reference in found:
        place: Any = made
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]


def test_the_document_has_every_row() -> None:
    made = document()
    operations = made["operations"]
    for topic, producer, consumers in tables.KAFKA_TOPICS:
        sends = operations[f"{producer}.send.{topic}"]["bindings"]["kafka"]
        assert sends["clientId"]["enum"] == [dict(tables.PRODUCERS)[producer]]
        for consumer in consumers:
            receives = operations[f"{consumer}.receive.{topic}"]["bindings"]["kafka"]
            ids = {service: (client_ids, group) for service, client_ids, group in tables.CONSUMERS}[consumer]
            assert receives["groupId"]["enum"] == [ids[1]]
            assert set(ids[0]) <= set(receives["clientId"]["enum"])
    for channel, publisher, subscribers in tables.REDIS_CHANNELS:
        assert f"{publisher}.send.{channel}" in operations
        assert all(f"{subscriber}.receive.{channel}" in operations for subscriber in subscribers)
    frames = {message["name"] for message in made["channels"]["room"]["messages"].values()}
    assert frames == {topic for _, topic in tables.WEBSOCKET_TOPICS}
    headers = made["channels"]["webhook"]["messages"]["event"]["headers"]["properties"]
    assert headers["X-Webhook-Event-Type"]["enum"] == tables.WEBHOOK_EVENTS
    addresses = [channel["address"] for channel in made["channels"].values()]
    assert set(tables.EMITTER_EVENTS) | {topic for topic, _, _ in tables.CHANGE_TOPICS} <= set(addresses)


def test_names_of_rooms_are_rooms() -> None:
    assert is_room("wr:observation/merchants/1")
    assert not is_room("ws:observation.sale.sale-order")
    assert not is_topic("wr:observation/merchants/1")
