"""Record the Avro schemas of the seven topics from a real Debezium: `python -m tools.record_schemas`.

Writes `schemas/avro/<table>-key.avsc` and `<table>-value.avsc` as Confluent's converter registers them for
the connector of `connect/debezium-config.json`. The end-to-end tests compare them with what is registered.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Final

import psycopg

from tests.e2e.avro import converters
from tests.e2e.quiet import wait_streamed
from tools.stack import Connectors, Stack, StackError, drop_slot
from tools.stack.layout import PROJECT
from tools.stack.rest import request
from tools.stack.seller import TABLES, connector_config, create_database, drop_database

__all__ = ["registered_schemas"]

NAME: Final = "schemas"
PREFIX: Final = "nx.seller"
FOLDER: Final = PROJECT / "schemas" / "avro"
ROWS: Final[Sequence[str]] = (
    """INSERT INTO "Organizer" (id, name, slug, status) VALUES ('a', '{}', 'a', 'a')""",
    """INSERT INTO "Merchant" (id, organizer_id, name, slug, status) VALUES ('a', 'a', '{}', 'a', 'a')""",
    """INSERT INTO "Category" (id, merchant_id, name, status) VALUES ('a', 'a', '{}', 'a')""",
    """INSERT INTO "Device" (id, merchant_id, name, status) VALUES ('a', 'a', 'a', 'a')""",
    """INSERT INTO "SaleChannel" (id, merchant_id, name, kind, status) VALUES ('a', 'a', '{}', 'a', 'a')""",
    """INSERT INTO "Product" (id, merchant_id, sku, status) VALUES ('a', 'a', 'a', 'a')""",
    """INSERT INTO "ProductInfo" (id, product_id, name) VALUES ('a', 'a', '{}')""",
)
"""One a table: a topic's schemas are registered with its first record."""


def registered_schemas(registry_url: str, prefix: str) -> dict[str, str]:
    """File name → schema of the seven topics' keys and values, in the names of `nx.seller`."""
    found = {}
    for table in TABLES:
        for part in ("key", "value"):
            subject = urllib.parse.quote(f"{prefix}.public.{table}-{part}", safe="")
            answer = json.loads(request(f"{registry_url}/subjects/{subject}/versions/latest"))
            schema = answer["schema"].replace(f"{prefix}.public", f"{PREFIX}.public")
            found[f"{table}-{part}.avsc"] = json.dumps(json.loads(schema), indent=2) + "\n"
    return found


def record(stack: Stack) -> None:
    """Let a connector write a row of each table, and keep what it has registered."""
    if stack.registry is None:
        raise StackError("there is no registry")
    conninfo = create_database(stack, NAME)
    connectors = Connectors(stack.connect.address)
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for statement in ROWS:
                connection.execute(statement.encode())
        overrides = converters(stack)
        config = connector_config(stack, database=NAME, prefix=PREFIX, overrides=overrides)
        connectors.register(NAME, config, conninfo)
        wait_streamed(conninfo, NAME)
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in registered_schemas(stack.registry.address, PREFIX).items():
            (FOLDER / name).write_text(text, "utf-8")
    finally:
        connectors.delete(NAME)
        drop_slot(conninfo, NAME)
        drop_database(stack, NAME)


def main() -> int:
    """0 done, 1 failed."""
    stack = Stack(avro=True)
    try:
        stack.start()
        record(stack)
    except StackError as error:
        print(f"record_schemas: {error}", file=sys.stderr)
        return 1
    finally:
        stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
