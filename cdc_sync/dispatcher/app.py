"""The dispatcher's composition root: settings in, a wired `Dispatcher` out."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import aiohttp
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from cdc_sync.app import consumer_config, producer_config
from cdc_sync.config import Settings
from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.channels import ChannelQueues
from cdc_sync.dispatcher.consumer import GroupMember, Limits
from cdc_sync.dispatcher.edge import Edge
from cdc_sync.dispatcher.forward import PublicOnly
from cdc_sync.dispatcher.handling import Binding, Handling, Policy, Turn
from cdc_sync.dispatcher.hub import BROADCAST, Hub
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.outlets import LiveOutlets
from cdc_sync.dispatcher.producer import Producers
from cdc_sync.dispatcher.protocol import Rules
from cdc_sync.dispatcher.pubsub import Publisher, Subscriber, redis_at
from cdc_sync.dispatcher.redis_claims import RedisClaims
from cdc_sync.dispatcher.registry import Named, Registry, register
from cdc_sync.dispatcher.server import Dispatcher, Parts, Serve, Sessions
from cdc_sync.dispatcher.tokens import JwksKeys, KeySource, OneKey, Tokens
from cdc_sync.dispatcher.webhooks import Verifier, Webhooks, secret_bytes
from cdc_sync.dispatcher.words import Words, defaults, installed, payment_chain
from cdc_sync.dispatcher_settings import DispatcherSettings
from cdc_sync.dlq import DeadLetterLimit, KafkaDeadLetterQueue
from cdc_sync.errors import ConfigError
from cdc_sync.loading import loaded
from cdc_sync.log import get_logger
from cdc_sync.model import Record
from cdc_sync.secret_files import secret_in
from cdc_sync.source import KafkaSource
from cdc_sync.troubles import Notices

__all__ = ["build"]

PREFIX: Final = "CDC_SYNC_DISPATCHER__"
INBOX_PARTITIONS: Final = 6
PUBLISH_WITHIN_MS: Final = 10_000
"""A webhook is answered 503 after as long, so that the fate of what it sent is known by then."""


def build(settings: Settings, registry: CollectorRegistry) -> Dispatcher:
    """Wire the dispatcher. Raises `ConfigError`; connects to nothing yet."""
    chosen = settings.dispatcher
    meters = Meters(registry)
    redis = redis_of(chosen)
    publisher = Publisher(redis, meters) if redis is not None else None
    sessions = Sessions(lambda: http_session(chosen))
    producers = Producers(producer_config(settings) | {"message.timeout.ms": PUBLISH_WITHIN_MS}, meters)
    hub = hub_of(chosen, publisher, meters)
    outlets = LiveOutlets(producers, publisher, hub)
    bound = bound_handlers(chosen, outlets, sessions)
    claims = claims_of(chosen, redis)
    handling = Handling(outlets, policy_of(chosen), meters, claims)
    queues = ChannelQueues(bound.redis, handling, meters) if redis is not None and bound.redis else None
    webhooks = webhooks_of(chosen, producers, claims, meters)
    edge = edge_of(chosen, hub, sessions, meters)
    parts = Parts(
        [
            make
            for service, bindings in bound.kafka.items()
            for make in members_of(settings, service, bindings, handling, meters)
        ],
        producers,
        sessions,
        subscribers_of(redis, queues, hub if edge is not None else None, meters),
        queues,
        webhooks,
        edge,
        inbox_of(settings, producers)
        if webhooks is not None or catalog.WEBHOOK.receiver in bound.kafka
        else (),
        routes_of(chosen, webhooks, edge),
        [redis.aclose] if redis is not None else [],
    )
    if not (parts.members or parts.queues or parts.routes):
        raise ConfigError(
            f"{PREFIX}SERVICES names nothing that runs; neither do {PREFIX}WEBHOOKS and …WEBSOCKET"
        )
    tell(bound)
    return Dispatcher(parts, meters, address=(chosen.host, chosen.port), drain_s=chosen.drain_timeout_s)


# Settings ---------------------------------------------------------------------------------------------------


def secret_of(value: SecretStr | None, path: Path | None, name: str) -> str | None:
    """A secret from its setting or its file; None without either. Raises `ConfigError`."""
    if path is None:
        return value.get_secret_value().strip() or None if value is not None else None
    if value is not None:
        raise ConfigError(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set: keep one")
    return secret_in(path, f"{PREFIX}{name}_FILE")


def redis_of(chosen: DispatcherSettings) -> Redis | None:
    """The client, where the settings name a Redis."""
    url = secret_of(chosen.redis_url, chosen.redis_url_file, "REDIS_URL")
    return redis_at(url, f"{PREFIX}REDIS_URL") if url is not None else None


def claims_of(chosen: DispatcherSettings, redis: Redis | None) -> RedisClaims | None:
    """Claims for all replicas, where there is a Redis to keep them."""
    if redis is None:
        return None
    return RedisClaims(redis, expire_s=chosen.claim_expire_s, keep_s=chosen.claim_keep_s)


def policy_of(chosen: DispatcherSettings) -> Policy:
    """How handlers are tried."""
    setting = f"{PREFIX}TRANSIENT_ERRORS"
    found = [loaded(name, setting) for name in chosen.transient_errors]
    transient = tuple(one for one in found if isinstance(one, type) and issubclass(one, BaseException))
    if len(transient) != len(found):
        raise ConfigError(f"{setting}: {', '.join(chosen.transient_errors)}: not all are exceptions")
    return Policy(
        deadline_s=chosen.handler_timeout_s,
        max_attempts=chosen.max_attempts,
        max_backoff_s=chosen.max_backoff_s,
        transient=transient,
    )


def http_session(chosen: DispatcherSettings) -> aiohttp.ClientSession:
    """For requests of ours; no cookie is kept and no proxy taken from the environment."""
    connector = aiohttp.TCPConnector(resolver=None if chosen.forward_private else PublicOnly())
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=chosen.handler_timeout_s),
    )


# Parts ------------------------------------------------------------------------------------------------------


def bound_handlers(chosen: DispatcherSettings, outlets: LiveOutlets, sessions: Sessions) -> Registry:
    """Which handlers each service has. Raises `ConfigError`."""
    secret = secret_of(chosen.forward_secret, chosen.forward_secret_file, "FORWARD_SECRET")
    has_rooms = chosen.websocket != "off"
    has_redis = chosen.redis_url is not None or chosen.redis_url_file is not None
    words = Words(
        payment_chain(outlets, chosen.payment_success_on),
        sessions,
        has_rooms=has_rooms,
        ledger_folder=chosen.ledger_folder,
        forward_secret=secret_bytes(secret, f"{PREFIX}FORWARD_SECRET") if secret is not None else None,
        forward_private=chosen.forward_private,
    )
    of_packages = installed(chosen.services)
    named: Named = {
        service: {**of_packages.get(service, {}), **chosen.handlers.get(service, {})}
        for service in {**of_packages, **chosen.handlers}
    }
    usual = defaults(relays=has_rooms and has_redis)
    bound = register(chosen.services, named, usual, words, feed=chosen.mq_pay_feed)
    if has_redis:
        return bound
    if deaf := [c for c, of in bound.redis.items() if any(b.channel is None for b in of)]:
        raise ConfigError(f"{PREFIX}REDIS_URL is not set, and {', '.join(deaf)} come by Redis only")
    return Registry(bound.kafka, {})


def members_of(
    settings: Settings,
    service: str,
    bindings: Mapping[str, Binding],
    handling: Handling,
    meters: Meters,
) -> list[Callable[[asyncio.AbstractEventLoop], GroupMember]]:
    """The members of a service's group, to be made where the loop runs."""
    chosen = settings.dispatcher
    (consumer,) = [found for found in catalog.consumers() if found.service == service]
    notices = Notices("kafka")

    async def handle(record: Record, turn: Turn) -> None:
        await handling.from_kafka(bindings[record.partition.topic], record, turn)

    def member_as(client_id: str) -> Callable[[asyncio.AbstractEventLoop], GroupMember]:
        config = member_config(settings, consumer.group_id, client_id)
        return lambda loop: GroupMember(
            service,
            client_id,
            lambda member: KafkaSource(config, sorted(bindings), member, notices.say),
            letters_of(settings, service, consumer.group_id, client_id, notices),
            DeadLetterLimit(
                count=settings.dlq.limit_count,
                share=settings.dlq.limit_share,
                window_s=settings.dlq.limit_window_s,
                clock=time.monotonic,
            ),
            handle,
            loop,
            limits_of(chosen),
            meters,
        )

    return [member_as(client_id) for client_id in catalog.client_ids(consumer, chosen.ledger_workers)]


