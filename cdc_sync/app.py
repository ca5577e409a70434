"""The composition root: settings in, wired objects out. The only room that knows all the others."""

from __future__ import annotations

import importlib
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from cdc_sync import __version__
from cdc_sync.config import Settings
from cdc_sync.decoder import JsonDecoder
from cdc_sync.dlq import DeadLetterLimit, KafkaDeadLetterQueue
from cdc_sync.envelope import Placeholder
from cdc_sync.errors import ConfigError, TransientError
from cdc_sync.health import HealthServer
from cdc_sync.lane import Lane
from cdc_sync.log import get_logger
from cdc_sync.mappers import ENRICHMENTS, MAPPERS
from cdc_sync.metrics import Metrics
from cdc_sync.pipeline import Corridor, Pipeline
from cdc_sync.protocols import Mapper, Sink
from cdc_sync.routing import Router
from cdc_sync.schema import Collection
from cdc_sync.sink import NullSink, TypesenseSink
from cdc_sync.sink.collections import Collections, client_of, resolve_aliases
from cdc_sync.sink.connection import Connection
from cdc_sync.sink.typesense import Resolve
from cdc_sync.source import KafkaSource

__all__ = ["App", "build", "consumer_config", "kafka_config", "load_router", "producer_config"]

ENTRY_POINTS = "cdc_sync.mappers"
GAUGES_EVERY_S = 1.0
REPEAT_AFTER_S = 60.0
PROBE_EVERY_S = 5.0


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
        mapper = checked_mapper(point.load(), f"entry point {point.name}")
        mappers[mapper.table] = mapper
    for name in names:
        mapper = checked_mapper(loaded(name), f"CDC_SYNC_MAPPERS: {name}")
        mappers[mapper.table] = mapper
    return Router(mappers.values(), ENRICHMENTS)


def loaded(name: str) -> object:
    """The object that `module:object` names."""
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(f"CDC_SYNC_MAPPERS: {name!r} is not of the form module:object")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"CDC_SYNC_MAPPERS: cannot load {name}: {error}") from error


def checked_mapper(found: object, where: str) -> Mapper:
    """The object, if it is a mapper."""
    if isinstance(getattr(found, "collection", None), Collection) and callable(getattr(found, "map", None)):
        return found  # type: ignore[return-value]  # as far as can be told without calling it
    raise ConfigError(f"{where} is not a mapper: it needs `table`, `collection`, `reads` and `map`")


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The certificates to trust, where the settings name some."""
    path = settings.typesense.ca_file
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as error:
        raise ConfigError(f"CDC_SYNC_TYPESENSE__CA_FILE: {error.strerror or error}: {path}") from error


# The daemon ---------------------------------------------------------------------------------------------


class App:
    """The wired daemon: `run` until `stop` is set, then finish what was read."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        lanes: tuple[Lane, ...],
        source: Callable[[], KafkaSource],
        dead_letters: KafkaDeadLetterQueue,
        metrics: Metrics,
        probe: Probe,
    ) -> None:
        self.metrics = metrics
        self._settings = settings
        self._pipeline = pipeline
        self._lanes = lanes
        self._make_source = source
        self._dead_letters = dead_letters
        self._probe = probe
        self._log = get_logger("app")
        self._turned_at = time.monotonic()
        self._gauges_at = float("-inf")
        self.health = HealthServer(
            settings.http.host,
            settings.http.port,
            metrics.registry,
            is_alive=self.problems_of_life,
            is_ready=self.problems,
        )

    def run(self, stop: threading.Event) -> None:
        """Serve until asked to stop; then what was read is written and committed, and the group left."""
        source = self._make_source()
        self.health.start()
        for lane in self._lanes:
            lane.start()
        self._log.info("started", version=__version__, http_port=self.health.port)
        flooded = False
        while not stop.is_set():
            self._turned_at = time.monotonic()
            self._pipeline.run_once(source)
            if self._turned_at - self._gauges_at >= GAUGES_EVERY_S:
                self._gauges_at = self._turned_at
                self._set_gauges(source)
            if self._pipeline.is_stopped and not flooded:
                flooded = True
                self._log.error("stopped by a flood of dead letters", cure=FLOOD_CURE)
        self._finish(source)

    def _finish(self, source: KafkaSource) -> None:
        timeout_s = self._settings.sync.shutdown_timeout_s
        complete = self._pipeline.finish(timeout_s)
        for lane in self._lanes:
            lane.stop(2.0)
        source.close()
        self._dead_letters.flush(2.0)
        self.health.stop()
        self._log.info("stopped", all_written=complete)

    def problems_of_life(self) -> list[str]:
        """Why the process should be restarted."""
        age_s = time.monotonic() - self._turned_at
        if age_s > self._settings.kafka.max_poll_interval_ms / 1000:
            return [f"the loop has not turned for {age_s:.0f} s"]
        return []

    def problems(self) -> list[str]:
        """Why the daemon is not keeping the index in step now."""
        problems = self.problems_of_life()
        if not self._pipeline.has_joined:
            problems.append(f"not a member of {self._settings.kafka.group_id} yet")
        if self._pipeline.is_stopped:
            problems.append(f"stopped by a flood of dead letters: {FLOOD_CURE}")
        troubles = {str(lane.trouble) for lane in self._lanes if lane.trouble is not None}
        problems += sorted(troubles) or self._probe.problems()
        if self._dead_letters.waiting:
            problems.append(f"{self._dead_letters.waiting} dead letters are not stored yet")
        return problems

    def _set_gauges(self, source: KafkaSource) -> None:
        self._pipeline.set_gauges()
        metrics = self.metrics
        metrics.set("assigned_partitions", len(source.owned))
        metrics.set("dead_letters_waiting", self._dead_letters.waiting)
        metrics.set("dead_letter_limit_broken", self._pipeline.is_stopped)
        metrics.forget("lag_records")
        behind = source.lag()
        for (topic, number), records in behind.items():
            metrics.set("lag_records", records, topic.rpartition(".")[2], str(number))
        self._pipeline.set_lag_seconds({topic for (topic, _), records in behind.items() if records})


