"""The doctor: every judgement on plain facts, and the whole of it beside a broker and a stand-in."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from cdc_sync.commands.doctor import findings
from cdc_sync.config import Settings
from cdc_sync.decoder import JsonDecoder
from cdc_sync.doctor import Finding, Level
from cdc_sync.doctor.facts import (
    BrokerFacts,
    CollectionFacts,
    GroupFacts,
    KeyFacts,
    Member,
    NodeFacts,
    ServerFacts,
    TopicFacts,
)
from cdc_sync.doctor.kafka_checks import (
    check_broker,
    check_control,
    check_dlq,
    check_group,
    check_topics,
)
from cdc_sync.doctor.message_checks import check_samples
from cdc_sync.doctor.samples import Decimals, TopicSamples, Wire, look_at
from cdc_sync.doctor.server import ask_server
from cdc_sync.doctor.server_checks import NEEDED_ACTIONS, PROBED_ACTIONS, check_server
from cdc_sync.errors import MappingError
from cdc_sync.mappers import MAPPERS
from cdc_sync.mappers.products import PRODUCT
from cdc_sync.model import Partition, Record
from cdc_sync.routing import Router
from cdc_sync.sections import SchemaRegistrySettings
from cdc_sync.typesense_standin import StandIn
from tests.avro import SCHEMAS, RegistryServer
from tests.factories import PLACEHOLDER, key_bytes, row, value_bytes, wire_decoder
from tests.factories import Wire as FactoryWire
from tests.kafka_mock import MockKafka, mock_kafka

PREFIX = "nx.seller.public"
TOPIC = f"{PREFIX}.Product"
DLQ = "nx.seller.cdc.dlq"
COMPACT = {"cleanup.policy": "compact", "max.message.bytes": "1048588"}
FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": "20971520"}


def levels(found: Iterable[Finding]) -> list[str]:
    return [finding.level.value for finding in found]


def only(found: Iterable[Finding], level: Level) -> str:
    """The one finding of this level, as text with its cure."""
    (finding,) = [f for f in found if f.level is level]
    assert finding.cure, "a warning or error without a cure helps nobody"
    return f"{finding.subject}: {finding.text} → {finding.cure}"


def topic(name: str = TOPIC, *, settings: Mapping[str, str] | None = COMPACT, **more: Any) -> TopicFacts:
    return TopicFacts(name, more.pop("ranges", {0: (0, 5), 1: (2, 4)}), settings=settings, **more)


def broker(*topics: TopicFacts, **more: Any) -> BrokerFacts:
    return BrokerFacts("k:9092", brokers=1, topics={t.name: t for t in topics}, **more)


# Kafka


def test_an_unreachable_broker_is_one_error_that_names_the_setting() -> None:
    facts = BrokerFacts("k:9092", problem="no broker answers at k:9092: refused")
    assert "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS" in only(check_broker(facts, "classic"), Level.ERROR)


@pytest.mark.parametrize(
    ("protocols", "wanted", "said"),
    [
        ("classic,consumer,streams", "classic", ["ok", "ok"]),
        ("classic,consumer,streams", "consumer", ["ok"]),
        ("classic", "consumer", ["ok", "warning"]),
        ("classic", "classic", ["ok"]),
        (None, "consumer", ["ok", "ok"]),
    ],
)
def test_the_group_protocol_is_compared_with_what_the_broker_knows(
    protocols: str | None, wanted: str, said: list[str]
) -> None:
    settings = None if protocols is None else {"group.coordinator.rebalance.protocols": protocols}
    assert said == levels(check_broker(broker(settings=settings), wanted))


def test_a_compacted_topic_is_well() -> None:
    assert levels(check_topics(broker(topic()), PREFIX, ["Product"])) == ["ok"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cleanup.policy": "delete", "retention.ms": "604800000"}, "after 7 days,"),
        ({"cleanup.policy": "compact,delete", "retention.ms": "5400000"}, "after 90 minutes,"),
        ({"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "9"}, "after 9 bytes"),
        ({}, "after 7 days,"),
    ],
)
def test_a_topic_that_deletes_cannot_be_rebuilt_from(settings: dict[str, str], said: str) -> None:
    text = only(check_topics(broker(topic(settings=settings)), PREFIX, ["Product"]), Level.WARNING)
    assert said in text
    assert "cleanup.policy=compact" in text


def test_a_topic_that_deletes_nothing_is_well() -> None:
    assert levels(check_topics(broker(topic(settings=FOREVER)), PREFIX, ["Product"])) == ["ok"]


def test_a_partition_without_a_leader_is_an_error() -> None:
    found = check_topics(broker(topic(leaderless=(1,))), PREFIX, ["Product"])
    assert "without a leader: 1" in only(found, Level.ERROR)


def test_missing_topics_are_waited_for() -> None:
    found = list(check_topics(broker(topic()), PREFIX, ["Product", "Device"]))
    assert f"{PREFIX}.Device: does not exist" in only(found, Level.WARNING)
    assert "connector" in only(check_topics(broker(), PREFIX, ["Product"]), Level.WARNING)


def test_a_wrong_prefix_is_recognised_by_topics_of_the_same_tables() -> None:
    facts = broker(other_topics=("shop.public.Product", "x"))
    text = only(check_topics(facts, PREFIX, ["Product"]), Level.ERROR)
    assert "CDC_SYNC_KAFKA__TOPIC_PREFIX=shop.public" in text


def test_different_partition_counts_and_unread_topics_are_told_as_harmless() -> None:
    facts = broker(topic(), topic(f"{PREFIX}.Device", ranges={0: (0, 0)}), other_topics=(f"{PREFIX}.Order",))
    found = list(check_topics(facts, PREFIX, ["Product", "Device"]))
    assert {"ok"} == set(levels(found))
    assert any("co-partitioning is not needed" in f.text for f in found)
    assert any("Order" in f.text for f in found)


def test_the_dead_letter_topic_may_be_missing_or_empty() -> None:
    assert levels(check_dlq(broker(), DLQ, [TOPIC])) == ["ok"]
    empty = topic(DLQ, ranges={0: (9, 9)}, settings=FOREVER)
    assert levels(check_dlq(broker(topic(), empty), DLQ, [TOPIC])) == ["ok"]


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({"cleanup.policy": "compact"}, Level.ERROR, "cleanup.policy=delete"),
        ({"retention.ms": "1000"}, Level.WARNING, "after 1 second"),
        ({"max.message.bytes": "1048588"}, Level.WARNING, "max.message.bytes=2097164"),
    ],
)
def test_a_dead_letter_topic_that_loses_letters_is_told(
    changed: dict[str, str], level: Level, said: str
) -> None:
    letters = topic(DLQ, ranges={0: (0, 0)}, settings=FOREVER | changed)
    assert said in only(check_dlq(broker(topic(), letters), DLQ, [TOPIC]), level)


def test_letters_are_counted() -> None:
    letters = topic(DLQ, ranges={0: (3, 5), 1: (0, 1)}, settings=FOREVER)
    assert "3 letters → see what they are: cdc-sync dlq list" in only(
        check_dlq(broker(letters), DLQ, []), Level.WARNING
    )


def group(committed: Mapping[int, int] | None = None, *members: Member) -> GroupFacts:
    positions = None if committed is None else {Partition(TOPIC, n): o for n, o in committed.items()}
    return GroupFacts("g", "stable", members, positions)


def test_strangers_in_the_group_are_named() -> None:
    facts = broker(group=group(None, Member("ours", "/h1", 3), Member("kcat", "/h2", 1)))
    text = only(check_group(facts, "ours", [TOPIC]), Level.WARNING)
    assert "kcat at /h2" in text
    assert "ours" not in text.partition("→")[0]


@pytest.mark.parametrize(
    ("committed", "level", "said"),
    [
        ({}, Level.OK, "begins at the start, up to 7 records"),
        ({0: 5, 1: 4}, Level.OK, "up to 0 records behind"),
        ({0: 3, 1: 4}, Level.OK, "up to 2 records behind"),
        ({0: 3}, Level.OK, "up to 4 records behind"),
        ({0: 5, 1: 1}, Level.ERROR, "partitions 1: records were deleted before they were read"),
        ({0: 6, 1: 4}, Level.WARNING, "partitions 0: the committed offset lies behind the end"),
    ],
)
def test_lag_and_lost_records_are_told_by_topic(committed: dict[int, int], level: Level, said: str) -> None:
    found = list(check_group(broker(topic(), group=group(committed)), "ours", [TOPIC]))
    assert (level, True) == (found[-1].level, said in found[-1].text)


# Typesense


def server(*collections: CollectionFacts, **more: Any) -> ServerFacts:
    node = NodeFacts("http://t:8108", version="29.0", is_leader=True)
    return ServerFacts(more.pop("nodes", (node,)), more.pop("key", KeyFacts()), collections)


def found_like(declared: Any) -> dict[str, Any]:
    """A live collection as Typesense describes it, with its defaults filled in."""
    filled = {"facet": False, "optional": False, "index": True}
    return {"num_documents": 3, "fields": [filled | field for field in declared.as_json()["fields"]]}


def products(**more: Any) -> CollectionFacts:
    facts: dict[str, Any] = {"real": "products_1", "found": found_like(PRODUCT.collection)}
    return CollectionFacts("products", "products_1", **(facts | more))


DECLARED = [PRODUCT.collection]


def test_a_server_with_everything_in_place_is_well() -> None:
    found = list(check_server(server(products(), key=KeyFacts(frozenset(NEEDED_ACTIONS))), DECLARED))
    assert levels(found) == ["ok", "ok", "ok"]


def test_the_control_topic_is_a_table() -> None:
    """Nothing is wrong where there is none yet."""
    assert ["ok"] == levels(check_control(broker(), "control"))
    assert ["ok"] == levels(check_control(broker(topic("control")), "control"))
    deleting = broker(topic("control", settings={"cleanup.policy": "delete"}))
    assert "cleanup.policy=compact" in only(check_control(deleting, "control"), Level.WARNING)


@pytest.mark.parametrize(
    ("node", "level", "said"),
    [
        (NodeFacts("u", problem="connection refused"), Level.ERROR, "CDC_SYNC_TYPESENSE__URL"),
        (NodeFacts("u", version="28.0"), Level.WARNING, "version 28.0"),
        (NodeFacts("u", version="30.1"), Level.WARNING, "version 30.1"),
        (NodeFacts("u", version="29.0", resource_error="OUT_OF_DISK"), Level.ERROR, "OUT_OF_DISK"),
    ],
)
def test_a_node_that_is_not_as_it_should_be_is_told(node: NodeFacts, level: Level, said: str) -> None:
    assert said in only(check_server(server(nodes=(node,)), DECLARED), level)


def test_one_node_of_a_cluster_may_be_away_but_not_the_leader() -> None:
    away, follower = NodeFacts("a", problem="refused"), NodeFacts("b", version="29.0", is_leader=False)
    leader = NodeFacts("c", version="29.0", is_leader=True)
    assert levels(check_server(server(nodes=(away, leader)), DECLARED)) == ["warning", "ok"]
    assert "leader" in only(check_server(server(nodes=(away, follower)), DECLARED), Level.ERROR)


def test_a_refused_key_is_one_error_that_names_both_settings() -> None:
    text = only(check_server(server(products(denied=frozenset(PROBED_ACTIONS))), DECLARED), Level.ERROR)
    assert "CDC_SYNC_TYPESENSE__API_KEY" in text
    assert "CDC_SYNC_TYPESENSE__API_KEY_FILE" in text


def test_a_key_that_may_too_little_is_told_what_it_lacks() -> None:
    weak = server(products(), key=KeyFacts(frozenset({"documents:*", "collections:get", "aliases:get"})))
    text = only(check_server(weak, DECLARED), Level.ERROR)
    assert "is not permitted: aliases:upsert, collections:create →" in text
    partly = server(products(denied=frozenset({"documents:export"})))
    assert "documents:export on products_1" in only(check_server(partly, DECLARED), Level.ERROR)


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        (products(real=None, found=None), Level.OK, "are made at the start"),
        (products(real=None), Level.OK, "its alias is missing and made at the start"),
        (products(real="products_2", found=None), Level.ERROR, "products_2, which does not exist"),
        (products(real=None, found=None, in_place=True), Level.ERROR, "where the alias should be"),
        (products(found={"fields": []}), Level.WARNING, "cdc-sync reindex products"),
    ],
)
def test_aliases_and_schemas_are_judged(facts: CollectionFacts, level: Level, said: str) -> None:
    last = list(check_server(server(facts), DECLARED))[-1]
    assert (level, True) == (last.level, said in f"{last.text} {last.cure}")


# Messages

ROW = {
    "id": "p1", "merchant_id": "m", "category_id": None, "sku": "s", "barcode": None, "kind": "k",
    "base_price": "12.5000", "tags": None, "stock": 1, "is_available": True, "available_from": 19000,
    "status": "a", "created_at": "2026-01-02T03:04:05.678901Z", "modified_at": "2026-01-02T03:04:05.678901Z",
    "deleted_at": None,
}  # fmt: skip


def look(value: Any, key: Any = None) -> Any:
    """What a Product message tells."""
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    record = Record(Partition(TOPIC, 0), 0, json.dumps(key or {"id": "p1"}).encode(), raw)
    return look_at(record, PRODUCT, JsonDecoder(PREFIX, Router([PRODUCT]).reads))


def change(op: str = "u", before: Any = None, **columns: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": None if op == "d" else ROW | columns, "source": {"ts_ms": 1}}


def judged(*values: Any, registry: str | None = None) -> list[Finding]:
    samples = tuple(look(value) for value in values)
    return list(check_samples(TOPIC, TopicSamples("Product", samples), registry))


def test_a_good_message_is_well() -> None:
    assert {"ok"} == set(levels(judged(change())))


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (change(), Wire.JSON),
        ({"schema": None, "payload": change()}, Wire.WITH_SCHEMA),
        (ROW | {"__op": "u", "__deleted": "false"}, Wire.UNWRAPPED),
        (None, Wire.TOMBSTONE),
        (b"\x00\x00\x00\x00\x07abc", Wire.AVRO),
        (b"garbage", Wire.UNKNOWN),
        ([1], Wire.UNKNOWN),
        ({"a": 1}, Wire.UNKNOWN),
    ],
)
def test_the_wire_format_is_recognised(value: Any, wire: str) -> None:
    assert wire == look(value).wire


def test_avro_without_a_registry_is_one_error_that_names_the_setting() -> None:
    found = judged(b"\x00\x00\x00\x00\x07abc", None)
    assert "CDC_SYNC_SCHEMA_REGISTRY__URL" in only(found, Level.ERROR)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("12.5000", Decimals.STRING),
        ("-12", Decimals.STRING),
        ("AehI", Decimals.BASE64),
        ("12345678", Decimals.BASE64),
        (12.5, Decimals.DOUBLE),
        (12, Decimals.DOUBLE),
    ],
)
def test_the_decimal_mode_is_seen_in_the_values(value: Any, form: str) -> None:
    assert {"base_price": form} == look(change(base_price=value)).decimals


def test_decimals_that_lose_something_are_told_with_the_connectors_setting() -> None:
    for value, said in ((12.5, "digits after the 15th are lost"), ("AehI", "without their scale")):
        text = only(judged(change(base_price=value)), Level.WARNING)
        assert said in text
        assert "decimal.handling.mode=string" in text


def test_a_precise_decimal_with_its_schema_is_exact() -> None:
    decimal = {"field": "base_price", "name": "org.apache.kafka.connect.data.Decimal"}
    after = {"field": "after", "fields": [decimal | {"parameters": {"scale": "4"}}]}
    value = base64.b64encode((125_000).to_bytes(3, "big")).decode()
    sample = look({"schema": {"fields": [after]}, "payload": change(base_price=value)})
    assert sample.decimals == {"base_price": Decimals.SCHEMA}


def test_times_without_a_unit_are_an_error() -> None:
    found = judged(change(created_at=1_767_323_045_678_901))
    errors = [f for f in found if f.level is Level.ERROR]
    assert any("created_at" in f.text and "without a unit" in f.text for f in errors)
    assert any("would become dead letters" in f.text for f in errors)


def test_dates_that_are_no_days_are_told() -> None:
    assert "available_from" in only(judged(change(available_from=1_767_323_045_678)), Level.WARNING)


def test_a_row_that_cannot_be_mapped_is_told_with_the_daemons_own_reason() -> None:
    text = only(judged(change(stock="many"), change()), Level.ERROR)
    assert "1 of 2 messages would become dead letters: MappingError" in text
    assert "column stock" in text


def test_unchanged_large_values_are_told_with_the_replica_identity() -> None:
    text = only(judged(change(sku="__debezium_unavailable_value")), Level.WARNING)
    assert "sku" in text
    assert 'ALTER TABLE public."Product" REPLICA IDENTITY FULL' in text


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        (change("u"), False),
        (change("u", before=ROW), True),
        (change("c"), None),
        (change("d", before=ROW), True),
        (change("d", before={"id": "p1", "sku": "", "is_available": False, "tags": None}), False),
        (None, None),
    ],
)
def test_the_replica_identity_is_seen_in_updates_and_deletes(value: Any, carried: bool | None) -> None:
    assert carried == look(value).has_before


def test_columns_of_one_side_only_are_told() -> None:
    more, fewer = change(colour="red"), change()
    del fewer["after"]["barcode"]
    found = judged(more, fewer)
    assert any("colour" in f.text and f.level is Level.OK for f in found)
    assert "barcode" in only(found, Level.WARNING)


def test_nothing_is_told_of_a_topic_without_messages() -> None:
    assert levels(judged()) == ["ok"]


def test_a_mapper_that_raises_anything_is_told_and_ends_nothing() -> None:
    class Strange:
        table, collection, owns = "Product", PRODUCT.collection, ()
        key, reads = PRODUCT.key, PRODUCT.reads

        def map(self, event: Any) -> Any:
            raise AttributeError("not thought of")

    record = Record(Partition(TOPIC, 0), 0, b"{}", json.dumps(change()).encode())
    sample = look_at(record, Strange(), JsonDecoder(PREFIX, Router([PRODUCT]).reads))
    assert sample.refused == "AttributeError: not thought of"


# All of it


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    yield from mock_kafka()


@pytest.fixture(scope="module")
def typesense() -> Iterator[StandIn]:
    with StandIn(port=0, api_key="xyz") as standin:
        yield standin


def settings(kafka_address: str, url: str, key: str = "xyz", **kafka: Any) -> Settings:
    return Settings(
        kafka={"bootstrap_servers": kafka_address, "extra": {"log_level": 0}, **kafka},
        typesense={"url": url, "api_key": key, "connect_timeout_s": 1},
    )


def test_the_whole_doctor_sees_both_sides_and_changes_neither(kafka: MockKafka, typesense: StandIn) -> None:
    kafka.write(TOPIC, json.dumps(change(base_price=12.5)).encode(), b'{"id":"p1"}')
    kafka.write_letter(DLQ, Record(Partition(TOPIC, 0), 0, b"k", b"v"), MappingError("x"))
    conditions = settings(kafka.address, typesense.url)
    found = list(findings(conditions, timeout_s=1, samples=5))
    subjects = {f.subject for f in found}
    assert {"kafka", f"topic {TOPIC}", f"dead letters {DLQ}", f"lag {TOPIC}", f"messages {TOPIC}"} <= subjects
    assert {f"typesense {typesense.url}", "typesense key", "collection product-infos"} <= subjects
    assert not [f for f in found if f.level is Level.ERROR]
    assert any("digits after the 15th" in f.text for f in found)
    again = list(findings(conditions, timeout_s=1, samples=5))
    assert found == again, "looking made something that was not there before"


AVRO = FactoryWire("avro", "precise")
ORGANIZERS = f"{PREFIX}.Organizer"


def with_registry(kafka: MockKafka, typesense: StandIn, url: str) -> Settings:
    found = settings(kafka.address, typesense.url)
    return found.model_copy(update={"schema_registry": SchemaRegistrySettings(url=url)})


def test_avro_is_looked_into_through_the_registry(kafka: MockKafka, typesense: StandIn) -> None:
    """As JSON is: format, decimals, columns; and an id that the registry lacks is a coming dead letter."""
    kafka.write(
        ORGANIZERS, value_bytes("Organizer", "u", row("Organizer"), AVRO), key_bytes({"id": "a"}, AVRO)
    )
    topic = f"{PREFIX}.SaleChannel"
    kafka.write(topic, b"\0\0\0\0\x01\x02a", b'{"id":"a"}')
    with RegistryServer(SCHEMAS) as registry:
        found = list(findings(with_registry(kafka, typesense, registry.url), timeout_s=2, samples=5))
    by_subject = {f.subject: f.text for f in found}
    assert f"answers at {registry.url}" == by_subject["schema registry"]
    assert any("1 as Avro" in f.text for f in found if f.subject == f"messages {ORGANIZERS}")
    (bad,) = [f for f in found if f.level is Level.ERROR]
    assert f"messages {topic}" == bad.subject
    assert "has no schema with the id 1" in bad.text


def test_a_registry_that_does_not_answer_is_one_error(kafka: MockKafka, typesense: StandIn) -> None:
    """And messages in Avro are not judged."""
    kafka.write(
        ORGANIZERS, value_bytes("Organizer", "u", row("Organizer"), AVRO), key_bytes({"id": "a"}, AVRO)
    )
    found = list(findings(with_registry(kafka, typesense, "http://127.0.0.1:1"), timeout_s=2, samples=5))
    text = only([f for f in found if f.subject == "schema registry"], Level.ERROR)
    assert "CDC_SYNC_SCHEMA_REGISTRY__URL" in text
    text = only([f for f in found if f.subject == f"messages {ORGANIZERS}"], Level.WARNING)
    assert "were not looked at" in text


def test_keys_that_are_written_in_two_ways_are_told() -> None:
    """Their rows have moved between partitions."""
    samples = (look(change()), dataclasses.replace(look(change()), key_form=b"\0\0\0\0\x07"))
    text = only(check_samples(TOPIC, TopicSamples("Product", samples), None), Level.WARNING)
    assert "different partitions" in text
    tombstone = dataclasses.replace(look(None), key_form=b"")
    assert {"ok"} == set(levels(check_samples(TOPIC, TopicSamples("Product", (samples[0], tombstone)), None)))


@pytest.mark.parametrize("shape", ["avro", "unwrapped-avro"])
def test_avro_tells_what_json_tells(shape: Any) -> None:
    """Format, exact decimals, placeholders, columns that only one side knows."""
    wire = FactoryWire(shape, "precise")
    value = value_bytes("Product", "u", row("Product", sku=PLACEHOLDER), wire)
    record = Record(Partition(TOPIC, 0), 0, key_bytes({"id": "a"}, wire), value)
    decoder = wire_decoder()
    sample = look_at(record, PRODUCT, decoder, decoder.whole)
    assert (Wire.AVRO if shape == "avro" else Wire.AVRO_UNWRAPPED) == sample.wire
    assert ({"base_price": Decimals.SCHEMA}, {"sku"}) == (sample.decimals, set(sample.placeholders))
    assert (frozenset(), frozenset()) == (sample.absent, sample.unmapped)
    assert (False if shape == "avro" else None) is sample.has_before
    assert b"\0" == sample.key_form[:1]


def test_no_broker_and_no_server_are_an_error_each(typesense: StandIn) -> None:
    found = list(findings(settings("127.0.0.1:1", "http://127.0.0.1:1"), timeout_s=1, samples=5))
    assert [f.subject for f in found] == ["kafka", "typesense http://127.0.0.1:1"]
    assert levels(found) == ["error", "error"]


def test_a_wrong_key_is_told_without_showing_it(typesense: StandIn) -> None:
    facts = ask_server([typesense.url], "wr0ng-key", [m.collection.name for m in MAPPERS], timeout_s=1)
    found = list(check_server(facts, [m.collection for m in MAPPERS]))
    assert "typesense key: Typesense refused it" in only(found, Level.ERROR)
    assert "wr0ng-key" not in str(found)


class Recording(BaseHTTPRequestHandler):
    """Notes every request, and answers each as a Typesense with these answers would."""

    requests: list[str] = []
    answers: dict[str, tuple[int, Any]] = {}

    def answer(self) -> None:
        self.requests.append(self.command)
        status, body = self.answers.get(self.path, (404, {"message": "Not Found"}))
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  # http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def recording() -> Iterator[tuple[str, type[Recording]]]:
    handler = type("Handler", (Recording,), {"requests": [], "answers": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", handler
        http.shutdown()


HEALTHY = {"/health": (200, {"ok": True}), "/debug": (200, {"state": 1, "version": "29.0"})}


def test_typesense_is_only_ever_read(recording: tuple[str, type[Recording]]) -> None:
    url, handler = recording
    handler.answers = dict(HEALTHY)
    ask_server([url], "k", ["products"], timeout_s=1)
    assert {"GET"} == set(handler.requests)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({}, "is this a Typesense"),
        (HEALTHY | {"/health": (503, {"ok": False})}, "is not ready (503)"),
        (HEALTHY | {"/health": (200, {"ok": True, "resource_error": "OUT_OF_DISK"})}, "OUT_OF_DISK"),
        (HEALTHY | {"/aliases/products": (503, {"message": "Not Ready or Lagging"})}, "Not Ready or Lagging"),
        (HEALTHY | {"/aliases/products": (200, {"collection_name": "products_9"})}, "products_9, which does"),
        (HEALTHY | {"/collections/products": (200, {"name": "products", "fields": []})}, "stands where"),
    ],
)
def test_what_a_server_answers_becomes_the_finding(
    answers: dict[str, tuple[int, Any]], said: str, recording: tuple[str, type[Recording]]
) -> None:
    url, handler = recording
    handler.answers = answers
    facts = ask_server([url], "k", ["products"], timeout_s=1)
    assert said in only(check_server(facts, DECLARED), Level.ERROR)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], KeyFacts(frozenset({"*"}), is_admin=True)),
        ([{"value_prefix": "abcd", "actions": ["documents:*"]}], KeyFacts(frozenset({"documents:*"}))),
        ([{"value_prefix": "abcd", "actions": []}] * 2, KeyFacts()),
    ],
)
def test_the_keys_actions_are_found_by_its_first_characters(
    keys: list[Any], expected: KeyFacts, recording: tuple[str, type[Recording]]
) -> None:
    url, handler = recording
    handler.answers = HEALTHY | {"/keys": (200, {"keys": keys})}
    assert expected == ask_server([url], "abcdefgh", ["products"], timeout_s=1).key
