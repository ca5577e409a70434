"""`cdc-sync catalog`: the event architecture, as text or as an AsyncAPI document."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Final

from cdc_sync.commands.door import DONE, OneLineParser, Subcommands, add_command
from cdc_sync.errors import ConfigError

__all__ = ["add_to"]

DESCRIPTION: Final = """\
Prints every topic, channel, room and event of the event architecture, with the groups and client ids that
take part; asks nobody. --asyncapi prints an AsyncAPI 3.0.0 document in JSON instead."""

EXAMPLES: Final = """\
  cdc-sync catalog
  cdc-sync catalog --service finance
  cdc-sync catalog --asyncapi > asyncapi.json"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`catalog`."""
    parser = add_command(
        commands,
        "catalog",
        show,
        summary="print the event architecture",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--asyncapi", action="store_true", help="an AsyncAPI 3.0.0 document in JSON")
    parser.add_argument("--service", metavar="S", help="only what this service sends and receives")


def show(options: argparse.Namespace) -> int:
    """`cdc-sync catalog`."""
    from cdc_sync.dispatcher import asyncapi

    services = {operation.service for operation in asyncapi.all_operations()}
    if options.service is not None and options.service not in services:
        raise ConfigError(
            f"--service: no service {options.service!r}; there are {', '.join(sorted(services))}"
        )
    if options.asyncapi:
        print(json.dumps(asyncapi.document(options.service), indent=2, ensure_ascii=False))
    else:
        print("\n".join(as_text(options.service)))
    return DONE


def as_text(service: str | None) -> Iterator[str]:
    """The tables, a line a row."""
    from cdc_sync.dispatcher import catalog

    def is_about(*services: str) -> bool:
        return service is None or service in services

    yield from table(
        "Change data capture (the daemon's)",
        [(t.topic, t.table, t.collection) for t in catalog.CDC_TABLES if is_about(catalog.CDC.service)],
    )
    yield from table(
        "Kafka topics",
        [
            (t.name, f"{t.producer} → {', '.join(t.consumers)}", t.meaning)
            for t in catalog.TOPICS
            if is_about(t.producer, *t.consumers)
        ],
    )
    yield from table(
        "Consumers",
        [
            (c.service, c.client_id, c.group_id)
            for c in (catalog.CDC, *catalog.CONSUMERS)
            if is_about(c.service)
        ],
    )
    yield from table("Producers", [p for p in catalog.PRODUCERS if is_about(p.service)])
    yield from table(
        "Redis channels",
        [
            (c.name, f"{c.publisher} → {', '.join(c.subscribers)}", c.meaning)
            for c in catalog.REDIS_CHANNELS
            if is_about(c.publisher, *c.subscribers)
        ],
    )
    yield from table(
        "WebSocket topics",
        [(name, of) for of, names in catalog.WEBSOCKET_TOPICS.items() if is_about(of) for name in names],
    )
    yield from table("WebSocket rooms", [(r,) for r in catalog.ROOMS if is_about(*catalog.WEBSOCKET_TOPICS)])
    receives = is_about(catalog.WEBHOOK.receiver)
    yield from table("Webhooks", [(e, catalog.WEBHOOK.header) for e in catalog.WEBHOOK_EVENTS if receives])
    yield from table("Emitter", [(e,) for e in catalog.EMITTER_EVENTS if receives])
    yield from table(
        "Additions of this project", [(a.name, a.meaning) for a in catalog.ADDITIONS if service is None]
    )


def table(title: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A title and its rows in columns; nothing without rows."""
    if not rows:
        return
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    yield title
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
