"""The composition root: what settings mean to librdkafka, where mappers come from, what is wired."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from cdc_sync import app
from cdc_sync.app import build, consumer_config, kafka_config, load_router, producer_config
from cdc_sync.demo.stage import DemoSettings
from cdc_sync.errors import ConfigError
from cdc_sync.mappers import MAPPERS
from cdc_sync.outbox import admin_config
from tests.factories import MAPPER_OF

SECRET = "s3cr3t-and-long"

TLS = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "user",
    "sasl.password": SECRET,
    "ssl.endpoint.identification.algorithm": "https",
}


def settings(**sections: Any) -> DemoSettings:
    """Settings that no environment changes."""
    plain: dict[str, Any] = {"typesense": {"api_key": SECRET}, "http": {"host": "127.0.0.1", "port": 0}}
    return DemoSettings(**plain | sections)


# What settings mean to librdkafka -----------------------------------------------------------------------


def test_offsets_are_committed_by_us_alone() -> None:
    """And records begin at the earliest."""
    config = consumer_config(settings())
    assert {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "group.id": "commerce-cdc-group",
        "client.id": "commerce-cdc-consumer",
        "bootstrap.servers": "localhost:9092",
        "allow.auto.create.topics": False,
    }.items() <= config.items()


def test_no_letter_is_given_up_or_stored_twice() -> None:
    config = producer_config(settings())
    assert (True, "all") == (config["enable.idempotence"], config["acks"])


def test_extra_properties_reach_every_client() -> None:
    """TLS and SASL: the consumer, the producer, and the admin client beside it."""
    found = settings(kafka={"extra": TLS})
    for config in (
        kafka_config(found),
        consumer_config(found),
        producer_config(found),
        admin_config(producer_config(found)),
    ):
        assert TLS.items() <= config.items()


@pytest.mark.parametrize("config", [consumer_config, producer_config, kafka_config])
def test_extra_properties_win(config: Callable[..., dict[str, Any]]) -> None:
    """An operator who names a property means it."""
    extra = {"bootstrap.servers": "other:1", "client.id": "other", "max.poll.interval.ms": 5, "linger.ms": 7}
    assert extra.items() <= config(settings(kafka={"extra": extra})).items()


def test_group_settings_reach_the_consumer() -> None:
    """Static membership, times, and how much is fetched ahead."""
    kafka = {
        "group_instance_id": "replica-1",
        "session_timeout_ms": 10_000,
        "max_poll_interval_ms": 60_000,
        "queued_max_kbytes": 2_048,
        "group_id": "g",
    }
    config = consumer_config(settings(kafka=kafka))
    assert {
        "group.instance.id": "replica-1",
        "session.timeout.ms": 10_000,
        "max.poll.interval.ms": 60_000,
        "queued.max.messages.kbytes": 2_048,
        "group.id": "g",
    }.items() <= config.items()
    assert "group.instance.id" not in consumer_config(settings())


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_librdkafka_takes_the_properties(protocol: str) -> None:
    """KIP-848 forbids what the classic protocol needs: a consumer is made of either."""
    found = settings(kafka={"group_protocol": protocol})
    config = consumer_config(found)
    classic = protocol == "classic"
    assert (protocol, classic, classic) == (
        config["group.protocol"],
        "partition.assignment.strategy" in config,
        "session.timeout.ms" in config,
    )
    Consumer(config).close()
    Producer(producer_config(found))
    AdminClient(admin_config(producer_config(found)))


def test_partitions_are_handed_over_one_by_one() -> None:
    """Rebalances move as little as possible."""
    assert "cooperative-sticky" == consumer_config(settings())["partition.assignment.strategy"]


@pytest.mark.parametrize("url", ["http://localhost:99999", "http://localhost:x", "http://a..b:8108"])
def test_an_address_that_can_be_none_is_refused_at_the_door(url: str) -> None:
    """Later it would end a lane."""
    with pytest.raises(ValidationError):
        settings(typesense={"url": url})


@pytest.mark.parametrize("key", ["two\nlines", "đ", "nul\0"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    """Later, the error of whoever makes the header would quote it."""
    with pytest.raises(ConfigError, match=r"^CDC_SYNC_TYPESENSE__API_KEY: the key has a character") as error:
        build(settings(typesense={"api_key": key}))
    assert key not in str(error.value)


def test_a_line_break_after_the_key_is_not_the_key() -> None:
    """A secret that was made with `echo`."""
    assert SECRET == settings(typesense={"api_key": f"{SECRET}\n"}).typesense_key()


# Mappers ------------------------------------------------------------------------------------------------

MODULE = """
from dataclasses import replace
class Mapper:
    table, collection, key, reads, owns = "Product", None, ("id",), ("id",), ("id",)
    def map(self, event): ...
