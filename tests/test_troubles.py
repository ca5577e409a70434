"""What goes wrong outside is said once when it begins and once when it is over, and counted every time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc_sync.errors import LeaseExpired, RegistryUnavailable, SinkMisconfigured, SinkUnavailable
from cdc_sync.lane import Lane
from cdc_sync.metrics import Metrics
from cdc_sync.schema import Collection
from cdc_sync.sink import NullSink
from cdc_sync.troubles import REPEAT_AFTER_S, Troubles

THINGS = Collection("things", ())


class World:
    """Troubles, what they say, what they count, and a clock."""

    def __init__(self, said: list[Any]) -> None:
        self.said = said
        self.now = 1000.0
        self.metrics = Metrics("0")
        self.troubles = Troubles(self.metrics, clock=lambda: self.now)
        self.lane = self.lane_named("things")

    def lane_named(self, name: str) -> Lane:
        return Lane(
            name, [name], NullSink(), lambda _: None,  # type: ignore[arg-type, return-value]  # unused
            max_waiting_bytes=1, max_waiting_documents=1,
        )  # fmt: skip

    def events(self) -> list[str]:
        return [line["event"] for line in self.said]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"cdc_sync_{name}", labels)


@pytest.fixture
def world() -> Iterator[World]:
    with capture_logs() as said:
        yield World(said)


def test_a_lease_that_ran_out_is_no_trouble_of_typesense(world: World) -> None:
    """It is the broker's word that is missing."""
    world.troubles.sink_away(world.lane, LeaseExpired(), True)
    world.troubles.sink_back(world.lane)
    assert ["waiting for the broker", "the broker is back"] == world.events()


def test_an_outage_of_typesense_is_said_at_its_beginning_and_its_end(world: World) -> None:
    """Every failed try is counted by its class, the first of a kind is said."""
    for error, is_new in [
        (SinkUnavailable("no connection"), True),
        (SinkUnavailable("no connection"), False),
        (SinkMisconfigured("wrong key"), True),
    ]:
        world.troubles.sink_away(world.lane, error, is_new)
    world.troubles.sink_back(world.lane)
    assert [
        ("waiting for typesense", "warning", "things", "no connection"),
        ("waiting for typesense", "warning", "things", "wrong key"),
        ("typesense is back", "info", "things", None),
    ] == [(line["event"], line["log_level"], line["lane"], line.get("reason")) for line in world.said]
    assert (2.0, 1.0) == (
        world.metric("retries_total", lane="things", error="SinkUnavailable"),
        world.metric("retries_total", lane="things", error="SinkMisconfigured"),
    )


def test_one_outage_of_all_lanes_is_one_line(world: World) -> None:
    """Its end is said when the last lane goes on; a lane with a trouble of its own is heard."""
    lanes = [world.lane_named(name) for name in ("a", "b", "c")]
    for lane in lanes:
        world.troubles.sink_away(lane, SinkUnavailable("no connection"), True)
    world.troubles.sink_back(lanes[0])
    world.troubles.sink_away(lanes[1], SinkMisconfigured("no alias b"), True)
    world.troubles.sink_back(lanes[2])
    assert [("waiting for typesense", "a"), ("waiting for typesense", "b")] == [
        (line["event"], line["lane"]) for line in world.said
    ]
    world.troubles.sink_back(lanes[1])
    assert "typesense is back" == world.events()[-1]


def test_an_outage_of_the_registry_is_said_at_its_beginning_and_its_end(world: World) -> None:
    """However often it is asked."""
    for is_new in (True, False, False):
        world.troubles.registry_away(RegistryUnavailable("refused"), is_new)
    world.troubles.registry_back()
    assert [("waiting for the schema registry", "refused"), ("the schema registry is back", None)] == [
        (line["event"], line.get("reason")) for line in world.said
    ]


def test_the_same_of_the_broker_is_said_once_a_minute(world: World) -> None:
    """Other facts are other news; saying the same does not put the next time off."""
    for _ in range(3):
        world.troubles.kafka_said("broker trouble", {"error": "down"})
    world.troubles.kafka_said("broker trouble", {"error": "refused"})
    assert ["down", "refused"] == [line["error"] for line in world.said]
    world.now += REPEAT_AFTER_S - 0.1
    world.troubles.kafka_said("broker trouble", {"error": "down"})
    assert 2 == len(world.said)
    world.now += 0.1
    world.troubles.kafka_said("broker trouble", {"error": "down"})
    world.troubles.kafka_said("broker trouble", {"error": "down"})
    assert ["down", "refused", "down"] == [line["error"] for line in world.said]


def test_a_duration_makes_no_other_news(world: World) -> None:
    """librdkafka says how long a try took."""
    for n in range(5):
        world.troubles.kafka_said("broker trouble", {"error": f"refused (after {n}ms in state CONNECT)"})
    assert 1 == len(world.said)


def test_letters_that_are_not_stored_are_said_once_a_minute(world: World) -> None:
    """They are tried again every second."""
    for _ in range(30):
        world.troubles.letters("dead letter not stored", "timed out")
        world.now += 1
    assert [("dead letter not stored", "timed out")] == [
        (line["event"], line["reason"]) for line in world.said
    ]


def test_what_was_said_long_ago_is_forgotten(world: World) -> None:
    """Ever new reasons do not fill the memory."""
    for n in range(500):
        world.troubles.kafka_said("broker trouble", {"error": "x" * n})
        world.now += 1
    assert len(world.troubles._notices._said) <= REPEAT_AFTER_S + 1


def test_every_truncate_is_said_with_its_cure(world: World) -> None:
    """It is rare, and each one is a table that differs from now on."""
    world.troubles.truncated("nx.seller.public.Product")
    world.troubles.truncated("nx.seller.public.Product")
    assert ["truncate skipped"] * 2 == world.events()
    assert ("nx.seller.public.Product", True) == (world.said[0]["topic"], "snapshot" in world.said[0]["cure"])


def test_a_schema_that_differs_is_said_and_counted(world: World) -> None:
    """One that does not is counted only: 0, not nothing."""
    world.troubles.schema_differs(THINGS, "things_2", ["a", "b"])
    assert [("things_2", ["a", "b"], "cdc-sync reindex things")] == [
        (line["collection"], line["differences"], line["cure"]) for line in world.said
    ]
    assert 2.0 == world.metric("schema_differences", collection="things")
    world.troubles.schema_differs(THINGS, "things_2", [])
    assert (1, 0.0) == (len(world.said), world.metric("schema_differences", collection="things"))
