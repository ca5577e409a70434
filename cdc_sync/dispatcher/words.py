"""The words that name handlers in the settings, and the functions of installed packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import aiohttp

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.builtin import RELAYED, audit, relay
from cdc_sync.dispatcher.context import Handler, Outlets
from cdc_sync.dispatcher.forward import forward_to
from cdc_sync.dispatcher.payments import (
    Emitter,
    MQPaySaleEventAdapter,
    SaleEventMapperService,
    SalePaymentEventHandlerService,
    payments_handler,
)
from cdc_sync.dispatcher.registry import ALL, HANDLERS_SETTING, SERVICES, handler_of
from cdc_sync.errors import ConfigError
from cdc_sync.loading import loaded

__all__ = ["ENTRY_POINTS", "Words", "defaults", "installed", "payment_chain"]

ENTRY_POINTS: Final = "cdc_sync.handlers"
FORWARD: Final = "forward:"


def defaults(*, relays: bool) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """What a service that is named does without being told: only what the dispatcher can do by itself."""
    return {
        "sale": {
            catalog.INBOX.name: ("payments",),
            **{name: ("relay",) for name in catalog.channels_of("sale") if relays},
        },
        "ledger": {"ledger.generate": ("ledger",)},
    }


def payment_chain(outlets: Outlets, completes: str) -> Handler:
    """MQ-Pay's emitter, the adapter that listens to it and what that leads to, as the inbox's handler."""
    emitter = Emitter()
    mapper = SaleEventMapperService(f"mq-pay:{completes}")
    MQPaySaleEventAdapter(mapper, SalePaymentEventHandlerService(outlets)).listen_to(emitter)
    return Handler("payments", payments_handler(emitter), is_async=True)


class Words:
    """Makes handlers of words, with what they need."""

    def __init__(
        self,
        payments: Handler,
        session: Callable[[], aiohttp.ClientSession],
        *,
        has_rooms: bool,
        ledger_folder: Path | None,
        forward_secret: bytes | None,
        forward_private: bool,
    ) -> None:
        self._payments = payments
        self._session = session
        self._has_rooms = has_rooms
        self._ledger_folder = ledger_folder
        self._forward_secret = forward_secret
        self._forward_private = forward_private

    def __call__(self, word: str, service: str, address: str) -> Handler:
        """The handler that a word names. Raises `ConfigError`."""
        where = f"{HANDLERS_SETTING}: {service} {address}"
        if word == "audit":
            return audit
        if word == "relay":
            return self._relay(address, where)
        if word == "payments":
            if address != catalog.INBOX.name:
                raise ConfigError(f"{where}: payments handles {catalog.INBOX.name} only")
            return self._payments
        if word == "ledger":
            return self._ledger(address, where)
        if word.startswith(FORWARD):
            return forward_to(
                word.removeprefix(FORWARD),
                self._forward_secret,
                self._session,
                allow_private=self._forward_private,
                setting=where,
            )
        return handler_of(loaded(word, where), word, where)

    def _relay(self, address: str, where: str) -> Handler:
        if address not in RELAYED:
            raise ConfigError(f"{where}: relay: the architecture has no WebSocket topic for it")
        if not self._has_rooms:
            raise ConfigError(f"{where}: relay: CDC_SYNC_DISPATCHER__WEBSOCKET is off; set edge or emitter")
        return relay

    def _ledger(self, address: str, where: str) -> Handler:
        if address != "ledger.generate":
            raise ConfigError(f"{where}: ledger handles ledger.generate only")
        if self._ledger_folder is None:
            raise ConfigError("CDC_SYNC_DISPATCHER__LEDGER_FOLDER is not set: where ledgers are written")
        try:
            from cdc_sync.dispatcher.ledger import ledger_in
        except ImportError as error:
            raise ConfigError(f"{where}: ledger: install cdc-sync[ledger] ({error})") from error
        return ledger_in(self._ledger_folder)


def installed(services: Sequence[str]) -> dict[str, dict[str, tuple[Handler, ...]]]:
    """Handlers of installed packages for these services: an entry point is named `service.topic`.

    Those of services that are not named are not even imported. Raises `ConfigError`.
    """
    found: dict[str, dict[str, tuple[Handler, ...]]] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        service, _, address = point.name.partition(".")
        where = f"entry point {point.name} of {ENTRY_POINTS}"
        if service not in SERVICES:
            raise ConfigError(f"{where}: expected service.topic; there are {', '.join(SERVICES)}")
        if service not in services and ALL not in services:
            continue
        try:
            function = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{where}: {error}") from error
        handlers = found.setdefault(service, {})
        handlers[address] = (*handlers.get(address, ()), handler_of(function, point.value, where))
    return found
