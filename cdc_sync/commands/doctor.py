"""`cdc-sync doctor`: is everything as the daemon needs it, and what to do where it is not."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cdc_sync.commands.door import (
    DONE,
    FAILED,
    OneLineParser,
    Subcommands,
    add_command,
    positive,
    printable,
    started,
)
from cdc_sync.errors import CdcSyncError, ConfigError

if TYPE_CHECKING:
    from cdc_sync.config import Settings
    from cdc_sync.doctor import Finding
    from cdc_sync.doctor.facts import BrokerFacts
    from cdc_sync.routing import Router

__all__ = ["add_to", "findings"]

DESCRIPTION: Final = """\
Checks what the daemon depends on, a line each: ok, warning or error, what was found, and the cure.

Kafka: the broker, the change topics and their policies, the dead letter topic, the consumer group and its
lag, and how the newest messages are written. The schema registry, where one is set. Typesense: nodes,
version, key, aliases, schemas. It only reads: it writes nothing to Kafka or Typesense and never joins the
daemon's group, so it may run beside it. Exit code 1 when a line is an error."""

EXAMPLES: Final = """\
  cdc-sync doctor                                    before the first start, or when something is odd
  cdc-sync doctor --json | jq 'select(.level!="ok")' only what is wrong
  cdc-sync doctor --timeout 2 --samples 50           quicker to give up, more messages looked at"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`doctor`."""
    parser = add_command(
        commands, "doctor", examine, summary="check everything", description=DESCRIPTION, examples=EXAMPLES
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--timeout", type=positive, default=5, metavar="S", help="wait for an answer (default: 5 s)"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=5,
        metavar="N",
        help="newest messages to look at in each partition (default: 5)",
    )


def examine(options: argparse.Namespace) -> int:
    """`cdc-sync doctor`."""
    from cdc_sync.doctor import Level

    settings = started()
    levels: Counter[Level] = Counter()
    for finding in findings(settings, timeout_s=options.timeout, samples=options.samples):
        levels[finding.level] += 1
        print(as_json(finding) if options.json else as_text(finding), flush=True)
    if not options.json:
        print(", ".join(f"{levels[level]} {level.value}" for level in Level))
    return FAILED if levels[Level.ERROR] else DONE


def as_json(finding: Finding) -> str:
    """One object on one line."""
    return json.dumps({**finding._asdict(), "level": finding.level.value}, ensure_ascii=False)


def as_text(finding: Finding) -> str:
    """A line, and one more for the cure."""
    text = f"{finding.level.value:<7}  {printable(finding.subject)}: {printable(finding.text)}"
    return f"{text}\n{'':9}→ {printable(finding.cure)}" if finding.cure else text


def findings(settings: Settings, *, timeout_s: float, samples: int) -> Iterator[Finding]:
    """Every finding, as it comes. Raises `ConfigError` for settings that no client takes."""
    from cdc_sync.app import load_router

    router = load_router(settings.mappers)
    yield from kafka_findings(settings, router, timeout_s=timeout_s, samples=samples)
    yield from server_findings(settings, router, timeout_s=timeout_s)


def kafka_findings(
    settings: Settings, router: Router, *, timeout_s: float, samples: int
) -> Iterator[Finding]:
    """About Kafka; one line when no broker answers."""
    from cdc_sync.app import kafka_config
    from cdc_sync.doctor import kafka_checks
    from cdc_sync.doctor.broker import ask_broker

    kafka = settings.kafka
    prefix = kafka.topic_prefix.rstrip(".")
    sources = [f"{prefix}.{table}" for table in router.tables]
    facts = ask_broker(
        kafka_config(settings),
        [*sources, kafka.dlq_topic, kafka.control_topic],
        kafka.group_id,
        timeout_s=timeout_s,
    )
    yield from kafka_checks.check_broker(facts, kafka.group_protocol)
    if facts.problem:
        return
    yield from kafka_checks.check_topics(facts, prefix, router.tables)
    yield from kafka_checks.check_dlq(facts, kafka.dlq_topic, sources)
    yield from kafka_checks.check_control(facts, kafka.control_topic)
    yield from kafka_checks.check_group(facts, kafka.client_id, sources)
    yield from message_findings(settings, router, facts, timeout_s=timeout_s, samples=samples)
    yield from dispatcher_findings(settings, {*facts.topics, *facts.other_topics}, timeout_s=timeout_s)