class Extra(Mapper):
    table = "Voucher"
def of(mapper, collection):
    mapper.collection = collection
    return mapper
from cdc_sync.schema import Collection
MINE = of(Mapper(), Collection("my-products", ()))
VOUCHER = of(Extra(), Collection("vouchers", ()))
TEXT = "no mapper"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of somebody else's."""
    (tmp_path / "their_mappers.py").write_text(MODULE)
    (tmp_path / "their_broken.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    yield "their_mappers"
    for name in ("their_mappers", "their_broken"):
        sys.modules.pop(name, None)


def test_our_mappers_are_there_by_themselves() -> None:
    router = load_router(())
    assert [mapper.table for mapper in MAPPERS] == list(router.tables)
    assert 1 == len(router.enrichments)


def test_a_named_mapper_joins_and_replaces(module: str) -> None:
    """A table that we know is theirs; one that we do not is new."""
    router = load_router((f"{module}:MINE", f"{module}:VOUCHER"))
    assert {*MAPPER_OF, "Voucher"} == set(router.tables)
    collections = {c.name for c in router.collections}
    assert ({"my-products", "vouchers"}, set()) == (
        collections & {"my-products", "vouchers"},
        collections & {"products"},
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("their_mappers", "'their_mappers' is not of the form module:object"),
        (
            "their_mappers:NONE",
            "cannot load their_mappers:NONE: module 'their_mappers' has no attribute 'NONE'",
        ),
        ("no_such_room:X", "cannot load no_such_room:X: No module named 'no_such_room'"),
        ("their_broken:X", "cannot load their_broken:X: No module named 'no_such_module_at_all'"),
        ("their_mappers:TEXT", "their_mappers:TEXT is not a mapper: it has no table, collection, key"),
        (":X", "':X' is not of the form module:object"),
        (".app:X", "'.app:X' is not of the form module:object"),
    ],
)
def test_a_mapper_that_cannot_be_loaded_is_one_line(module: str, name: str, reason: str) -> None:
    """It names the setting, and what is wrong."""
    with pytest.raises(ConfigError) as error:
        load_router((name,))
    text = str(error.value)
    assert (True, True, 0) == (text.startswith("CDC_SYNC_MAPPERS: "), reason in text, text.count("\n"))


def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    """A package with this entry point, as a wheel leaves it."""
    folder = tmp_path / "theirs-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{app.ENTRY_POINTS}]\nvouchers = {value}\n")


def test_an_installed_mapper_is_found(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its entry point, without a setting; a named one wins over it."""
    installed(monkeypatch, tmp_path, "their_mappers:VOUCHER")
    assert EntryPoint("vouchers", "their_mappers:VOUCHER", app.ENTRY_POINTS).load()
    assert "Voucher" in load_router(()).tables


@pytest.mark.parametrize("value", ["their_broken:X", "their_mappers:NONE", "their_mappers:TEXT"])
def test_an_installed_mapper_that_is_none_is_one_line(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """It names the entry point: no setting is to blame."""
    installed(monkeypatch, tmp_path, value)
    with pytest.raises(ConfigError, match=r"^entry point vouchers") as error:
        load_router(())
    assert 0 == str(error.value).count("\n")


# The daemon ---------------------------------------------------------------------------------------------


def test_ca_files_that_are_none_are_named(tmp_path: Path) -> None:
    """Missing, and not certificates."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (tmp_path / "missing.pem", empty):
        with pytest.raises(ConfigError, match=r"^CDC_SYNC_TYPESENSE__CA_FILE: ") as error:
            build(settings(typesense={"api_key": SECRET, "ca_file": path}))
        assert str(path) in str(error.value)


def test_a_key_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"^CDC_SYNC_TYPESENSE__API_KEY is not set"):
        build(settings(typesense={}))


def test_a_daemon_is_built_without_a_connection() -> None:
    """Nobody is there yet: it is unready, not broken; a null sink asks nobody for its health."""
    daemon = build(settings(kafka={"bootstrap_servers": "127.0.0.1:9"}, sync={"sink": "null"}))
    daemon.health.start()
    assert ["not a member of commerce-cdc-group yet"] == daemon.problems()
    assert [] == daemon.problems_of_life()
    assert daemon.health.port > 0
    daemon.health.stop()
