"""`cdc-sync catalog`: the event architecture, as text or as an AsyncAPI document."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
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
    """The tables, a line a row; with a service, only the rows that it takes part in."""
    for title, rows in tables():
        yield from table(title, [row for row, services in rows if service is None or service in services])


Rows = Iterable[tuple[tuple[str, ...], Collection[str]]]
"""Rows, and the services that take part in each."""


def tables() -> Iterator[tuple[str, Rows]]:
    """Every table of the catalog."""
    from cdc_sync.dispatcher import catalog as c

    everybody = {*(p.service for p in c.PRODUCERS), *(x.service for x in c.CONSUMERS), *c.WEBSOCKET_TOPICS}
    receiver = {c.WEBHOOK.receiver}
    changes = [((t.topic, t.table, t.collection), {c.CDC.service}) for t in c.CDC_TABLES]
    topics = [
        ((t.name, f"{t.producer} → {', '.join(t.consumers)}", t.meaning), {t.producer, *t.consumers})
        for t in c.TOPICS
    ]
    channels = [
        ((r.name, f"{r.publisher} → {', '.join(r.subscribers)}", r.meaning), {r.publisher, *r.subscribers})
        for r in c.REDIS_CHANNELS
    ]
    frames = [((name, of), {of}) for of, names in c.WEBSOCKET_TOPICS.items() for name in names]
    yield "Change data capture (the daemon's)", changes
    yield "Kafka topics", topics
    yield "Consumers", [(tuple(x), {x.service}) for x in (c.CDC, *c.CONSUMERS)]
    yield "Producers", [(tuple(p), {p.service}) for p in c.PRODUCERS]
    yield "Redis channels", channels
    yield "WebSocket topics", frames
    yield "WebSocket rooms", [((room,), set(c.WEBSOCKET_TOPICS)) for room in c.ROOMS]
    yield "Webhooks", [((event, c.WEBHOOK.header), receiver) for event in c.WEBHOOK_EVENTS]
    yield "Emitter", [((event,), receiver) for event in c.EMITTER_EVENTS]
    yield "Additions of this project", [((a.name, a.meaning), everybody) for a in c.ADDITIONS]


def table(title: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A title and its rows in columns; nothing without rows."""
    if not rows:
        return
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    yield title
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
