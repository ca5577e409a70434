"""Record the demo's data from a real PostgreSQL, Debezium and Kafka: `python -m tools.record_demo`.

Fills a database with the catalogue, lets the connector of `connect/debezium-config.json` read it, plays the
day's changes, and writes all messages with what the collections must hold into `cdc_sync/demo/`. What the
rows hold comes from a fixed seed; times and positions in the log are those of the run. What the collections
must hold comes from SQL by the end-to-end tests' oracle, not from the daemon's code.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import confluent_kafka
import psycopg
from psycopg import sql

from cdc_sync.demo.recording import MESSAGES, STORY, digest
from tests.e2e.oracle import expected_collections
from tests.e2e.quiet import wait_streamed
from tools.demo_changes import Change, Write, day
from tools.demo_rows import OPENED, POISON_ID, Row, Rows, catalogue
from tools.stack import Connectors, Stack, StackError, Topics, drop_slot
from tools.stack.layout import DEBEZIUM, KAFKA, PROJECT
from tools.stack.seller import TABLES, connector_config, create_database, drop_database

SEED: Final = 20261123
NAME: Final = "seller"
PREFIX: Final = "nx.seller"
TOPICS: Final = [f"{PREFIX}.public.{table}" for table in TABLES]
PARTITIONS: Final = 3
DAY_BEGINS: Final = OPENED + timedelta(days=1)
PLACEHOLDER: Final = b"__debezium_unavailable_value"

Connection = psycopg.Connection[Any]
Line = dict[str, Any]


def main() -> int:
    """0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--out", type=Path, default=PROJECT / "cdc_sync" / "demo", help="the folder to write to"
    )
    options = parser.parse_args()
    stack = Stack()
    try:
        stack.start()
        record(stack, options.out)
    except StackError as error:
        print(f"record_demo: {error}", file=sys.stderr)
        return 1
    finally:
        stack.stop()
    return 0


def record(stack: Stack, out: Path) -> None:
    """Play and record everything on these parts, and take it away again."""
    topics = Topics(stack.broker.address)
    if topics.names(PREFIX):
        raise StackError(f"there are topics {PREFIX}… already: record on a broker of its own")
    topics.create([f"{PREFIX}.signal"], partitions=1)
    topics.create(TOPICS, partitions=PARTITIONS)
    conninfo = create_database(stack, NAME)
    connectors = Connectors(stack.connect.address)
    try:
        story, step_of = play(stack, conninfo, connectors)
        messages = topics.read(TOPICS)
        write(out, lines(messages, step_of), story)
    finally:
        connectors.delete(NAME)
        drop_slot(conninfo, NAME)
        drop_database(stack, NAME)
        topics.delete(topics.names(PREFIX))


def play(stack: Stack, conninfo: str, connectors: Connectors) -> tuple[Line, dict[int, int]]:
    """Make everything happen; the story, and the step of each transaction."""
    random = Random(SEED)
    rows = catalogue(random)
    changes = day(random, rows)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for table, of in rows.items():
            for row in of:
                insert(connection, table, row)
        config = connector_config(stack, database=NAME, prefix=PREFIX)
        connectors.register(NAME, config, conninfo)
        step_of: dict[int, int] = {}
        for step, change in enumerate(changes, 1):
            for n, transaction in enumerate(change.transactions):
                at = DAY_BEGINS + timedelta(minutes=step, seconds=n)
                step_of[perform(connection, transaction, at)] = step
        digests = {
            name: {identity: digest(document) for identity, document in sorted(found.documents.items())}
            for name, found in expected_collections(conninfo).items()
        }
        step_of[restore(connection, rows, changes)] = len(changes) + 1
        wait_streamed(conninfo, NAME)
        postgres = str(connection.info.parameter_status("server_version")).split()[0]
    closing = {"kind": "closing", "what": "everything is as it was in the morning, in one transaction"}
    story = {
        "made_with": {"Debezium": DEBEZIUM, "PostgreSQL": postgres, "Kafka": KAFKA},
        "steps": [*({"kind": change.kind, "what": change.what} for change in changes), closing],
        "poison": [["Product", POISON_ID]],
        "digests": digests,
    }
    return story, step_of