def member_config(settings: Settings, group_id: str, client_id: str) -> dict[str, Any]:
    """A consumer's properties: the daemon's, but for the group, the client, and where they begin."""
    chosen = settings.dispatcher
    config = consumer_config(settings) | {
        "group.id": group_id,
        "client.id": client_id,
        "auto.offset.reset": chosen.start_at,
    }
    if settings.kafka.group_protocol == "classic":
        config["partition.assignment.strategy"] = chosen.assignor
    if settings.kafka.group_instance_id:
        config["group.instance.id"] = f"{settings.kafka.group_instance_id}-{client_id}"
    return config


def letters_of(
    settings: Settings, service: str, group_id: str, client_id: str, notices: Notices
) -> KafkaDeadLetterQueue:
    """The queue of a service's dead letters."""
    return KafkaDeadLetterQueue(
        producer_config(settings) | {"client.id": client_id},
        settings.dispatcher.dlq_topic.replace("{service}", service),
        group=group_id,
        partitions=settings.kafka.dlq_partitions,
        replication_factor=settings.kafka.dlq_replication_factor,
        on_trouble=lambda event, reason: notices.say(event, {"service": service, "reason": reason}),
    )


def limits_of(chosen: DispatcherSettings) -> Limits:
    """How much a member holds."""
    return Limits(
        lane_records=chosen.max_waiting_records,
        lane_bytes=chosen.max_waiting_bytes,
        drain_s=chosen.drain_timeout_s,
        deadline_s=chosen.handler_timeout_s,
    )


