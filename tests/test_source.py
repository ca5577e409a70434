"""KafkaSource against librdkafka's own mock cluster: resume, pause, rebalance, topics that come later."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka import Producer

from cdc_sync.model import Partition, Record
from cdc_sync.source import KafkaSource
from tests.kafka_mock import MockKafka

# The mock cluster hands out partitions within a second of the last member's session.
SESSION_MS = 6000


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.assigned: set[Partition] = set()
        self.revoked: list[tuple[set[Partition], bool]] = []
        self.committed: dict[Partition, int] = {}
        self.heard: list[Mapping[Partition, int]] = []

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        self.assigned |= set(partitions)

    def on_revoked(self, partitions: Collection[Partition], lost: bool) -> None:
        self.revoked.append((set(partitions), lost))
        self.assigned -= set(partitions)

    def on_committed(self, offsets: Mapping[Partition, int], asked_at: float) -> None:
        self.committed |= offsets
        self.heard.append(offsets)


def config(address: str, group: str, **more: Any) -> dict[str, Any]:
    """Consumer properties as the daemon has them."""
    return {
        "bootstrap.servers": address,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "session.timeout.ms": SESSION_MS,
        "partition.assignment.strategy": "cooperative-sticky",
        "topic.metadata.refresh.interval.ms": 500,
        "log_level": 0,
    } | more


def read(source: KafkaSource, count: int, timeout_s: float = 20.0) -> list[Record]:
    """So many records."""
    records: list[Record] = []
    deadline = time.monotonic() + timeout_s
    while len(records) < count and time.monotonic() < deadline:
        records += source.poll(100, 0.1)
    return records


def produce(address: str, topic: str, numbers: Collection[int], partition: int = 0) -> None:
    """Records whose value is their number."""
    producer = Producer({"bootstrap.servers": address, "log_level": 0})
    for n in numbers:
        producer.produce(topic, str(n), b"k", partition=partition, headers=[("h", b"v")])
    producer.flush(10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A mock cluster for the module."""
    cluster = MockKafka()
    yield cluster.address
    del cluster  # it lives as long as this object


def test_records_come_in_order_with_all_they_have(address: str) -> None:
    """Key, value, offset, timestamp and headers."""
    produce(address, "order", range(50))
    source = KafkaSource(config(address, "order-group"), ["order"], Listener())
    records = read(source, 50)
    assert [(n, str(n).encode()) for n in range(50)] == [(r.offset, r.value) for r in records]
    assert (b"k", [("h", b"v")]) == (records[0].key, list(records[0].headers))
    assert abs(records[0].timestamp_ms - time.time() * 1000) < 60_000
    source.close()


def test_a_new_member_begins_at_what_was_committed(address: str) -> None:
    """Not at what was read."""
    produce(address, "resume", range(20))
    listener = Listener()
    source = KafkaSource(config(address, "resume-group"), ["resume"], listener)
    read(source, 20)
    source.commit({Partition("resume", 0): 7}, wait=True)
    assert {Partition("resume", 0): 7} == listener.committed
    source.close()
    assert [({Partition("resume", n) for n in range(4)}, False)] == [
        (set(gone), lost) for gone, lost in listener.revoked
    ]
    again = KafkaSource(config(address, "resume-group"), ["resume"], Listener())
    assert [7, 8, 9] == [r.offset for r in read(again, 13)[:3]]
    again.close()


def test_an_asynchronous_commit_is_heard_of(address: str) -> None:
    """The tracker believes only what the broker confirmed."""
    produce(address, "asynchronous", range(3))
    listener = Listener()
    source = KafkaSource(config(address, "asynchronous-group"), ["asynchronous"], listener)
    read(source, 3)
    source.commit({Partition("asynchronous", 0): 3})
    deadline = time.monotonic() + 10
    while not listener.committed and time.monotonic() < deadline:
        source.poll(10, 0.1)
    assert {Partition("asynchronous", 0): 3} == listener.committed
    source.close()


