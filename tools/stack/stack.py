"""All parts together: what is started, in which order, and where each one answers.

A part whose address is in the environment is used as it is; where `CDC_SYNC_TEST_CONTAINERS=1` the
others come from Docker images; otherwise they are processes of this machine.

| variable | part |
|---|---|
| `CDC_SYNC_TEST_KAFKA` | bootstrap servers, as the tests reach them |
| `CDC_SYNC_TEST_CONNECT` | URL of Connect's REST interface |
| `CDC_SYNC_TEST_POSTGRES` | connection string of a superuser, as the tests reach the server |
| `CDC_SYNC_TEST_REGISTRY` | URL of a schema registry (Confluent's interface) |
| `CDC_SYNC_TEST_KAFKA_FROM_CONNECT` | the same, as Connect reaches them |
| `CDC_SYNC_TEST_POSTGRES_FROM_CONNECT` | `host:port`, as Connect reaches it |
"""

from __future__ import annotations

import atexit
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import psycopg.conninfo

from tools.stack import jars, layout
from tools.stack.broker import broker, lists_topics
from tools.stack.connect import answers_rest, connect
from tools.stack.ledger import Ledger, sweep
from tools.stack.part import External, Part
from tools.stack.postgres import dsn, postgres, selects
from tools.stack.registry import lists_subjects, registry

__all__ = ["Source", "Stack"]


class Source(NamedTuple):
    """How a connector reaches PostgreSQL and the broker; the values behind `${env:SELLER_…}`."""

    host: str
    port: str
    user: str
    password: str
    bootstrap: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that `connect/debezium-config.json` names."""
        return {
            "SELLER_DB_HOST": self.host,
            "SELLER_DB_PORT": self.port,
            "SELLER_DB_USER": self.user,
            "SELLER_DB_PASSWORD": self.password,
            "SELLER_DB_NAME": "seller",
            "SELLER_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
        }


class _Origin(Protocol):
    """Where parts come from that the environment does not give."""

    def broker(self) -> Part: ...
    def postgres(self) -> Part: ...
    def registry(self) -> Part: ...
    def connect(self, source: Source, *, avro: bool) -> Part: ...
    def source(self, broker: Part, postgres: Part) -> Source: ...
    def close(self) -> None: ...


class _Processes:
    """Parts as child processes; one run folder holds their data and logs."""

    def __init__(self) -> None:
        sweep(layout.RUNS)
        layout.RUNS.mkdir(parents=True, exist_ok=True)
        self.run = Path(tempfile.mkdtemp(prefix=time.strftime("%H%M%S-"), dir=layout.RUNS))
        self.run.chmod(0o755)  # the server's account must be able to pass through it
        self._ledger = Ledger(self.run)

    def broker(self) -> Part:
        return broker(self.run, self._ledger)

    def postgres(self) -> Part:
        return postgres(self.run, self._ledger)

    def registry(self) -> Part:
        return registry(self.run, self._ledger)

    def connect(self, source: Source, *, avro: bool) -> Part:
        plugins = [jars.confluent_avro()] if avro else []
        return connect(
            self.run,
            self._ledger,
            bootstrap=source.bootstrap,
            environment=source.environment,
            plugins=plugins,
        )

    def source(self, broker: Part, postgres: Part) -> Source:
        parameters = psycopg.conninfo.conninfo_to_dict(dsn(postgres.address))
        return Source(
            str(parameters.get("host", "127.0.0.1")),
            str(parameters.get("port", "5432")),
            str(parameters.get("user", "postgres")),
            str(parameters.get("password") or "none"),
            broker.address,
        )

    def close(self) -> None:
        """Nothing beyond the parts themselves."""


class Stack:
    """The parts of one run.

    `start` brings them up, `stop` ends what was started, in reverse order.
    """

    def __init__(
        self,
        *,
        registry: bool = False,
        avro: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._environment = environment
        self._wants_avro = avro
        self._origin = self._choose_origin()
        self.broker: Part = self._given("broker", "CDC_SYNC_TEST_KAFKA") or self._origin.broker()
        self.postgres: Part = self._given("postgres", "CDC_SYNC_TEST_POSTGRES") or self._origin.postgres()
        self.registry: Part | None = (
            self._given("registry", "CDC_SYNC_TEST_REGISTRY") or self._origin.registry()
            if registry or avro
            else None
        )
        self._connect: Part | None = self._given("connect", "CDC_SYNC_TEST_CONNECT")
        self._has_env_provider = self._connect is None

    @property
    def connect(self) -> Part:
        """The Connect worker; it exists once the broker runs."""
        if self._connect is None:
            self._connect = self._origin.connect(self.source, avro=self._wants_avro)
        return self._connect

    @property
    def source(self) -> Source:
        """How a connector reaches PostgreSQL and the broker."""
        inside = self._origin.source(self.broker, self.postgres)
        postgres = self._environment.get("CDC_SYNC_TEST_POSTGRES_FROM_CONNECT")
        if postgres:
            host, port = layout.host_and_port(postgres)
            inside = inside._replace(host=host, port=str(port))
        kafka = self._environment.get("CDC_SYNC_TEST_KAFKA_FROM_CONNECT", inside.bootstrap)
        return inside._replace(bootstrap=kafka)

    @property
    def has_env_provider(self) -> bool:
        """Whether the worker itself puts in what `${env:SELLER_…}` names; a given one may not."""
        return self._has_env_provider

    def dsn(self, database: str = "postgres") -> str:
        """A connection string for the tests."""
        return dsn(self.postgres.address, database)

    def start(self) -> None:
        """Start every part and wait until all answer; whatever fails, nothing is left running."""
        atexit.register(self.stop)
        try:
            independent = [part for part in (self.broker, self.postgres, self.registry) if part]
            for part in independent:
                part.start()
            self.broker.wait_ready()
            self.connect.start()
            for part in [*independent, self.connect]:
                part.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End what was started. May be called twice."""
        for part in (self._connect, self.registry, self.postgres, self.broker):
            if part is not None:
                part.stop()
        self._origin.close()
        atexit.unregister(self.stop)

    def _choose_origin(self) -> _Origin:
        if self._environment.get("CDC_SYNC_TEST_CONTAINERS") == "1":
            from tools.stack.containers import Containers  # Docker's client is needed only here

            return Containers()
        return _Processes()

    def _given(self, name: str, variable: str) -> External | None:
        address = self._environment.get(variable)
        if not address:
            return None
        probes = {
            "broker": lambda: lists_topics(address),
            "postgres": lambda: selects(dsn(address)),
            "registry": lambda: lists_subjects(address),
            "connect": lambda: answers_rest(address),
        }
        return External(name, address.rstrip("/"), probes[name])
