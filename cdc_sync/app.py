"""The composition root: settings in, wired objects out. The only room that knows all the others."""

from __future__ import annotations

import logging
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from cdc_sync import __version__
from cdc_sync.admission import AdmitKnown
from cdc_sync.config import Settings
from cdc_sync.control import Desk
from cdc_sync.control.clerk import MAX_CONTROL_BYTES, KafkaClerk, control_topic
from cdc_sync.corridor import Corridor
from cdc_sync.daemon import Daemon
from cdc_sync.decoder import JsonDecoder, WireDecoder
from cdc_sync.dlq import DeadLetterLimit, KafkaDeadLetterQueue
from cdc_sync.envelope import Placeholder
from cdc_sync.errors import ConfigError
from cdc_sync.lane import Lane
from cdc_sync.lease import Lease
from cdc_sync.loading import loaded
from cdc_sync.mappers import ENRICHMENTS, MAPPERS
from cdc_sync.metrics import Metrics
from cdc_sync.outbox import Outbox
from cdc_sync.pace import Pace
from cdc_sync.pipeline import Pipeline
from cdc_sync.protocols import Decoder, Mapper, Schemas, Sink
from cdc_sync.registry import Registry
from cdc_sync.routing import Router
from cdc_sync.schema import Collection
from cdc_sync.sink import NullSink, TypesenseSink
from cdc_sync.sink.collections import Collections, client_of, resolve_aliases
from cdc_sync.sink.connection import Connection
from cdc_sync.sink.probe import Probe
from cdc_sync.sink.typesense import Resolve
from cdc_sync.source import KafkaSource
from cdc_sync.troubles import Troubles

__all__ = [
    "build",
    "consumer_config",
    "kafka_config",
    "load_router",
    "make_decoder",
    "make_registry",
    "producer_config",
]

ENTRY_POINTS = "cdc_sync.mappers"
MAPPERS_SETTING = "CDC_SYNC_MAPPERS"


# What the settings mean ---------------------------------------------------------------------------------


def kafka_config(settings: Settings) -> dict[str, Any]:
    """Librdkafka's properties that every client of ours shares."""
    quiet = logging.getLogger("librdkafka")
    quiet.setLevel(logging.CRITICAL)  # what matters comes by error_cb, once
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": settings.kafka.client_id,
        "logger": quiet,
        **settings.kafka.extra,
    }


def consumer_config(settings: Settings) -> dict[str, Any]:
    """The consumer's properties. Offsets are committed by us alone; records begin at the earliest."""
    kafka = settings.kafka
    config = {
        "group.id": kafka.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": kafka.max_poll_interval_ms,
        "queued.max.messages.kbytes": kafka.queued_max_kbytes,
        "fetch.queue.backoff.ms": 20,  # by default a full queue is not filled again for a second
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": False,
        "group.protocol": kafka.group_protocol,
    }
    if kafka.group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = kafka.session_timeout_ms
    if kafka.group_instance_id:
        config["group.instance.id"] = kafka.group_instance_id
    return config | kafka_config(settings)


def producer_config(settings: Settings) -> dict[str, Any]:
    """The dead letter producer's properties: nothing is given up, nothing is stored twice."""
    config = {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "message.max.bytes": 20_971_520,
        "message.timeout.ms": 30_000,
        "partitioner": "murmur2_random",  # a key's letters lie where Debezium put its records
        "compression.type": "lz4",
    }
    return config | kafka_config(settings)


def load_router(names: tuple[str, ...]) -> Router:
    """Our mappers, those of installed packages, and those that the settings name; the later ones win.

    Raises `ConfigError` for a name that cannot be loaded.
    """
    mappers: dict[str, Mapper] = {mapper.table: mapper for mapper in MAPPERS}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            found = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"entry point {point.name} of {ENTRY_POINTS}: {error}") from error
        mapper = checked_mapper(found, f"entry point {point.name}")
        mappers[mapper.table] = mapper
    for name in names:
        mapper = checked_mapper(loaded(name, MAPPERS_SETTING), f"{MAPPERS_SETTING}: {name}")
        mappers[mapper.table] = mapper
    return Router(mappers.values(), ENRICHMENTS)


