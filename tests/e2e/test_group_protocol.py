"""The group protocol of KIP-848, and the fall-back where the broker does not know it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Producer

from cdc_sync.model import Partition
from cdc_sync.source import KafkaSource
from tools.stack import Part, Stack
from tools.stack.broker import broker
from tools.stack.layout import RUNS
from tools.stack.ledger import Ledger

TOPIC = "group-protocol"


class Listener:
    """What is committed."""

    def __init__(self) -> None:
        self.committed: dict[Partition, int] = {}

    def on_assigned(self, partitions: Collection[Partition]) -> None: ...

    def on_revoked(self, partitions: Collection[Partition], lost: bool) -> None: ...

    def on_committed(self, offsets: Mapping[Partition, int], asked_at: float) -> None:
        self.committed |= offsets


@pytest.fixture
def old_broker(stack: Stack) -> Iterator[Part]:
    """A broker of its own that offers the classic protocol only, as those before 4.0 do."""
    run = Path(tempfile.mkdtemp(prefix="classic-", dir=RUNS))
    part = broker(run, Ledger(run), more_properties="group.coordinator.rebalance.protocols=classic\n")
    part.start()
    part.wait_ready()
    yield part
    part.stop()


def read_and_commit(address: str) -> list[str]:
    """What was reported while ten records were read and committed by `group.protocol=consumer`."""
    producer = Producer({"bootstrap.servers": address})
    for n in range(10):
        producer.produce(TOPIC, str(n))
    producer.flush(10)
    said: list[str] = []
    listener = Listener()
    config = {
        "bootstrap.servers": address,
        "group.id": f"group-{time.time_ns()}",
        "group.protocol": "consumer",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    }
    source = KafkaSource(config, [TOPIC], listener, lambda event, _: said.append(event))
    offsets: dict[Partition, int] = {}
    read, deadline = 0, time.monotonic() + 30
    while read < 10 and time.monotonic() < deadline:
        for record in source.poll(100, 0.2):
            offsets[record.partition] = record.offset + 1
            read += 1
    source.commit(offsets, wait=True)
    source.close()
    assert 10 == read
    assert offsets == listener.committed
    return said


def test_the_new_protocol_is_used_where_the_broker_knows_it(stack: Stack) -> None:
    """Nothing is said, and records and commits go through."""
    assert "the broker knows only the classic group protocol" not in read_and_commit(stack.broker.address)


def test_an_older_broker_gets_the_classic_protocol(old_broker: Part) -> None:
    """Said once; records and commits go through all the same."""
    assert 1 == read_and_commit(old_broker.address).count("the broker knows only the classic group protocol")
