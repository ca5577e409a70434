"""What is read and what is not: only what is named, and only with a handler that does something."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdc_sync.dispatcher import catalog
from cdc_sync.dispatcher.builtin import audit
from cdc_sync.dispatcher.context import Context, Handler
from cdc_sync.dispatcher.events import Event
from cdc_sync.dispatcher.registry import Registry, handler_of, register
from cdc_sync.errors import ConfigError


async def work(_: Event, __: Context) -> None:
    """A handler."""


def make(word: str, _: str, __: str) -> Handler:
    return audit if word == "audit" else Handler(word, work, is_async=True)


def registered(*services: str, feed: bool = False, defaults: Any = None, **named: Any) -> Registry:
    return register(services, named, defaults or {}, make, feed=feed)


def test_nothing_named_is_nothing_joined() -> None:
    assert registered(finance={"*": ["x"]}) == ({}, {})


def test_only_topics_with_a_handler_that_does_something() -> None:
    found = registered(
        "finance",
        "taxation",
        finance={"payment.success": ["audit", "x"]},
        taxation={"product.created": ["x"], "product.updated": ["audit"]},
    )
    assert {service: list(of) for service, of in found.kafka.items()} == {
        "finance": ["payment.success"],
        "taxation": ["product.created"],
    }
    assert [h.name for h in found.kafka["finance"]["payment.success"].handlers] == ["audit", "x"]


def test_a_star_is_every_topic() -> None:
    found = registered("inventory", inventory={"*": ["x"], "merchant.created": ["y"]})
    assert {t: b.handlers[0].name for t, b in found.kafka["inventory"].items()} == {
        "payment.success": "x",
        "commerce.initialized": "x",
        "merchant.created": "y",
    }


@pytest.mark.parametrize("name", ["payment.success", "payment.order.success"])
def test_both_ways_of_a_payment_are_one_binding(name: str) -> None:
    found = registered("finance", finance={name: ["x"]})
    binding = found.kafka["finance"]["payment.success"]
    assert binding.channel == "payment.order.success"
    assert found.redis == {"payment.order.success": [binding]}


def test_all_is_each_that_has_a_handler() -> None:
    found = registered("all", pricing={"*": ["x"]})
    assert found.services == ("pricing",)


def test_the_feed_has_what_no_webhook_brings() -> None:
    defaults = {"sale": {catalog.INBOX.name: ("x",)}}
    assert registered("sale", defaults=defaults).redis == {}
    fed = registered("sale", defaults=defaults, feed=True)
    assert set(fed.redis) == set(catalog.EMITTER_EVENTS) - set(catalog.WEBHOOK_EVENTS)


@pytest.mark.parametrize(
    ("services", "named", "said"),
    [
        (["finance"], {}, "SERVICES: finance has no handler that does something"),
        (["finance"], {"finance": {"*": ["audit"]}}, "SERVICES: finance has no handler"),
        (["search"], {}, "SERVICES: search is the daemon's own"),
        (["finanse"], {}, "SERVICES: no service 'finanse'"),
        (["finance"], {"finance": {"product.created": ["x"]}}, "HANDLERS: finance has no topic or channel"),
        (["finance"], {"finanse": {"*": ["x"]}}, "HANDLERS: no service 'finanse'"),
        (
            ["finance"],
            {"finance": {"payment.success": ["x"], "payment.order.success": ["y"]}},
            "two ways of one event",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_setting(services: list[str], named: Any, said: str) -> None:
    with pytest.raises(ConfigError, match="CDC_SYNC_DISPATCHER__") as raised:
        register(services, named, {}, make, feed=False)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


# Functions as handlers ---------------------------------------------------------------------------------


def takes_both(event: Event, context: Context) -> None: ...
def takes_one(event: Event) -> None: ...
async def is_async(event: Event) -> None: ...
def takes_three(a: int, b: int, c: int) -> None: ...
def takes_none() -> None: ...


class Callable:
    async def __call__(self, event: Event, context: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "asynchronous"),
    [(takes_both, False), (takes_one, False), (is_async, True), (Callable(), True)],
)
def test_a_function_is_a_handler(function: Any, asynchronous: bool) -> None:
    handler = handler_of(function, "n", "where")
    assert handler.is_async is asynchronous
    result = handler.call(None, None)  # type: ignore[arg-type]  # they look at neither
    if asyncio.iscoroutine(result):
        asyncio.run(result)


@pytest.mark.parametrize("function", [takes_three, takes_none, 7, "text"])
def test_what_is_no_handler_is_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match="where"):
        handler_of(function, "n", "where")
