"""A whole daemon as its own process, between librdkafka's mock cluster and the stand-in for Typesense."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from cdc_sync.daemon import STOP_LANES_S
from cdc_sync.dlq.browse import Letters
from cdc_sync.lane import ABORT_S
from cdc_sync.reader import TopicReader
from cdc_sync.sections import SyncSettings
from cdc_sync.typesense_standin import Fault, StandIn
from tests.avro import SCHEMAS, RegistryServer
from tests.factories import PREFIX, Wire, key_bytes, row, value_bytes
from tests.kafka_mock import MockKafka, mock_kafka
from tests.raw_http import free_port
from tests.running import SECRET, Running

PASSWORD = "hunter2-and-long"
DLQ = "nx.seller.cdc.dlq"
ORGANIZERS = f"{PREFIX}.Organizer"


def organizer(kafka: MockKafka, row_id: str, **columns: Any) -> None:
    """A change of an Organizer, in its topic."""
    columns = row("Organizer", id=row_id, **columns)
    kafka.write(ORGANIZERS, value_bytes("Organizer", "c", columns), key_bytes({"id": row_id}))


def large_producer(kafka: MockKafka) -> Producer:
    """One that may write more than librdkafka's default."""
    return Producer({"bootstrap.servers": kafka.address, "message.max.bytes": 20_000_000, "log_level": 0})


def stored(standin: StandIn, collection: str) -> dict[str, dict[str, Any]]:
    """Every document of a collection; none while there is no such collection."""
    url = f"{standin.url}/collections/{collection}/documents/export"
    request = urllib.request.Request(url, headers={"X-TYPESENSE-API-KEY": SECRET})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            documents = [json.loads(line) for line in answer.read().splitlines()]
    except urllib.error.HTTPError as answer:
        answer.close()
        return {}
    return {document["id"]: document for document in documents}


def committed(kafka: MockKafka, group: str, topic: str) -> int:
    """The next offset of partition 0 that this group has committed; negative when none."""
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": group, "log_level": 0})
    try:
        [position] = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    finally:
        consumer.close()
    return position.offset


def letters(kafka: MockKafka) -> list[tuple[str, int, str]]:
    """Topic, offset and stage of every dead letter."""
    with TopicReader({"bootstrap.servers": kafka.address, "fetch.error.backoff.ms": 10}) as reader:
        found = list(Letters(reader, DLQ).lines())
    return sorted((letter.origin.topic, letter.origin_offset, letter.stage) for letter in found)


