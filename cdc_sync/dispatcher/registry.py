"""Which handlers each service has for each topic and channel: what is read, and what is not.

A topic is read only when the settings name its service and it has a handler that does something: to join a
group takes partitions from whoever owns it, and what is read without being handled is lost to them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.context import Handler
from cdc_sync.dispatcher.handling import Binding
from cdc_sync.errors import ConfigError

__all__ = ["ALL", "HANDLERS_SETTING", "SERVICES", "Named", "Registry", "handler_of", "register"]

SERVICES: Final = tuple(consumer.service for consumer in catalog.consumers())
ALL: Final = "all"
EVERY_TOPIC: Final = "*"
SERVICES_SETTING: Final = "CDC_SYNC_DISPATCHER__SERVICES"
HANDLERS_SETTING: Final = "CDC_SYNC_DISPATCHER__HANDLERS"
TWINS: Final = {c.name: c.twin for c in catalog.REDIS_CHANNELS if c.twin is not None}
CHANNEL_OF: Final = {twin: channel for channel, twin in TWINS.items()}

Make = Callable[[str, str, str], Handler]
"""A handler from its word, for a service and an address. Raises `ConfigError`."""
Named = Mapping[str, Mapping[str, Sequence[str | Handler]]]
"""Service → address → words, or handlers of installed packages."""


class Registry(NamedTuple):
    """What is joined and subscribed to: Kafka bindings by service and topic, Redis bindings by channel."""

    kafka: Mapping[str, Mapping[str, Binding]]
    redis: Mapping[str, Sequence[Binding]]

    @property
    def services(self) -> tuple[str, ...]:
        """Those that have something to do."""
        subscribed = {binding.service for bindings in self.redis.values() for binding in bindings}
        return tuple(s for s in SERVICES if s in self.kafka or s in subscribed)


def register(services: Sequence[str], named: Named, defaults: Named, make: Make, *, feed: bool) -> Registry:
    """What these services have to do; `feed` adds MQ-Pay's events without a webhook. Raises `ConfigError`."""
    chosen = chosen_services(services)
    check_names(named)
    kafka: dict[str, dict[str, Binding]] = {}
    redis: dict[str, list[Binding]] = {}
    for service in chosen:
        own = {**expanded(service, defaults.get(service, {})), **expanded(service, named.get(service, {}))}
        for address, words in own.items():
            handlers = tuple(w if isinstance(w, Handler) else make(w, service, address) for w in words)
            if not any(handler.is_effectful for handler in handlers):
                continue
            if address in catalog.topics_of(service):
                binding = Binding(service, address, handlers, CHANNEL_OF.get(address))
                kafka.setdefault(service, {})[address] = binding
            else:
                binding = Binding(service, address, handlers)
            for channel in channels_for(address, feed=feed and service == "sale"):
                redis.setdefault(channel, []).append(binding)
    registry = Registry(kafka, redis)
    if ALL not in services:
        check_all_do_something(chosen, registry)
    return registry


def chosen_services(services: Sequence[str]) -> tuple[str, ...]:
    """The services that are named. Raises `ConfigError`."""
    for service in services:
        if service == catalog.CDC.service:
            raise ConfigError(f"{SERVICES_SETTING}: {service} is the daemon's own: `cdc-sync run`")
        if service not in (*SERVICES, ALL):
            raise ConfigError(f"{SERVICES_SETTING}: no service {service!r}; there are {', '.join(SERVICES)}")
    return SERVICES if ALL in services else tuple(dict.fromkeys(services))


def check_names(named: Named) -> None:
    """Every service and address exists, and is that service's. Raises `ConfigError`."""
    for service, addresses in named.items():
        if service not in SERVICES:
            raise ConfigError(f"{HANDLERS_SETTING}: no service {service!r}; there are {', '.join(SERVICES)}")
        owned = addresses_of(service)
        for address in addresses:
            if address != EVERY_TOPIC and address not in owned:
                raise ConfigError(
                    f"{HANDLERS_SETTING}: {service} has no topic or channel {address!r}; it has "
                    f"{', '.join(owned)}"
                )
        for channel, topic in TWINS.items():
            if channel in addresses and topic in addresses and addresses[channel] != addresses[topic]:
                raise ConfigError(
                    f"{HANDLERS_SETTING}: {service}: {topic} and {channel} are two ways of one event: name "
                    "its handlers once"
                )


def addresses_of(service: str) -> tuple[str, ...]:
    """What a service may have handlers for."""
    return catalog.topics_of(service) + catalog.channels_of(service)


def expanded(
    service: str, addresses: Mapping[str, Sequence[str | Handler]]
) -> dict[str, tuple[str | Handler, ...]]:
    """With `*` spelt out, and a channel that has a twin under the twin's name."""
    found = {}
    if EVERY_TOPIC in addresses:
        found = dict.fromkeys(catalog.topics_of(service), tuple(addresses[EVERY_TOPIC]))
    for address, words in addresses.items():
        if address != EVERY_TOPIC:
            found[TWINS.get(address, address)] = tuple(words)
    return found


def channels_for(address: str, *, feed: bool) -> Iterable[str]:
    """The Redis channels that bring the events of an address."""
    if address in CHANNEL_OF:
        yield CHANNEL_OF[address]
    elif address == catalog.INBOX.name:
        yield from (e for e in catalog.EMITTER_EVENTS if feed and e not in catalog.WEBHOOK_EVENTS)
    elif address not in {topic.name for topic in catalog.TOPICS}:
        yield address


def check_all_do_something(chosen: Sequence[str], registry: Registry) -> None:
    """Raises `ConfigError` for a service that was named and would do nothing."""
    for service in chosen:
        if service not in registry.services:
            raise ConfigError(
                f"{SERVICES_SETTING}: {service} has no handler that does something; name one in "
                f"{HANDLERS_SETTING}, for {', '.join(addresses_of(service))}"
            )


def handler_of(found: object, name: str, where: str) -> Handler:
    """A function as a handler: `(event)` or `(event, context)`, `async` or not. Raises `ConfigError`."""
    if not callable(found):
        raise ConfigError(f"{where}: {name} is not a function")
    try:
        parameters = [
            p
            for p in inspect.signature(found).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        required = [p for p in parameters if p.default is p.empty]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {name}: its parameters are not known: {error}") from error
    if not len(parameters) >= 1 or len(required) > 2:
        raise ConfigError(f"{where}: {name} does not take (event) or (event, context)")
    call = found if len(parameters) > 1 else lambda event, _: found(event)
    is_async = inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__)
    return Handler(name, call, is_async=is_async)
