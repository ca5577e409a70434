"""The parts as Docker containers, by testcontainers; never run on the machine that wrote it.

All containers share one network, where they reach each other by alias; tests reach the mapped
ports. The broker has two listeners for that: `INSIDE` is announced as `broker:19092`, `OUTSIDE` as
a loopback port that is chosen before the container starts, because a broker must announce it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tools.stack import layout
from tools.stack.broker import lists_topics
from tools.stack.connect import answers_rest
from tools.stack.errors import NotReady, Unavailable
from tools.stack.part import Part, Probe
from tools.stack.postgres import SUPERUSER, dsn, selects
from tools.stack.registry import lists_subjects
from tools.stack.stack import Source

__all__ = ["Containers"]

BROKER_IMAGE = f"apache/kafka:{layout.KAFKA}"
CONNECT_IMAGE = f"quay.io/debezium/connect:{layout.DEBEZIUM}"
REGISTRY_IMAGE = f"apicurio/apicurio-registry:{layout.APICURIO}"
POSTGRES_IMAGE = "postgres:15"
TYPESENSE_IMAGE = "typesense/typesense:29.0"

_PASSWORD = "seller"
_ENV_PROVIDER = "org.apache.kafka.common.config.provider.EnvVarConfigProvider"


class ContainerPart:
    """One container with fixed host ports, so that a restart keeps its address."""

    def __init__(
        self,
        name: str,
        address: str,
        container: DockerContainer,
        probe: Probe,
        deadline_s: float = 120,
    ) -> None:
        self.name = name
        self.address = address
        self._container = container
        self._probe = probe
        self._deadline_s = deadline_s
        self._created = False

    def start(self) -> None:
        """Create and start it, or start the stopped one again with its data."""
        if self._created:
            self._wrapped().start()
            return
        try:
            self._container.start()
        except Exception as error:  # docker's client has one class per cause; all mean the same here
            raise Unavailable(f"the container of {self.name} cannot be started: {error}") from error
        self._created = True

    def stop(self) -> None:
        """Stop and remove it."""
        if self._created:
            self._container.stop()
            self._created = False

    def kill(self) -> None:
        """SIGKILL; the container stays, with its data."""
        self._wrapped().kill()

    def restart(self) -> None:
        """Stop it if it runs, start it with the same ports and data, wait until it answers."""
        self._wrapped().restart()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the probe succeeds.

        Raises: NotReady, with the tail of the container's log.
        """
        deadline = time.monotonic() + self._deadline_s
        reason: object = "never asked"
        while time.monotonic() < deadline:
            try:
                self._probe()
            except Exception as error:  # every client library has its own errors for "not yet"
                reason = error
                time.sleep(0.3)
            else:
                return
        tail = self._wrapped().logs(tail=40).decode(errors="replace")
        raise NotReady(f"{self.name} at {self.address} not ready: {reason}\n{tail}")

    def _wrapped(self) -> Any:
        return self._container.get_wrapped_container()


class Containers:
    """Makes the parts of one stack, in one Docker network."""

    def __init__(self) -> None:
        self._network = Network()
        try:
            self._network.create()
        except Exception as error:  # docker's client has one class per cause; all mean no engine
            raise Unavailable(f"no Docker engine answers: {error}") from error

    def broker(self) -> Part:
        """A broker of one node."""
        port = layout.free_port()
        container = self._container(BROKER_IMAGE, "broker", 9092, port)
        for name, value in _broker_environment(port).items():
            container.with_env(name, value)
        address = f"127.0.0.1:{port}"
        return ContainerPart("broker", address, container, lambda: lists_topics(address))

    def postgres(self) -> Part:
        """PostgreSQL with logical decoding.

        Its address is a connection string with the password.
        """
        port = layout.free_port()
        container = self._container(POSTGRES_IMAGE, "postgres", 5432, port)
        container.with_env("POSTGRES_PASSWORD", _PASSWORD)
        container.with_command(
            "postgres -c wal_level=logical -c max_replication_slots=60 -c max_wal_senders=60 "
            "-c max_connections=200 -c timezone=UTC"
        )
        address = f"host=127.0.0.1 port={port} user={SUPERUSER} password={_PASSWORD}"
        return ContainerPart("postgres", address, container, lambda: selects(dsn(address)))

    def registry(self) -> Part:
        """Apicurio Registry; Connect reaches it as `registry:8080`."""
        port = layout.free_port()
        container = self._container(REGISTRY_IMAGE, "registry", 8080, port)
        url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        return ContainerPart("registry", url, container, lambda: lists_subjects(url))

    def connect(self, source: Source, *, avro: bool) -> Part:
        """A worker of Debezium's image; `avro` turns Apicurio's converters on."""
        port = layout.free_port()
        container = self._container(CONNECT_IMAGE, "connect", 8083, port)
        settings = {
            **source.environment,
            "BOOTSTRAP_SERVERS": source.bootstrap,
            "GROUP_ID": "connect-1",
            "CONFIG_STORAGE_TOPIC": "connect-1-configs",
            "OFFSET_STORAGE_TOPIC": "connect-1-offsets",
            "STATUS_STORAGE_TOPIC": "connect-1-status",
            "CONNECT_OFFSET_FLUSH_INTERVAL_MS": "500",
            "CONNECT_SCHEDULED_REBALANCE_MAX_DELAY_MS": "0",
            "CONNECT_KEY_CONVERTER_SCHEMAS_ENABLE": "false",
            "CONNECT_VALUE_CONVERTER_SCHEMAS_ENABLE": "false",
            "CONNECT_CONFIG_PROVIDERS": "env",
            "CONNECT_CONFIG_PROVIDERS_ENV_CLASS": _ENV_PROVIDER,
            "ENABLE_APICURIO_CONVERTERS": "true" if avro else "false",
        }
        for name, value in settings.items():
            container.with_env(name, value)
        url = f"http://127.0.0.1:{port}"
        return ContainerPart("connect", url, container, lambda: answers_rest(url))

    def source(self, broker: Part, postgres: Part) -> Source:
        """Inside the network the aliases are the hosts."""
        return Source("postgres", "5432", SUPERUSER, _PASSWORD, "broker:19092")

    def close(self) -> None:
        """Remove the network, once its containers are gone."""
        self._network.remove()

    def _container(self, image: str, alias: str, inside: int, outside: int) -> DockerContainer:
        container = DockerContainer(image)
        container.with_network(self._network)
        container.with_network_aliases(alias)
        container.with_bind_ports(inside, outside)
        return container


def typesense(api_key: str) -> ContainerPart:
    """A Typesense of its own, on no shared network; its address is a URL."""
    port = layout.free_port()
    container = DockerContainer(TYPESENSE_IMAGE)
    container.with_bind_ports(8108, port)
    container.with_command(f"--data-dir /tmp --api-key {api_key}")
    return ContainerPart("typesense", f"http://127.0.0.1:{port}", container, _connects(port))


def _connects(port: int) -> Callable[[], None]:
    def probe() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            pass

    return probe


def _broker_environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "OUTSIDE://:9092,CONTROLLER://:9093,INSIDE://:19092",
        "KAFKA_ADVERTISED_LISTENERS": f"OUTSIDE://127.0.0.1:{port},INSIDE://broker:19092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": ",".join(
            f"{name}:PLAINTEXT" for name in ("CONTROLLER", "OUTSIDE", "INSIDE")
        ),
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
        "KAFKA_NUM_PARTITIONS": "3",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_MESSAGE_MAX_BYTES": "10485760",
    }