def events(page: str, **labels: str) -> float:
    """The sum of `cdc_sync_events_total` with these labels."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    lines = [line for line in page.splitlines() if line.startswith("cdc_sync_events_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(w in line for w in wanted))


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    for cluster in mock_kafka():
        admin = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0})
        admin.list_topics(DLQ, timeout=5)  # the mock knows no CreateTopics, but makes what is asked for
        yield cluster


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn(api_key=SECRET) as server:
        yield server


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[Callable[[], StandIn]]:
    """Starts a stand-in on the same port with the data of the last one, which has been stopped."""
    started: list[StandIn] = []

    def start() -> StandIn:
        port = started[-1].port if started else 0
        started.append(StandIn(port, SECRET, tmp_path / "typesense").start())
        return started[-1]

    yield start
    started[-1].stop()


def test_a_life_with_poison_and_an_outage(
    kafka: MockKafka, restartable: Callable[[], StandIn], tmp_path: Path
) -> None:
    """Joins, writes, buries, waits for Typesense, goes on, and ends with everything committed."""
    standin = restartable()
    organizer(kafka, "a")
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.address,
        "KAFKA__GROUP_ID": "a-life",
        "KAFKA__EXTRA": json.dumps({"sasl.password": PASSWORD, "fetch.wait.max.ms": 5}),
        "TYPESENSE__URL": standin.url,
    }
    with Running(tmp_path, **settings) as daemon:
        daemon.wait(lambda: daemon.get("/readyz")[0])
        status, text = daemon.get("/readyz")
        assert (503, True) == (status, "not a member of a-life yet" in text)
        assert 200 == daemon.get("/healthz")[0]
        daemon.wait_ready()
        daemon.wait(lambda: {"a"} == stored(standin, "organizers").keys())
        live_through_poison(daemon, kafka, standin)
        standin.stop()
        standin = live_through_an_outage(daemon, kafka, restartable)
        page = daemon.get("/metrics")[1]
        assert (4, 2, 6) == (
            events(page, table="Organizer", outcome="written"),
            events(page, table="Organizer", outcome="dead_lettered"),
            events(page, table="Organizer"),
        )
        organizer(kafka, "d")
        daemon.wait(lambda: "d" in stored(standin, "organizers"))
        code, seconds = daemon.terminate()
        assert (0, True) == (code, seconds < 10), seconds
        assert 7 == committed(kafka, "a-life", ORGANIZERS)
        assert [True] == [line["all_written"] for line in daemon.said("stopped")]
        assert 2 == len(letters(kafka))
        assert (False, False) == (SECRET in daemon.log, PASSWORD in daemon.log)


def live_through_poison(daemon: Running, kafka: MockKafka, standin: StandIn) -> None:
    """Garbage, small and large, is a letter each; its neighbours are written, a large one too."""
    kafka.write(ORGANIZERS, b"\xff garbage {")
    organizer(kafka, "b")
    columns = row("Organizer", id="large", metadata=json.dumps({"text": "x" * 1_200_000}))
    large = large_producer(kafka)
    large.produce(ORGANIZERS, b"x" * 1_200_000, b"k", 0)
    large.produce(ORGANIZERS, value_bytes("Organizer", "c", columns), key_bytes({"id": "large"}), 0)
    large.flush(5)
    daemon.wait(lambda: {"a", "b", "large"} == stored(standin, "organizers").keys())
    daemon.wait(lambda: committed(kafka, "a-life", ORGANIZERS) == 5)
    assert [(ORGANIZERS, 1, "VALUE_CONVERTER"), (ORGANIZERS, 3, "VALUE_CONVERTER")] == letters(kafka)
    daemon.wait_ready()


def live_through_an_outage(daemon: Running, kafka: MockKafka, restartable: Callable[[], StandIn]) -> StandIn:
    """Unready, said once, nothing buried; then it goes on by itself."""
    organizer(kafka, "c")
    daemon.wait(lambda: daemon.get("/readyz")[0] == 503)
    assert "Typesense" in daemon.get("/readyz")[1]
    assert 200 == daemon.get("/healthz")[0]
    time.sleep(1.0)
    standin = restartable()
    daemon.wait(lambda: {"a", "b", "c", "large"} == stored(standin, "organizers").keys())
    daemon.wait_ready()
    waits = [line for line in daemon.said("waiting for typesense") if line["lane"] == "organizers"]
    assert 1 <= len(waits) <= 2  # the request that broke off, and that nobody listens
    assert ["organizers"] == [line["lane"] for line in daemon.said("typesense is back")]
    return standin


def test_it_ends_in_time_while_typesense_hangs(kafka: MockKafka, standin: StandIn, tmp_path: Path) -> None:
    """What has no answer is not committed: the next one reads it again."""
    standin.faults.add(Fault(kind="never_answer", path="import", applied=False))
    topic = f"{PREFIX}.Category"
    kafka.write(topic, value_bytes("Category", "c", row("Category", id="x")), key_bytes({"id": "x"}))
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.address,
        "KAFKA__GROUP_ID": "hangs",
        "SYNC__SHUTDOWN_TIMEOUT_S": "1",
        "TYPESENSE__URL": standin.url,
    }
    with Running(tmp_path, **settings) as daemon:
        daemon.wait(lambda: any("import" in asked["path"] for asked in standin.requests.entries()))
        code, seconds = daemon.terminate()
        assert (0, True) == (code, seconds < 1 + STOP_LANES_S + ABORT_S + 5), seconds
        assert [False] == [line["all_written"] for line in daemon.said("stopped")]
        assert committed(kafka, "hangs", topic) <= 0  # at most where it began, to prove its membership


def test_it_outlives_a_broker_that_is_not_there(standin: StandIn, tmp_path: Path) -> None:
    """Alive, unready, and said a few times, not all the time."""
    nowhere = f"127.0.0.1:{free_port()}"
    with Running(tmp_path, KAFKA__BOOTSTRAP_SERVERS=nowhere, TYPESENSE__URL=standin.url) as daemon:
        daemon.wait(lambda: daemon.said("broker trouble"))
        time.sleep(4)
        assert 200 == daemon.get("/healthz")[0]
        assert (503, "not a member of commerce-cdc-group yet\n") == daemon.get("/readyz")
        said = daemon.said("broker trouble")
        assert 1 <= len(said) <= 2, said  # this broker, and that it was the only one
        code, seconds = daemon.terminate()
        assert (0, True) == (code, seconds < 10), seconds


def test_a_wrong_key_is_named_and_not_shown(kafka: MockKafka, standin: StandIn, tmp_path: Path) -> None:
    """Alive, unready, no letter; one line names the setting. With the key it would go on by itself."""
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.address,
        "KAFKA__GROUP_ID": "wrong-key",
        "TYPESENSE__API_KEY": PASSWORD,
        "TYPESENSE__URL": standin.url,
    }
    with Running(tmp_path, **settings) as daemon:
        daemon.wait(lambda: daemon.get("/readyz")[1].count("CDC_SYNC_TYPESENSE__API_KEY") >= 6)
        time.sleep(1.5)
        [line] = daemon.said("waiting for typesense")
        assert "CDC_SYNC_TYPESENSE__API_KEY" in line["reason"]
        status, text = daemon.get("/readyz")
        assert (503, True) == (status, "CDC_SYNC_TYPESENSE__API_KEY" in text)
        assert 200 == daemon.get("/healthz")[0]
        assert (False, False) == (PASSWORD in daemon.log, PASSWORD in text)
        code, seconds = daemon.terminate()
        assert (0, True) == (code, seconds < 10), seconds
        assert committed(kafka, "wrong-key", ORGANIZERS) < 0


def test_a_port_that_is_taken_is_one_line(standin: StandIn, tmp_path: Path) -> None:
    """Exit code 2 before anything is connected to."""
    with Running(tmp_path, HTTP__PORT=str(standin.port)) as daemon:
        assert 2 == daemon.process.wait(10)
        assert (True, 1) == (
            daemon.log.startswith("cdc-sync: CDC_SYNC_HTTP__PORT: cannot listen on"),
            daemon.log.count("\n"),
        )


def test_properties_that_exclude_each_other_are_one_line(tmp_path: Path) -> None:
    """Librdkafka finds them only when the consumer is made."""
    with Running(tmp_path, KAFKA__SESSION_TIMEOUT_MS="45000", KAFKA__MAX_POLL_INTERVAL_MS="10000") as daemon:
        assert 2 == daemon.process.wait(10)
        assert (True, 1) == (daemon.log.startswith("cdc-sync: "), daemon.log.count("\n")), daemon.log


def test_the_default_times_end_within_half_a_minute() -> None:
    """Kubernetes kills after 30 s: finish, lanes, abort, letters, one after another, all at their worst."""
    letters_s = 2.0
    assert SyncSettings().shutdown_timeout_s + STOP_LANES_S + ABORT_S + letters_s <= 29


def test_a_registry_that_is_away_is_waited_for(kafka: MockKafka, standin: StandIn, tmp_path: Path) -> None:
    """No letter: unready with the reason, one line when it begins and one when it is over."""
    port = free_port()
    for table, wire in (("Category", Wire("avro")), ("Device", Wire())):
        value = value_bytes(table, "c", row(table), wire)
        kafka.write(f"{PREFIX}.{table}", value, key_bytes({"id": "a"}, wire))
    with Running(
        tmp_path,
        KAFKA__BOOTSTRAP_SERVERS=kafka.address,
        TYPESENSE__URL=standin.url,
        SCHEMA_REGISTRY__URL=f"http://127.0.0.1:{port}",
    ) as daemon:
        daemon.wait(lambda: "schema registry" in daemon.get("/readyz")[1])
        daemon.wait(lambda: "a" in stored(standin, "devices"))
        daemon.wait(lambda: "cdc_sync_registry_waiting 1.0" in daemon.get("/metrics")[1])
        assert 503 == daemon.get("/readyz")[0]
        with RegistryServer(SCHEMAS, port):
            daemon.wait_ready()
            daemon.wait(lambda: "a" in stored(standin, "categories"))
        assert 1 == len(daemon.said("waiting for the schema registry"))
        assert 1 == len(daemon.said("the schema registry is back"))
        assert 'stage="VALUE_CONVERTER",table="Category"' not in daemon.get("/metrics")[1]
        code, _ = daemon.terminate()
        assert 0 == code
