"""The front door: commands, exit codes, and the one line that an operator's mistake gets."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from cdc_sync import __version__
from cdc_sync.config import Settings, load_settings
from cdc_sync.errors import CdcSyncError, ConfigError
from cdc_sync.log import configure_logging

__all__ = ["main"]

DONE, FAILED, MISUSED = 0, 1, 2

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 failed, 2 wrong usage or configuration."""
    options = parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except ConfigError as error:
        print(f"cdc-sync: {error}", file=sys.stderr)
        return MISUSED
    except CdcSyncError as error:
        print(f"cdc-sync: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        return FAILED


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    top = argparse.ArgumentParser(
        prog="cdc-sync",
        description="Keeps Typesense in step with PostgreSQL through Debezium and Kafka.",
        epilog="Settings are environment variables CDC_SYNC_…; `cdc-sync config` shows them all.",
    )
    top.add_argument("--version", action="version", version=f"cdc-sync {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run_ = commands.add_parser(
        "run", help="run the daemon", description="Run the daemon until SIGTERM or SIGINT."
    )
    run_.set_defaults(command=run)
    return top


def started() -> Settings:
    """The settings, with logging set up by them."""
    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)
    return settings


def run(_: argparse.Namespace) -> int:
    """`cdc-sync run`."""
    from cdc_sync.app import build

    app = build(started())
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    app.run(stop)
    return DONE
