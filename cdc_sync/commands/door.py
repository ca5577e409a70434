"""What the commands share: exit codes, a parser that answers in one line, settings with logging set up.

Everything heavy is imported where it is used, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

from cdc_sync.errors import ConfigError

if TYPE_CHECKING:
    from cdc_sync.config import Settings

__all__ = [
    "DONE",
    "FAILED",
    "MISUSED",
    "Command",
    "OneLineParser",
    "Subcommands",
    "add_command",
    "collect_garbage_rarely",
    "kafka_properties",
    "one_line",
    "port",
    "positive",
    "printable",
    "started",
    "stop_on_signals",
]

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2

MAX_PORT: Final = 65_535

Command = Callable[[argparse.Namespace], int]


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, not after a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(MISUSED, f"{self.prog}: {one_line(message)} (see `{self.prog} --help`)\n")


Subcommands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers returns


def add_command(
    commands: Subcommands[OneLineParser],
    name: str,
    command: Command,
    *,
    summary: str,
    description: str,
    examples: str = "",
) -> OneLineParser:
    """A command's parser; `description` and `examples` keep their lines."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    return parser


def positive(text: str) -> int:
    """An option's whole number from 1 on."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def started() -> Settings:
    """The settings, with logging set up by them."""
    from cdc_sync.config import load_settings
    from cdc_sync.log import configure_logging

    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)
    return settings


def stop_on_signals() -> threading.Event:
    """Set when the process is asked to end."""
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    return stop


def collect_garbage_rarely() -> None:
    """Leave what was made at start alone, and look at young objects 50,000 at a time instead of 700.

    Events make no reference cycles; with the defaults, looking for some took a third of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def port(text: str) -> int:
    """An option's TCP port; 0 takes a free one."""
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to {MAX_PORT}")
    return int(text)


@contextmanager
def kafka_properties() -> Iterator[None]:
    """A property that librdkafka does not take is a mistake in the settings, not a failure."""
    from confluent_kafka import KafkaError, KafkaException

    try:
        yield
    except KafkaException as error:
        if error.args[0].code() not in (KafkaError._INVALID_ARG, KafkaError._CONFLICT):
            raise
        raise ConfigError(f"CDC_SYNC_KAFKA__EXTRA: {error.args[0].str()}") from error


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.splitlines())


def printable(text: str) -> str:
    """The text with what could steer a terminal as escapes; it comes from other people's databases."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def warn(text: str) -> None:
    """A remark that is not the command's answer."""
    print(f"cdc-sync: {one_line(text)}", file=sys.stderr)
