"""The clerk of the control topic, against librdkafka's own mock cluster: it reads, writes and searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from cdc_sync.control.clerk import KafkaClerk, control_topic
from cdc_sync.control.errands import Errand, Fate, Replay, Replayed, Rewind, encoded
from cdc_sync.control.search import Evidence, Search
from cdc_sync.control.tail import Tail
from cdc_sync.errors import CdcSyncError
from cdc_sync.model import Partition, Record
from cdc_sync.outbox import Outbox
from cdc_sync.replay import entries_of
from tests.kafka_mock import MockKafka, mock_kafka

TOPIC = "nx.seller.public.Product"
REPLAY = Replay("dlq/0/1", TOPIC, 0, 1, b"k", b"v", [], 0, 2, 0)


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    yield from mock_kafka()


class Running:
    """A clerk that runs, and what it delivers."""

    def __init__(self, kafka: MockKafka, control: str, **more: Any) -> None:
        self.config = {"bootstrap.servers": kafka.address, "log_level": 0, **more}
        self.entries: dict[str, Errand | Replayed | None] = {}
        self.troubles: list[str] = []
        self.clerk = KafkaClerk(
            self.config,
            control,
            lambda: Outbox(self.config, control_topic(control, 1), what="errand"),
            lambda record: record.key,
            on_trouble=lambda event, _: self.troubles.append(event),
        )

    def __enter__(self) -> Running:
        self.clerk.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.clerk.stop(5)

    def wait(self, until: Callable[[], object], timeout_s: float = 15.0) -> None:
        """Deliver until something is so."""
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, (self.entries, self.troubles)
            self.clerk.deliver(self.entries.__setitem__)
            time.sleep(0.01)

    def look(self, search: Search) -> Evidence:
        """Search, and wait for the answer."""
        found: list[Evidence] = []
        self.clerk.search(search, found.append)
        self.wait(lambda: found)
        return found[0]


def test_an_errand_that_has_its_outcome_is_not_handed_on(kafka: MockKafka) -> None:
    """What came while nobody read is read whole before anything of it is delivered."""
    done, rewind = Replayed(REPLAY.letter, Fate.SUPERSEDED, "later", 3), Rewind(TOPIC, 0, 5, "m", 0)
    for key, value in (
        (REPLAY.key, encoded(REPLAY)),
        (rewind.key, encoded(rewind)),
        (REPLAY.key, encoded(done)),
        ("dance/1", b'{"type":"dance"}'),
    ):
        kafka.write("control-1", value, key.encode())
    with Running(kafka, "control-1") as running:
        running.wait(lambda: running.entries)
        assert {REPLAY.key: done, rewind.key: rewind} == running.entries
        kafka.write("control-1", None, rewind.key.encode())
        running.wait(lambda: running.entries[rewind.key] is None)


def test_what_is_written_is_heard_by_all(kafka: MockKafka) -> None:
    """By the writer, which had come to the end already, and by one that was there before the topic."""
    with Running(kafka, "control-2") as early:
        time.sleep(0.3)
        kafka.write("control-2", b"{}")  # the mock makes a topic so
        with Running(kafka, "control-2") as writer:
            writer.clerk.put(REPLAY.key, encoded(REPLAY))
            early.wait(lambda: early.entries.get(REPLAY.key) == REPLAY)
            writer.wait(lambda: writer.entries.get(REPLAY.key) == REPLAY)


def test_later_events_of_many_rows_are_found_at_once(kafka: MockKafka) -> None:
    for key in (b"a", b"b", b"a", b"c", b"b"):
        kafka.write(TOPIC, b"v", key)
    where = Partition(TOPIC, 0)
    with Running(kafka, "control-3") as running:
        evidence = running.look(Search(where, 0, None, {b"a": 0, b"b": 1, b"c": 3}))
        assert ({b"a": 2, b"b": 4}, 5) == (evidence.later, evidence.to)
        assert not running.look(Search(where, 1, 4, {b"b": 1})).later
        assert not running.look(Search(where, 5, None, {b"b": 4})).later


def test_a_search_waits_for_its_broker(kafka: MockKafka) -> None:
    """Nothing is concluded from silence; the trouble is told."""
    running = Running(kafka, "control-4")
    away = Running(kafka, "control-4", **{"bootstrap.servers": "127.0.0.1:9", "socket.timeout.ms": 1000})
    answers: list[Evidence] = []
    with running, away:
        away.clerk.search(Search(Partition(TOPIC, 0), 0, None, {b"a": 0}), answers.append)
        away.wait(lambda: "the log cannot be searched" in away.troubles, 30)
    assert [] == answers


def test_what_stands_in_the_topic(kafka: MockKafka) -> None:
    """For a command: all of it, nothing where there is no topic, an error where nobody answers."""
    kafka.write("control-5", encoded(REPLAY), REPLAY.key.encode())
    config = {"bootstrap.servers": kafka.address, "log_level": 0}
    for topic, expected in (("control-5", {REPLAY.key: REPLAY}), ("control-none", {})):
        with closing(Tail(config, topic)) as tail:
            assert expected == entries_of(tail)
    nobody = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}
    with closing(Tail(nobody, "control-5")) as tail, pytest.raises(CdcSyncError, match="no broker answers"):
        entries_of(tail, timeout_s=0.5)


def test_a_record_keeps_its_identity_by_its_key(kafka: MockKafka) -> None:
    """As the search of the command uses it: another wire format of the same key is the same row."""
    from cdc_sync.decoder import JsonDecoder

    identity = JsonDecoder("nx.seller.public", {}).identity
    plain, schema = b'{"id":"a"}', b'{"schema":{},"payload":{"id":"a"}}'
    rows = [identity(Record(Partition(TOPIC, 0), 0, key, None)) for key in (plain, schema, b"{", None)]
    assert rows[0] == rows[1] != rows[2] is rows[3] is None