def hub_of(chosen: DispatcherSettings, publisher: Publisher | None, meters: Meters) -> Hub | None:
    """Where frames go, if anywhere."""
    if chosen.websocket == "off":
        return None
    if chosen.websocket == "emitter" and publisher is None:
        raise ConfigError(f"{PREFIX}WEBSOCKET: an emitter needs {PREFIX}REDIS_URL")
    server_id = "emitter" if chosen.websocket == "emitter" else str(uuid.uuid4())
    return Hub(server_id, meters, publisher, max_buffer=chosen.websocket_max_buffer_bytes)


def edge_of(chosen: DispatcherSettings, hub: Hub | None, sessions: Sessions, meters: Meters) -> Edge | None:
    """The edge, if clients are served here."""
    if chosen.websocket != "edge" or hub is None:
        return None
    return Edge(
        hub,
        tokens_of(chosen, sessions, meters),
        meters,
        rules=Rules(),
        origins=chosen.websocket_origins,
        max_connections=chosen.websocket_max_connections,
        max_connections_per_address=chosen.websocket_max_connections_per_address,
    )


def tokens_of(chosen: DispatcherSettings, sessions: Sessions, meters: Meters) -> Tokens:
    """How clients show who they are. Raises `ConfigError` where anything is left open."""
    if chosen.token_issuer is None or chosen.token_audience is None:
        raise ConfigError(f"{PREFIX}TOKEN_ISSUER and {PREFIX}TOKEN_AUDIENCE: an edge needs both")
    if (chosen.token_key_file is None) == (chosen.token_jwks_url is None):
        raise ConfigError(f"{PREFIX}TOKEN_KEY_FILE or {PREFIX}TOKEN_JWKS_URL: an edge needs one of them")
    keys: KeySource
    if chosen.token_jwks_url is not None:
        if any(name.startswith("HS") for name in chosen.token_algorithms):
            raise ConfigError(f"{PREFIX}TOKEN_ALGORITHMS: published keys are public; HS256 wants a secret")
        keys = JwksKeys(chosen.token_jwks_url, sessions, meters)
    else:
        assert chosen.token_key_file is not None
        key = secret_in(chosen.token_key_file, f"{PREFIX}TOKEN_KEY_FILE")
        keys = OneKey(key, chosen.token_algorithms, f"{PREFIX}TOKEN_KEY_FILE")
    return Tokens(
        keys,
        algorithms=chosen.token_algorithms,
        issuer=chosen.token_issuer,
        audience=chosen.token_audience,
        room_templates=chosen.websocket_rooms,
    )