FLOOD_CURE = (
    "see `cdc-sync dlq list` for the reasons, mend the cause, then restart; CDC_SYNC_DLQ__LIMIT_COUNT and "
    "CDC_SYNC_DLQ__LIMIT_SHARE set the limit"
)


class Probe:
    """Asks Typesense for its health, at most every few seconds, on a connection of its own."""

    def __init__(self, connection: Connection, every_s: float = PROBE_EVERY_S) -> None:
        self._connection = connection
        self._every_s = every_s
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._answer: list[str] = []

    def problems(self) -> list[str]:
        """What is wrong with Typesense, if anything is."""
        with self._lock:
            if time.monotonic() - self._asked_at > self._every_s:
                self._answer = self._ask()
                self._asked_at = time.monotonic()
            return self._answer

    def _ask(self) -> list[str]:
        try:
            if not self._connection.is_open:
                self._connection.open()
            answer = self._connection.request("health", "GET", "/health")
        except TransientError as error:
            return [str(error)]
        return [] if answer.status == 200 else [f"Typesense is not healthy: {answer.status}"]


class Troubles:
    """Says once that something is wrong, and once that it is right again; repeats the same after a minute."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = get_logger("sink")
        self._kafka = get_logger("kafka")
        self._said: dict[str, float] = {}

    def sink_away(self, lane: Lane, error: TransientError) -> None:
        """A lane begins to wait."""
        self._metrics.sink_trouble(lane, error)
        self._log.warning("waiting for typesense", lane=lane.name, reason=str(error), held=True)

    def sink_back(self, lane: Lane) -> None:
        """A lane goes on."""
        self._log.info("typesense is back", lane=lane.name)

    def kafka_said(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something at the broker."""
        text = f"{event} {sorted(facts.items())}"
        now = time.monotonic()
        if now - self._said.get(text, float("-inf")) >= REPEAT_AFTER_S:
            self._said = {t: at for t, at in self._said.items() if now - at < REPEAT_AFTER_S} | {text: now}
            self._kafka.warning(event, **facts)

    def letter_not_stored(self, reason: str) -> None:
        """The dead letter topic does not take a letter."""
        self.kafka_said("dead letter not stored", {"reason": reason})

    def schema_differs(self, collection: Collection, real: str, differences: list[str]) -> None:
        """A collection is not what its mapper declares; it is used as it is."""
        self._metrics.set("schema_differences", len(differences), collection.name)
        if differences:
            self._log.warning(
                "collection differs from its mapper",
                collection=real,
                differences=differences,
                cure=f"cdc-sync reindex {collection.name}",
            )


def build(settings: Settings) -> App:
    """Wire the daemon. Raises `ConfigError`; connects to nothing yet."""
    metrics = Metrics(__version__)
    troubles = Troubles(metrics)
    router = load_router(settings.mappers)
    placeholder = Placeholder(settings.debezium.unavailable_value, binary=router.reads_binary)
    corridor = Corridor(JsonDecoder(settings.kafka.topic_prefix, router.reads, placeholder), router)
    lanes = {}
    for names in router.lanes():
        lane = Lane(
            names[0],
            names,
            make_sink(settings, router, names, metrics, troubles),
            corridor.change_of,
            max_waiting_bytes=settings.sync.max_waiting_bytes,
            max_waiting_documents=settings.sync.max_waiting_documents,
            max_backoff_s=settings.typesense.max_backoff_s,
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
        on_trouble=troubles.letter_not_stored,
    )
    limit = DeadLetterLimit(
        count=settings.dlq.limit_count,
        share=settings.dlq.limit_share,
        window_s=settings.dlq.limit_window_s,
        clock=time.monotonic,
    )
    pipeline = Pipeline(
        corridor,
        lanes,
        topics_of,
        dead_letters,
        limit,
        metrics,
        max_records=settings.sync.max_records,
        commit_every_s=settings.sync.commit_every_s,
        revoke_timeout_s=settings.kafka.max_poll_interval_ms / 1000 * 0.4,
    )
    topics = sorted({topic for of in topics_of.values() for topic in of})
    return App(
        settings,
        pipeline,
        tuple(dict.fromkeys(lanes.values())),
        lambda: KafkaSource(consumer_config(settings), topics, pipeline, troubles.kafka_said),
        dead_letters,
        metrics,
        Probe(connection_to(settings)) if settings.sync.sink == "typesense" else NoProbe(),
    )


class NoProbe(Probe):
    """There is no Typesense to ask."""

    def __init__(self) -> None:
        """Nothing to keep."""

    def problems(self) -> list[str]:
        """Never anything."""
        return []


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


def make_sink(
    settings: Settings, router: Router, names: tuple[str, ...], metrics: Metrics, troubles: Troubles
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
