"""One test's own world.

Database, connector, topics, search server, daemons; and its final judgement.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Message

from tools.stack import Connectors, Stack, Topics, drop_slot
from tools.stack.seller import TABLES, connector_config, create_database, drop_database
from tools.stack.signals import signal_by_kafka, signal_by_table, snapshot_request

from .avro import decoded_key
from .compare import Allowed, Server, compare_all
from .daemon import Daemon, environment
from .oracle import expected_collections
from .quiet import NotQuiet, wait_settled, wait_streamed
from .shared import PROJECT

__all__ = ["MakeWorld", "World"]

_ACCOUNTING_S = 5.0


class World:
    """Nothing in it is shared with another test but the servers. Use `close` at the end."""

    def __init__(self, stack: Stack, topics: Topics, make_server: Callable[[], Server], folder: Path) -> None:
        """`make_server` is called when the search server is needed: not every test does."""
        self.name = f"e2e_{uuid.uuid4().hex[:10]}"
        self.prefix = f"nx.{self.name}"
        self.stack = stack
        self.topics = topics
        self._make_server = make_server
        self.folder = folder
        self.group = f"{self.name}-group"
        self.dlq_topic = f"{self.prefix}.cdc.dlq"
        self.control_topic = f"{self.prefix}.cdc.control"
        self.connectors = Connectors(stack.connect.address)
        self.conninfo = create_database(stack, self.name)
        self.daemons: list[Daemon] = []
        self.may_be_dead_lettered: set[tuple[str, str]] = set()
        self._has_connector = False
        self._uses_registry = False

    @cached_property
    def server(self) -> Server:
        """The search server, empty at first."""
        return self._make_server()

    @property
    def table_topics(self) -> list[str]:
        """The seven change topics."""
        return [f"{self.prefix}.public.{table}" for table in TABLES]

    @property
    def registry_url(self) -> str:
        """Where the schema registry answers; empty where there is none."""
        return self.stack.registry.address if self.stack.registry is not None else ""

    @property
    def signal_topic(self) -> str:
        """Where signals for the connector are sent."""
        return f"{self.prefix}.signal"

    # Bringing it up

    def set_replica_identity(self, identity: str, tables: Sequence[str] = TABLES) -> None:
        """FULL or DEFAULT."""
        for table in tables:
            self.execute(f'ALTER TABLE "{table}" REPLICA IDENTITY {identity}')

    def start_connector(
        self,
        overrides: Mapping[str, str | None] | None = None,
        *,
        create_topics: bool = True,
    ) -> None:
        """Register the shipped connector for this world; returns when it streams.

        Without `create_topics` each change topic appears with its first record, as on a new site.
        """
        self.topics.create([self.signal_topic], partitions=1)
        if create_topics:
            self.topics.create(self.table_topics, partitions=3, config={"cleanup.policy": "compact"})
        config = connector_config(self.stack, database=self.name, prefix=self.prefix, overrides=overrides)
        self._uses_registry |= any(name.endswith("schema.registry.url") for name in config)
        self._has_connector = True
        self.connectors.register(self.name, config, self.conninfo)

    def reconfigure_connector(self, overrides: Mapping[str, str | None]) -> None:
        """Give the running connector other settings; returns when it streams again."""
        config = connector_config(self.stack, database=self.name, prefix=self.prefix, overrides=overrides)
        self._uses_registry |= any(name.endswith("schema.registry.url") for name in config)
        self.connectors.register(self.name, config, self.conninfo)

    def wait_streaming(self, *, deadline_s: float = 90.0) -> None:
        """Return when the connector streams again after a part was killed."""
        self.connectors.wait_streaming(self.name, self.name, self.conninfo, deadline_s=deadline_s)

    def start_daemon(self, *, ready: bool = True, **settings: str) -> Daemon:
        """One more replica; `settings` are added to what every replica gets."""
        log = self.folder / f"daemon-{len(self.daemons)}.log"
        daemon = Daemon({**self.settings, **settings}, log)
        self.daemons.append(daemon)
        daemon.start(ready=ready)
        return daemon

    @property
    def settings(self) -> dict[str, str]:
        """What every process of this world is told; of the registry only where its connector uses one."""
        registry = {"CDC_SYNC_SCHEMA_REGISTRY__URL": self.registry_url} if self._uses_registry else {}
        return registry | {
            "CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": self.stack.broker.address,
            "CDC_SYNC_KAFKA__GROUP_ID": self.group,
            "CDC_SYNC_KAFKA__TOPIC_PREFIX": f"{self.prefix}.public",
            "CDC_SYNC_KAFKA__DLQ_TOPIC": self.dlq_topic,
            "CDC_SYNC_KAFKA__CONTROL_TOPIC": self.control_topic,
            # Short, so that a killed member is given up soon and a new topic is found soon.
            "CDC_SYNC_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "CDC_SYNC_KAFKA__EXTRA": json.dumps({"topic.metadata.refresh.interval.ms": 1000}),
            "CDC_SYNC_TYPESENSE__URL": self.server.url,
            "CDC_SYNC_TYPESENSE__API_KEY": self.server.api_key,
        }

    def command(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """`cdc-sync` with these arguments, started; its output is read by `communicate`."""
        return subprocess.Popen(
            [sys.executable, "-m", "cdc_sync", *arguments],
            cwd=PROJECT,
            env=environment({**self.settings, **settings}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Stop the daemons and remove what this world left on the servers."""
        for daemon in self.daemons:
            daemon.kill()
        if self._has_connector:
            self.connectors.delete(self.name)
            drop_slot(self.conninfo, self.name)
        drop_database(self.stack, self.name)
        self.topics.delete(self.topics.names(self.prefix))

    # Acting on it

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """One statement in a transaction of its own; its rows, if it has any."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def snapshot(self, tables: Sequence[str], *, by_kafka: bool = False) -> None:
        """Ask for an incremental snapshot; returns at once."""
        request = snapshot_request(tables)
        if by_kafka:
            signal_by_kafka(
                self.stack.source.bootstrap if not self.stack.has_env_provider else self.stack.broker.address,
                self.signal_topic,
                self.prefix,
                "execute-snapshot",
                request,
            )
        else:
            signal_by_table(self.conninfo, "execute-snapshot", request)

    def wait_reads(self, table: str, count: int, *, deadline_s: float = 60.0) -> None:
        """Return when the topic of a table holds so many rows of incremental snapshots."""
        topic = f"{self.prefix}.public.{table}"
        deadline = time.monotonic() + deadline_s
        found = 0
        while time.monotonic() < deadline:
            found = sum(
                b'"snapshot":"incremental"' in (message.value() or b"")
                for message in self.topics.read([topic])
            )
            if found >= count:
                return
            time.sleep(0.3)
        raise NotQuiet(f"{topic} holds {found} rows of incremental snapshots, not {count}")

    # Judging it

    def settle(self, *, deadline_s: float = 90.0) -> None:
        """Return when everything so far is read, written and committed.

        Raises:
            NotQuiet: with what is under way and what the daemons said last.
        """
        wait_streamed(self.conninfo, self.name, deadline_s=deadline_s)
        try:
            wait_settled(
                self.topics,
                self.group,
                self.table_topics,
                deadline_s=deadline_s,
                check=self._check_daemons,
            )
        except NotQuiet as error:
            tails = "\n".join(f"--- {daemon.log}\n{daemon.tail()}" for daemon in self.daemons)
            raise NotQuiet(f"{error}\n{tails}") from error

    def letters(self) -> list[Message]:
        """Every dead letter."""
        if self.dlq_topic not in self.topics.names(self.dlq_topic):
            return []
        return self.topics.read([self.dlq_topic])

    def named_rows(self) -> set[tuple[str, str]]:
        """Table and id of every row that a dead letter is about."""
        return {self.row_of(letter) for letter in self.letters()}

    def differences(self) -> list[str]:
        """Where an index at rest is not the function of the database, whatever was dead-lettered."""
        expected = expected_collections(self.conninfo)
        return [str(differs) for differs in compare_all(self.server, expected, Allowed())]

    def judge(
        self,
        *,
        may_be_dead_lettered: set[tuple[str, str]] | None = None,
        exact_decimals: bool = True,
    ) -> None:
        """Settle, then assert convergence, the dead letters and the accounting.

        Only rows in `may_be_dead_lettered`, of this judgement or an earlier one, may have letters;
        only rows that have one may differ.
        """
        self.may_be_dead_lettered |= may_be_dead_lettered or set()
        self.settle()
        letters = self.letters()
        named = {self.row_of(letter) for letter in letters}
        unexpected = named - self.may_be_dead_lettered
        assert not unexpected, "\n".join(
            describe(letter) for letter in letters if self.row_of(letter) in unexpected
        )
        allowed = Allowed(frozenset(named), exact_decimals=exact_decimals)
        differences = compare_all(self.server, expected_collections(self.conninfo), allowed)
        assert not differences, "\n" + "\n".join(map(str, differences))
        self._check_accounting()

    def row_of(self, letter: Message) -> tuple[str, str]:
        """Table and id of the row that a dead letter is about; the id is empty for a message without key."""
        topic = letter_header(letter, "__connect.errors.topic")
        raw = letter.key()
        if raw is None:
            return topic.rpartition(".")[2], ""
        key = decoded_key(raw, self.registry_url)
        return topic.rpartition(".")[2], str(key["id"])

    def _check_accounting(self) -> None:
        """Each running replica accounts for all it has consumed."""
        problems = [text for d in self.daemons if d.is_running() for text in self.account(d)]
        assert not problems, problems

    def account(self, daemon: Daemon) -> list[str]:
        """What does not add up: consumed = the sum of all outcomes, by table, and no span was wrong."""
        deadline = time.monotonic() + _ACCOUNTING_S
        while True:
            consumed = daemon.metric("cdc_sync_events_consumed_total")
            outcomes = daemon.metric("cdc_sync_events_total")
            if consumed == outcomes or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        problems = [] if consumed == outcomes else [f"consumed {consumed} and accounted for {outcomes}"]
        errors = sum(daemon.metric("cdc_sync_accounting_errors_total").values())
        return [*problems, f"cdc_sync_accounting_errors_total is {errors:.0f}"] if errors else problems

    def _check_daemons(self) -> None:
        if not any(daemon.is_running() for daemon in self.daemons):
            raise NotQuiet("no daemon runs")


MakeWorld = Callable[[], World]
"""Makes one more world, which ends with the test."""


def letter_header(letter: Message, name: str) -> str:
    """The text of one header of a letter; a letter without it is a failure."""
    headers = dict(letter.headers() or [])
    value = headers[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def describe(letter: Message) -> str:
    """One line about a letter."""
    reason = letter_header(letter, "__connect.errors.exception.message")
    where = "/".join(
        letter_header(letter, f"__connect.errors.{part}") for part in ("topic", "partition", "offset")
    )
    return f"dead letter of {where}: {reason}"