def webhooks_of(
    chosen: DispatcherSettings, producers: Producers, claims: RedisClaims | None, meters: Meters
) -> Webhooks | None:
    """The receiver, if it is wanted. Raises `ConfigError` where it would believe everybody."""
    if not chosen.webhooks:
        return None
    given = secret_of(chosen.webhook_secret, chosen.webhook_secret_file, "WEBHOOK_SECRET")
    verifier = None
    if given is not None:
        secrets = [one.strip() for one in given.replace("\n", ",").split(",") if one.strip()]
        setting = f"{PREFIX}WEBHOOK_SECRET"
        keys = tuple(secret_bytes(one, setting) for one in secrets)
        verifier = Verifier(keys, chosen.webhook_tolerance_s)
    elif not chosen.webhook_unsigned_from:
        raise ConfigError(f"{PREFIX}WEBHOOK_SECRET is not set: without it anybody could send webhooks")
    else:
        get_logger("dispatcher").warning("unsigned webhooks are taken", networks=chosen.webhook_unsigned_from)
    return Webhooks(
        producers,
        meters,
        verifier,
        claims,
        tolerance_s=chosen.webhook_tolerance_s,
        unsigned_from=[ip_network(network) for network in chosen.webhook_unsigned_from],
    )


def inbox_of(settings: Settings, producers: Producers) -> list[Callable[[], str | None]]:
    """The topic that webhooks are stored in, which is ours to make."""
    replicas = settings.kafka.dlq_replication_factor
    return [lambda: producers.make_topic(catalog.INBOX.name, INBOX_PARTITIONS, replicas)]


def routes_of(
    chosen: DispatcherSettings, webhooks: Webhooks | None, edge: Edge | None
) -> list[tuple[str, str, Serve]]:
    """What the HTTP port serves."""
    routes: list[tuple[str, str, Serve]] = []
    if webhooks is not None:
        routes.append(("POST", chosen.webhook_path, webhooks.receive))
    if edge is not None:
        routes.append(("GET", chosen.websocket_path, edge.serve))
    return routes


def subscribers_of(
    redis: Redis | None, queues: ChannelQueues | None, hub: Hub | None, meters: Meters
) -> list[Subscriber]:
    """One for events, one for frames."""
    found = []
    if redis is not None and queues is not None:
        found.append(Subscriber("events", redis, queues.channels, queues.heard, meters))
    if redis is not None and hub is not None:
        hub.subscriber = Subscriber("websocket", redis, (BROADCAST,), hub.heard, meters)
        found.append(hub.subscriber)
    return found


def tell(bound: Registry) -> None:
    """What will be read, and what not."""
    log = get_logger("dispatcher")
    for service, bindings in bound.kafka.items():
        (consumer,) = [found for found in catalog.consumers() if found.service == service]
        log.info(
            "joining",
            service=service,
            group=consumer.group_id,
            topics=sorted(bindings),
            not_read=sorted(set(catalog.topics_of(service)) - bindings.keys()),
            handlers={topic: [h.name for h in binding.handlers] for topic, binding in bindings.items()},
        )
    if bound.redis:
        log.info("subscribing", channels=sorted(bound.redis))