# The database ---------------------------------------------------------------------------------------------


def perform(connection: Connection, transaction: Sequence[Write], at: datetime) -> int:
    """One transaction, whose rows say that they were modified at this time; its number."""
    stamp = {"modified_at": at}
    with connection.transaction():
        for each in transaction:
            if each.columns is None:
                delete(connection, each.table, each.id)
            elif each.is_new:
                insert(connection, each.table, each.columns | stamp)
            else:
                update(connection, each.table, each.id, each.columns | stamp)
        return number_of(connection)


def restore(connection: Connection, rows: Rows, changes: Sequence[Change]) -> int:
    """Bring every row that was changed back to what it was, in one transaction; its number."""
    originals = {(table, row["id"]): row for table, of in rows.items() for row in of}
    touched = {
        (w.table, identity)
        for change in changes
        for transaction in change.transactions
        for w in transaction
        for identity in (w.id, (w.columns or {}).get("id", w.id))
    }
    stamp = {"modified_at": DAY_BEGINS + timedelta(hours=23)}
    with connection.transaction():
        for table, identity in sorted(touched):
            delete(connection, table, identity)
        for table, identity in sorted(touched & originals.keys()):
            insert(connection, table, originals[table, identity] | stamp)
        return number_of(connection)


def number_of(connection: Connection) -> int:
    """The running transaction's, as `source.txId` has it."""
    row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    return int(row[0]) % 2**32


def insert(connection: Connection, table: str, row: Row) -> None:
    """A whole row."""
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    values = sql.SQL(", ").join([sql.Placeholder()] * len(row))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), names, values)
    connection.execute(statement, list(row.values()))


def update(connection: Connection, table: str, identity: str, columns: Row) -> None:
    """Some columns of a row that is there."""
    sets = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns)
    statement = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), sets)
    if connection.execute(statement, [*columns.values(), identity]).rowcount != 1:
        raise StackError(f"there is no {table} {identity}")


def delete(connection: Connection, table: str, identity: str) -> None:
    """A row, if it is there."""
    connection.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table)), [identity])


# The messages ---------------------------------------------------------------------------------------------


def lines(messages: Iterable[confluent_kafka.Message], step_of: dict[int, int]) -> list[Line]:
    """One line a message, in the order in which Debezium wrote them. Read by partition and offset."""
    placed: list[tuple[int, int, Line]] = []
    written_ns, step = 0, 0
    for message in messages:
        value = message.value()
        if value is not None:  # a tombstone follows its delete
            envelope = json.loads(value)
            written_ns = envelope["ts_ns"]
            step = 0 if envelope["op"] == "r" else step_of[envelope["source"]["txId"]]
        placed.append((step, written_ns, line(message, step)))
    placed.sort(key=lambda each: each[:2])
    return [each[2] for each in placed]


def line(message: confluent_kafka.Message, step: int) -> Line:
    """A message in the format of the fixtures, and its step."""
    headers: Any = message.headers() or []
    return {
        "step": step,
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": encoded(message.key()),
        "value": encoded(message.value()),
        "headers": [[name, encoded(value)] for name, value in headers],
    }


def encoded(value: str | bytes | None) -> str | None:
    """Base64 of bytes."""
    if value is None:
        return None
    return b64encode(value.encode() if isinstance(value, str) else value).decode()


def write(out: Path, found: list[Line], story: Line) -> None:
    """Both files, if the recording shows what it should."""
    steps = {line["step"] for line in found}
    if steps != set(range(len(story["steps"]) + 1)):
        raise StackError(f"messages are missing: there are steps {sorted(steps)}")
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in found)
    if not any(has_placeholder(line) for line in found):
        raise StackError("no event leaves out a large value: the long stories are too short")
    (out / MESSAGES).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    (out / STORY).write_text(json.dumps(story, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(f"{len(found)} messages, {len(text) / 1e6:.1f} MB of text; {len(story['steps'])} steps")


def has_placeholder(line: Line) -> bool:
    """Whether this event leaves out a large value."""
    return line["value"] is not None and PLACEHOLDER in b64decode(line["value"])


if __name__ == "__main__":
    sys.exit(main())
