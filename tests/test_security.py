"""Secrets stay secret whatever goes wrong, and what protects a connection reaches the libraries.

Elsewhere: the settings and the doctor show no secret (`test_cli.py`, `test_config.py`), HTTPS to Typesense
(`test_connection.py`), no id reaches another document (`test_hostile_ids.py`), nothing can be written
through the HTTP port (`test_health.py`).
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from cdc_sync.app import consumer_config, kafka_config, producer_config
from cdc_sync.config import Settings
from cdc_sync.typesense_standin import Fault, StandIn
from tests.kafka_gate import KafkaGate
from tests.raw_http import CERTIFICATE, PRIVATE_KEY, free_port
from tests.running import PROJECT, SECRET, Running

PASSWORD = "hunter2-and-very-long"
ANOTHER_CA = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[KafkaGate]:
    """A broker that wants TLS and a password, with a certificate that `ca.pem` has signed."""
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(PRIVATE_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    with KafkaGate(context) as gate:
        yield gate


def extra(ca: Path, **more: str) -> dict[str, str]:
    """The properties of a client that comes with a password."""
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "the-daemon",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(ca),
        **more,
    }


def settings(gate: KafkaGate, ca: Path) -> Settings:
    """Settings with these properties."""
    return Settings.model_validate({"kafka": {"bootstrap_servers": gate.address, "extra": extra(ca)}})


CLIENTS: list[Callable[[Settings], Any]] = [
    lambda settings: Consumer(consumer_config(settings)),
    lambda settings: Producer(producer_config(settings)),
    lambda settings: AdminClient(kafka_config(settings)),
]


@pytest.mark.parametrize("make", CLIENTS, ids=["consumer", "producer", "admin"])
def test_tls_and_sasl_reach_every_client(
    gate: KafkaGate, tmp_path: Path, make: Callable[[Settings], Any]
) -> None:
    """A real handshake with the named authority, and then the name and the password."""
    with pytest.raises(KafkaException):
        make(settings(gate, tmp_path / "ca.pem")).list_topics(timeout=3)
    visitor = gate.visitors[0]
    assert ("commerce-cdc-consumer", "the-daemon", PASSWORD) == visitor[:3]
    assert visitor.tls.startswith("TLSv1")


@pytest.mark.parametrize("make", CLIENTS, ids=["consumer", "producer", "admin"])
def test_a_broker_that_the_named_authority_does_not_know_gets_no_password(
    gate: KafkaGate, tmp_path: Path, make: Callable[[Settings], Any]
) -> None:
    """The handshake fails, so nothing was said."""
    with pytest.raises(KafkaException):
        make(settings(gate, ANOTHER_CA)).list_topics(timeout=2)
    assert gate.strangers
    assert [] == gate.visitors


def everything_said(daemon: Running) -> str:
    """All that somebody without a key may see."""
    return daemon.log + "".join(daemon.get(path)[1] for path in ("/metrics", "/healthz", "/readyz", "/"))


@pytest.mark.parametrize("by_file", [False, True])
def test_no_secret_is_said_while_everything_fails(gate: KafkaGate, tmp_path: Path, by_file: bool) -> None:
    """Refused by the broker, away and refused by Typesense, at the most talkative level, and at the end."""
    key_file = tmp_path / "key"
    key_file.write_text(f"{SECRET}\n")
    key = {"TYPESENSE__API_KEY_FILE": str(key_file)} if by_file else {"TYPESENSE__API_KEY": SECRET}
    with StandIn(api_key="another") as typesense:
        variables = {
            "KAFKA__BOOTSTRAP_SERVERS": gate.address,
            "KAFKA__EXTRA": json.dumps(extra(tmp_path / "ca.pem", debug="all")),
            "TYPESENSE__URL": typesense.url,
            "LOG__LEVEL": "debug",
            **key,
        }
        with Running(tmp_path, **variables) as daemon:
            daemon.wait(lambda: gate.visitors)
            daemon.wait(lambda: daemon.said("broker trouble") and daemon.said("waiting for typesense"))
            assert "you may not come in" in daemon.log
            said = everything_said(daemon)
            typesense.stop()
            daemon.wait(lambda: "refused" in daemon.get("/readyz")[1])
            said += everything_said(daemon)
            assert 0 == daemon.terminate()[0]
            said += daemon.log
    assert (False, False) == (SECRET in said, PASSWORD in said)


@pytest.mark.parametrize("fault", [Fault(kind="status", status=500, reads=True), Fault(kind="truncate")])
def test_no_answer_of_a_server_makes_the_key_visible(tmp_path: Path, fault: Fault) -> None:
    """Errors of the official client and of our own connection, told at the most talkative level."""
    with StandIn(api_key=SECRET) as typesense:
        typesense.faults.add(fault)
        variables = {
            "KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
            "TYPESENSE__URL": typesense.url,
            "LOG__LEVEL": "debug",
        }
        with Running(tmp_path, **variables) as daemon:
            daemon.wait(lambda: daemon.said("waiting for typesense"))
            said = everything_said(daemon)
            assert 0 == daemon.terminate()[0]
            assert SECRET not in said + daemon.log


@pytest.mark.parametrize(
    "command", [("run",), ("doctor", "--timeout", "1"), ("dlq", "list"), ("dlq", "show", "0:0"), ("config",)]
)
def test_a_traceback_shows_no_secret(command: tuple[str, ...], tmp_path: Path) -> None:
    """A property that librdkafka refuses, and whatever a command meets with a broker that is not there."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CDC_SYNC_")}
    properties = extra(tmp_path / "there-is-no-such.pem")
    variables |= {
        "PYTHONPATH": str(PROJECT),
        "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "CDC_SYNC_KAFKA__EXTRA": json.dumps(properties),
        "CDC_SYNC_TYPESENSE__API_KEY": SECRET,
        "CDC_SYNC_TYPESENSE__URL": f"http://127.0.0.1:{free_port()}",
        "CDC_SYNC_HTTP__PORT": "0",
        "CDC_SYNC_LOG__LEVEL": "debug",
    }
    arguments = [sys.executable, "-m", "cdc_sync", *command]
    done = subprocess.run(
        arguments, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert said
    assert (False, False, False) == (SECRET in said, PASSWORD in said, "Traceback" in said)