def dispatcher_findings(settings: Settings, present: set[str], *, timeout_s: float) -> Iterator[Finding]:
    """About the groups that the attached dispatcher joins; its libraries are not needed."""
    from cdc_sync.app import kafka_config
    from cdc_sync.dispatcher import catalog
    from cdc_sync.doctor.broker import group_facts
    from cdc_sync.doctor.finding import warning
    from cdc_sync.doctor.kafka_checks import check_foreigners

    chosen = settings.dispatcher
    for consumer in catalog.consumers():
        if not {consumer.service, "all"} & set(chosen.services):
            continue
        group = group_facts(kafka_config(settings), consumer.group_id, timeout_s=timeout_s)
        yield from check_foreigners(group, catalog.client_ids(consumer, chosen.ledger_workers))
        for topic in catalog.topics_of(consumer.service):
            if topic not in present:
                yield warning(
                    f"topic {topic}", f"does not exist; {consumer.service} waits for it", "create it"
                )


def message_findings(
    settings: Settings, router: Router, facts: BrokerFacts, *, timeout_s: float, samples: int
) -> Iterator[Finding]:
    """About the schema registry and the newest messages."""
    from cdc_sync.app import kafka_config, make_decoder, make_registry
    from cdc_sync.decoder import WireDecoder
    from cdc_sync.doctor.broker import take_samples
    from cdc_sync.doctor.finding import error
    from cdc_sync.doctor.message_checks import check_samples
    from cdc_sync.doctor.registry import AskedOnce, check_registry

    try:
        registry = make_registry(settings, timeout_s=timeout_s)
    except ConfigError as mistake:
        what, _, cure = str(mistake).partition(": ")
        yield error("schema registry", what, cure)
        return
    schemas = None if registry is None else AskedOnce(registry)
    yield from check_registry(settings.schema_registry.url, schemas)
    prefix = settings.kafka.topic_prefix.rstrip(".")
    mappers = {f"{prefix}.{t}": mapper for t in router.tables if (mapper := router.mapper(t)) is not None}
    decoder = make_decoder(settings, router, schemas)
    whole = decoder.whole if isinstance(decoder, WireDecoder) else None
    config = kafka_config(settings)
    try:
        taken = take_samples(config, facts.topics, mappers, decoder, whole, each=samples, timeout_s=timeout_s)
    except CdcSyncError as trouble:
        yield error("messages", str(trouble), "may this client read the topics?")
        return
    for topic, found in taken.items():
        yield from check_samples(topic, found, settings.schema_registry.url)


def server_findings(settings: Settings, router: Router, *, timeout_s: float) -> Iterator[Finding]:
    """About Typesense."""
    from cdc_sync.app import tls_context
    from cdc_sync.doctor.finding import error, ok
    from cdc_sync.doctor.server import ask_server
    from cdc_sync.doctor.server_checks import check_server

    if settings.sync.sink == "null":
        yield ok("typesense", "not used: CDC_SYNC_SYNC__SINK=null drops the documents")
        return
    try:
        key, tls = settings.typesense_key(), tls_context(settings)
    except ConfigError as mistake:
        what, _, cure = str(mistake).partition(": ")
        yield error("typesense", what, cure)
        return
    names = [collection.name for collection in router.collections]
    facts = ask_server(settings.typesense.url, key, names, timeout_s=timeout_s, tls=tls)
    yield from check_server(facts, router.collections)