def test_a_renewal_does_not_take_back_a_commit_that_is_on_its_way(address: str) -> None:
    """What was stored before is not committed again behind it."""
    produce(address, "renewed", range(5))
    listener = Listener()
    partition = Partition("renewed", 0)
    source = KafkaSource(config(address, "renewed-group"), ["renewed"], listener)
    read(source, 5)
    source.commit({partition: 1}, wait=True)
    source.commit({partition: 3})
    source.renew()
    deadline = time.monotonic() + 20
    while len(listener.heard) < 3 and time.monotonic() < deadline:
        source.poll(1, 0.05)
    assert [{partition: 1}, {partition: 3}, {partition: 3}] == listener.heard
    source.close()


def test_a_paused_topic_is_silent_until_it_is_not(address: str) -> None:
    """Exactly the named topics; the others go on."""
    produce(address, "loud", range(3))
    produce(address, "quiet", range(3))
    source = KafkaSource(config(address, "pause-group"), ["loud", "quiet"], Listener())
    read(source, 6)
    source.pause(["quiet"])
    produce(address, "quiet", range(3, 6))
    produce(address, "loud", range(3, 6))
    assert {"loud"} == {r.partition.topic for r in read(source, 6, timeout_s=3)}
    source.pause([])
    assert [b"3", b"4", b"5"] == [r.value for r in read(source, 3)]
    source.close()


def test_a_topic_that_does_not_exist_yet_is_waited_for(address: str) -> None:
    """Said once or more, never fatal, and read when it is there."""
    said: list[str] = []
    source = KafkaSource(
        config(address, "later-group", **{"allow.auto.create.topics": False}),
        ["later"],
        Listener(),
        lambda event, _: said.append(event),
    )
    assert [] == read(source, 1, timeout_s=1.5)
    produce(address, "later", range(2))
    assert [b"0", b"1"] == [r.value for r in read(source, 2)]
    source.close()


def test_a_second_member_takes_some_partitions_over(address: str) -> None:
    """The first one is told which, goes on with the rest, and delivers nothing of what it lost."""
    for n in range(4):
        produce(address, "shared", range(5), partition=n)
    first_heard, second_heard = Listener(), Listener()
    first = KafkaSource(config(address, "shared-group"), ["shared"], first_heard)
    read(first, 20)
    assert {Partition("shared", n) for n in range(4)} == first.owned
    first.commit({Partition("shared", n): 5 for n in range(4)}, wait=True)
    second = KafkaSource(config(address, "shared-group"), ["shared"], second_heard)
    deadline = time.monotonic() + 30
    while not (second.owned and first.owned) and time.monotonic() < deadline:
        first.poll(10, 0.05)
        second.poll(10, 0.05)
    assert first.owned | second.owned == {Partition("shared", n) for n in range(4)}
    assert not first.owned & second.owned
    for n in range(4):
        produce(address, "shared", [100 + n], partition=n)
    got_first = {r.partition for r in read(first, len(first.owned))}
    got_second = {r.partition for r in read(second, len(second.owned))}
    assert (set(first.owned), set(second.owned)) == (got_first, got_second)
    first.close()
    second.close()


def test_a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(address: str) -> None:
    """A lane was full when its partitions went: nothing may stay silent for ever."""
    everything = {Partition("paused", n) for n in range(4)}
    for partition in everything:
        produce(address, "paused", [0], partition=partition.number)
    first = KafkaSource(config(address, "paused-group"), ["paused"], Listener())
    read(first, 4)
    first.commit(dict.fromkeys(everything, 1), wait=True)
    first.pause(["paused"])
    second = KafkaSource(config(address, "paused-group"), ["paused"], Listener())
    deadline = time.monotonic() + 30
    while not (second.owned and first.owned) and time.monotonic() < deadline:
        first.poll(10, 0.05)
        second.poll(10, 0.05)
    assert second.owned
    second.close()
    while first.owned != everything and time.monotonic() < deadline:
        first.poll(10, 0.05)
    assert everything == first.owned
    first.pause([])
    for partition in everything:
        produce(address, "paused", [1], partition=partition.number)
    assert everything == {record.partition for record in read(first, 4, timeout_s=10)}
    first.close()
