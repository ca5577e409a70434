"""The seller database and its connector, as operators have them and as a test wants them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from tools.stack.layout import PROJECT
from tools.stack.signals import SIGNAL_TABLE
from tools.stack.stack import Stack

__all__ = ["CONNECTOR", "TABLES", "connector_config", "create_database", "drop_database"]

TABLES = (
    "Organizer",
    "Merchant",
    "Category",
    "Device",
    "SaleChannel",
    "Product",
    "ProductInfo",
)
CONNECTOR = PROJECT / "connect" / "debezium-config.json"
_SCHEMA = Path(__file__).with_name("seller.sql")
_PREFIX = "nx.seller"
_PLACEHOLDER = re.compile(r"\$\{env:(\w+)\}")


def create_database(stack: Stack, name: str) -> str:
    """A fresh database with the seven tables and the signal table.

    Returns its connection string.
    """
    with psycopg.connect(stack.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    conninfo = stack.dsn(name)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(_SCHEMA.read_bytes())
        connection.execute(SIGNAL_TABLE.encode())
    return conninfo


def drop_database(stack: Stack, name: str) -> None:
    """Remove a database; its slots must be gone."""
    with psycopg.connect(stack.dsn(), autocommit=True) as connection:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        connection.execute(statement.format(sql.Identifier(name)))


def connector_config(
    stack: Stack,
    *,
    database: str,
    prefix: str,
    overrides: Mapping[str, str | None] | None = None,
) -> dict[str, str]:
    """The shipped connector, turned to one database and one topic prefix.

    What differs from the file: the prefix in every setting that has it, names of slot and
    publication, shorter intervals, and `overrides` (None removes a setting). A worker of ours puts
    in the values of `${env:…}` itself; for a given one it is done here.
    """
    shipped: dict[str, str] = json.loads(CONNECTOR.read_text())["config"]
    config = {name: _with_prefix(value, prefix) for name, value in shipped.items()}
    config |= {
        "database.dbname": database,
        "slot.name": database,
        "signal.kafka.groupId": f"{prefix}.signal",
        "custom.metric.tags": f"database={database}",
        "heartbeat.interval.ms": "500",
        "status.update.interval.ms": "500",
        "signal.poll.interval.ms": "500",
        "topic.creation.changes.partitions": "3",
        "retriable.restart.connector.wait.ms": "1000",
        "slot.retry.delay.ms": "500",
    }
    for name, value in (overrides or {}).items():
        if value is None:
            config.pop(name, None)
        else:
            config[name] = value
    if not stack.has_env_provider:
        environment = stack.source.environment
        config = {
            name: _PLACEHOLDER.sub(lambda found: environment[found[1]], value)
            for name, value in config.items()
        }
    return config


def _with_prefix(value: str, prefix: str) -> str:
    return value.replace(re.escape(_PREFIX), re.escape(prefix)).replace(_PREFIX, prefix)
