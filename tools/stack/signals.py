"""Signals to a running connector: through its table in the database, or through its Kafka topic."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

import psycopg
from confluent_kafka import Producer

from tools.stack.errors import NotReady

__all__ = ["SIGNAL_TABLE", "signal_by_kafka", "signal_by_table", "snapshot_request"]

SIGNAL_TABLE = """
CREATE TABLE debezium_signal (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data text)
"""


def snapshot_request(tables: Sequence[str]) -> dict[str, object]:
    """An incremental snapshot of tables in schema `public`; names are patterns to Debezium."""
    return {"type": "incremental", "data-collections": [f"public.{table}" for table in tables]}


def signal_by_table(conninfo: str, kind: str, data: object) -> str:
    """Insert a signal; returns its id."""
    identity = str(uuid.uuid4())
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO debezium_signal (id, type, data) VALUES (%s, %s, %s)",
            [identity, kind, json.dumps(data)],
        )
    return identity


def signal_by_kafka(bootstrap: str, topic: str, prefix: str, kind: str, data: object) -> str:
    """Send a signal; returns its id.

    The key is the connector's `topic.prefix`. The topic must have existed with exactly one
    partition before the connector started: otherwise the signal is ignored without a word.
    """
    identity = str(uuid.uuid4())
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    body = json.dumps({"id": identity, "type": kind, "data": data})
    producer.produce(topic, key=prefix, value=body)
    if producer.flush(10) != 0:
        raise NotReady(f"a signal to {topic} was not acknowledged within 10 s")
    return identity
