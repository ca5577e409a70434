"""`cdc-sync dispatcher run`, and the dispatcher attached to `cdc-sync run`."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cdc_sync.commands.door import (
    DONE,
    OneLineParser,
    Subcommands,
    add_command,
    collect_garbage_rarely,
    kafka_properties,
    started,
    stop_on_signals,
)
from cdc_sync.errors import ConfigError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cdc_sync.config import Settings
    from cdc_sync.daemon import Daemon
    from cdc_sync.dispatcher.server import Dispatcher

__all__ = ["add_to", "attached"]

DESCRIPTION: Final = """\
Runs the attached dispatcher until SIGTERM or SIGINT: the groups, channels, webhooks and sockets that the
settings CDC_SYNC_DISPATCHER__… name, and no others. What was begun is finished before it ends."""

EXAMPLES: Final = """\
  CDC_SYNC_DISPATCHER__SERVICES=finance \\
  CDC_SYNC_DISPATCHER__HANDLERS='{"finance": {"payment.success": ["my_shop.finance:record_income"]}}' \\
  cdc-sync dispatcher run"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`dispatcher run`."""
    parser = commands.add_parser(
        "dispatcher",
        help="run the attached dispatcher: application events, webhooks, sockets",
        description="The attached dispatcher: the rest of the event architecture (docs/dispatcher.md).",
        allow_abbrev=False,
    )
    inner: Subcommands[OneLineParser] = parser.add_subparsers(required=True, metavar="COMMAND")
    add_command(inner, "run", run, summary="run the dispatcher", description=DESCRIPTION, examples=EXAMPLES)


def run(_: argparse.Namespace) -> int:
    """`cdc-sync dispatcher run`."""
    from prometheus_client import CollectorRegistry

    from cdc_sync.health import HealthServer

    settings = started()
    registry = CollectorRegistry()
    with kafka_properties():
        dispatcher = build(settings, registry)
        stop = stop_on_signals()
        collect_garbage_rarely()
        health = HealthServer(
            settings.http.host,
            settings.http.port,
            registry,
            is_alive=dispatcher.problems_of_life,
            is_ready=dispatcher.problems,
        )
        health.start()
        try:
            dispatcher.run(stop)
        finally:
            health.stop()
    return DONE


def build(settings: Settings, registry: CollectorRegistry) -> Dispatcher:
    """The dispatcher. Raises `ConfigError` where its libraries are not installed."""
    try:
        from cdc_sync.dispatcher import app
    except ImportError as error:
        raise ConfigError(
            f"the dispatcher needs its libraries: install cdc-sync[dispatcher] ({error})"
        ) from error
    return app.build(settings, registry)


@contextmanager
def attached(settings: Settings, daemon: Daemon, stop: threading.Event) -> Iterator[None]:
    """The dispatcher on a thread of its own while the body runs, which ends when it breaks.

    Raises what the dispatcher raised.
    """
    dispatcher = build(settings, daemon.metrics.registry)
    daemon.attach(dispatcher.problems)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            dispatcher.run(stop)
        except BaseException as error:  # told to the main thread, below
            failures.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=work, name="dispatcher")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
