"""A Kafka broker of one node (KRaft: it is its own controller)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tools.stack import jars, packages
from tools.stack.errors import NotReady
from tools.stack.layout import free_port
from tools.stack.ledger import Ledger
from tools.stack.part import Command, LocalProcess

__all__ = ["broker", "lists_topics"]

_CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=data
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=true
message.max.bytes=10485760
"""
_LOGGING = """\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c %m%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
"""


def broker(run: Path, ledger: Ledger, *, more_properties: str = "") -> LocalProcess:
    """A formatted broker on free loopback ports, not started yet; its address is for clients."""
    libs = jars.jars(jars.BROKER) / "libs"
    folder = run / "broker"
    folder.mkdir(parents=True)
    port, controller = free_port(), free_port()
    properties = _PROPERTIES.format(port=port, controller=controller) + more_properties
    (folder / "server.properties").write_text(properties)
    (folder / "log4j2.properties").write_text(_LOGGING)
    java = [
        packages.java(),
        "-Dlog4j2.configurationFile=log4j2.properties",
        "-XX:TieredStopAtLevel=1",
    ]
    _format(java, libs, folder)
    address = f"127.0.0.1:{port}"
    arguments = [*java, "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{libs}/*"]
    return LocalProcess(
        "broker",
        address,
        Command([*arguments, "kafka.Kafka", "server.properties"], folder),
        lambda: lists_topics(address),
        ledger=ledger,
        log=run / "logs" / "broker.log",
    )


def lists_topics(address: str) -> object:
    """Topics of a broker.

    An open port comes a little earlier than that. Raises while it is not up.
    """
    quiet: dict[str, str | int | float | bool] = {
        "bootstrap.servers": address,
        "log_level": 0,
        "socket.timeout.ms": 2000,
    }
    return AdminClient(quiet).list_topics(timeout=2.0)


def _format(java: list[str], libs: Path, folder: Path) -> None:
    tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", "server.properties"]
    done = subprocess.run(
        [*java, "-cp", f"{libs}/*", *tool],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise NotReady(f"the broker's storage could not be formatted:\n{done.stdout}{done.stderr}")