def checked_mapper(found: object, where: str) -> Mapper:
    """The object, if it is a mapper."""
    lacks = [
        name for name in ("table", "collection", "key", "reads", "owns", "map") if not hasattr(found, name)
    ]
    if lacks:
        raise ConfigError(f"{where} is not a mapper: it has no {', '.join(lacks)} (see docs/mappers.md)")
    return found  # type: ignore[return-value]  # as far as can be told without calling it


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The certificates to trust in Typesense, where the settings name some."""
    return trusting(settings.typesense.ca_file, "CDC_SYNC_TYPESENSE__CA_FILE")


def trusting(path: Path | None, setting: str) -> ssl.SSLContext | None:
    """The certificates in the file that a setting names. Raises `ConfigError`."""
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as error:
        raise ConfigError(f"{setting}: {error.strerror or error}: {path}") from error


def make_registry(
    settings: Settings, observe: Callable[[str], None] = lambda _: None, timeout_s: float | None = None
) -> Registry | None:
    """The schema registry, where the settings name one. Connects to nothing yet; raises `ConfigError`."""
    registry = settings.schema_registry
    if registry.url is None:
        return None
    return Registry(
        registry.url,
        auth=settings.registry_auth(),
        tls=trusting(registry.ca_file, "CDC_SYNC_SCHEMA_REGISTRY__CA_FILE"),
        timeout_s=timeout_s or registry.timeout_s,
        observe=observe,
    )


def make_decoder(settings: Settings, router: Router, schemas: Schemas | None) -> Decoder:
    """A decoder of what the mappers read; of JSON only, without schemas."""
    placeholder = Placeholder(settings.debezium.unavailable_value, binary=router.reads_binary)
    prefix = settings.kafka.topic_prefix
    if schemas is None:
        return JsonDecoder(prefix, router.reads, placeholder)
    return WireDecoder(prefix, router.reads, placeholder, schemas)


# The daemon ---------------------------------------------------------------------------------------------


def build(settings: Settings) -> Daemon:
    """Wire the daemon. Raises `ConfigError`; connects to nothing yet."""
    metrics = Metrics(__version__)
    troubles = Troubles(metrics)
    router = load_router(settings.mappers)
    registry = make_registry(settings, metrics.schema_asked)
    admission = make_admission(registry, troubles)
    decoder = make_decoder(settings, router, admission)
    corridor = Corridor(decoder, router)
    lease = Lease(settings.kafka.session_timeout_ms / 1000, lease_clock)
    lanes = {}
    for names in router.lanes():
        pace = make_pace(settings)
        lane = Lane(
            names[0],
            names,
            make_sink(settings, router, names, lease, metrics, troubles, pace),
            corridor.change_of,
            may_write=lambda: lease.is_held,
            max_waiting_bytes=settings.sync.max_waiting_bytes,
            max_waiting_documents=settings.sync.max_waiting_documents,
            max_backoff_s=settings.typesense.max_backoff_s,
            pace=pace,
            on_trouble=troubles.sink_away,
            on_recovery=troubles.sink_back,
        )
        lanes.update(dict.fromkeys(names, lane))
    prefix = settings.kafka.topic_prefix.rstrip(".")
    topics_of = {c.name: [f"{prefix}.{t}" for t in router.tables_of(c.name)] for c in router.collections}
    dead_letters = KafkaDeadLetterQueue(
        producer_config(settings),
        settings.kafka.dlq_topic,
        group=settings.kafka.group_id,
        partitions=settings.kafka.dlq_partitions,
        replication_factor=settings.kafka.dlq_replication_factor,
        on_trouble=troubles.letters,
    )
    limit = DeadLetterLimit(
        count=settings.dlq.limit_count,
        share=settings.dlq.limit_share,
        window_s=settings.dlq.limit_window_s,
        clock=time.monotonic,
    )
    # The clerk may wait for the registry, on its own thread; the polling thread may not.
    clerk = make_clerk(settings, make_decoder(settings, router, registry), troubles)
    pipeline = Pipeline(
        corridor,
        lanes,
        topics_of,
        dead_letters,
        limit,
        lease,
        Desk(
            clerk,
            decoder.identity,
            member=f"{settings.kafka.client_id}-{uuid.uuid4().hex[:8]}",
            now_ms=lambda: time.time_ns() // 1_000_000,
            is_known=admission.is_known if admission else lambda _: True,
            on_replayed=metrics.replayed,
        ),
        metrics,
        admission=admission,
        max_records=settings.sync.max_records,
        commit_every_s=settings.sync.commit_every_s,
        on_truncate=troubles.truncated,
        revoke_timeout_s=settings.kafka.max_poll_interval_ms / 1000 * 0.4,
    )
    topics = sorted({topic for of in topics_of.values() for topic in of})
    return Daemon(
        pipeline,
        tuple(dict.fromkeys(lanes.values())),
        lambda: KafkaSource(
            consumer_config(settings), topics, pipeline, troubles.kafka_said, clock=lease_clock
        ),
        dead_letters,
        clerk,
        metrics,
        Probe(connection_to(settings)) if settings.sync.sink == "typesense" else None,
        admission=admission,
        group=settings.kafka.group_id,
        http=(settings.http.host, settings.http.port),
        max_turn_s=settings.kafka.max_poll_interval_ms / 1000,
        shutdown_timeout_s=settings.sync.shutdown_timeout_s,
    )


def make_admission(registry: Registry | None, troubles: Troubles) -> AdmitKnown | None:
    """What waits for the schema registry, where there is one."""
    if registry is None:
        return None
    return AdmitKnown(registry, on_trouble=troubles.registry_away, on_recovery=troubles.registry_back)


def make_corridor(settings: Settings) -> tuple[Decoder, Corridor]:
    """Only the pure middle of the daemon, to try records out."""
    router = load_router(settings.mappers)
    decoder = make_decoder(settings, router, make_registry(settings))
    return decoder, Corridor(decoder, router)


def lease_clock() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def make_clerk(settings: Settings, decoder: Decoder, troubles: Troubles) -> KafkaClerk:
    """The clerk of the control topic."""
    return KafkaClerk(
        kafka_config(settings),
        settings.kafka.control_topic,
        lambda: control_outbox(settings, troubles.letters),
        decoder.identity,
        on_trouble=troubles.letters,
    )


def control_outbox(settings: Settings, on_trouble: Callable[[str, str], None]) -> Outbox:
    """What is written to the control topic. A letter in there is a third larger than it was."""
    producer = producer_config(settings) | {"message.max.bytes": MAX_CONTROL_BYTES, "linger.ms": 0}
    topic = control_topic(settings.kafka.control_topic, settings.kafka.dlq_replication_factor)
    return Outbox(producer, topic, what="errand", on_trouble=on_trouble)


def connection_to(settings: Settings, metrics: Metrics | None = None) -> Connection:
    """A connection for one lane (or the probe)."""
    return Connection(
        settings.typesense.url,
        settings.typesense_key(),
        connect_timeout_s=settings.typesense.connect_timeout_s,
        read_timeout_s=settings.typesense.request_timeout_s if metrics else 5.0,
        tls=tls_context(settings),
        observe=metrics.requested if metrics else lambda *_: None,
    )


def make_pace(settings: Settings) -> Pace:
    """The pace of one lane."""
    sync = settings.sync
    return Pace(
        sync.min_batch_documents,
        sync.max_batch_documents,
        answer_s=sync.batch_answer_s,
        max_queued=sync.max_queued_writes,
    )


def make_sink(
    settings: Settings,
    router: Router,
    names: tuple[str, ...],
    lease: Lease,
    metrics: Metrics,
    troubles: Troubles,
    pace: Pace,
) -> Sink:
    """The sink of the lane that writes these collections."""
    if settings.sync.sink == "null":
        return NullSink()
    admin = Collections(
        client_of(settings.typesense.url, settings.typesense_key(), tls=tls_context(settings))
    )
    collections = [c for c in router.collections if c.name in names]
    return TypesenseSink(
        connection_to(settings, metrics),
        resolver(admin, collections, troubles.schema_differs),
        [e for e in router.enrichments if e.parent in names],
        may_write=lambda: lease.is_held,
        on_queued=pace.queued,
    )


def resolver(
    admin: Collections,
    collections: list[Collection],
    differs: Callable[[Collection, str, list[str]], None],
) -> Resolve:
    """Make the collections when first asked; from then on only look where their aliases point."""
    made: set[str] = set()

    def resolve(connection: Connection) -> Mapping[str, str]:
        for collection in collections:
            if collection.name not in made:
                real, differences = admin.ensure(collection)
                made.add(collection.name)
                differs(collection, real, differences)
        return resolve_aliases(connection, [c.name for c in collections])

    return resolve
