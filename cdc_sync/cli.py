"""The front door: commands, exit codes, and the one line that an operator's mistake gets."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from cdc_sync import __version__
from cdc_sync.commands import catalog, config, demo, dispatcher, dlq, doctor, standin
from cdc_sync.commands.door import (
    DONE,
    FAILED,
    MISUSED,
    Command,
    OneLineParser,
    Subcommands,
    add_command,
    collect_garbage_rarely,
    kafka_properties,
    one_line,
    started,
    stop_on_signals,
)
from cdc_sync.errors import CdcSyncError, ConfigError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 failed, 2 wrong usage or configuration."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:  # argparse's: after --help, --version, or its one line about a mistake
        return int(end.code or DONE)
    command: Command = options.command
    try:
        code = command(options)
        sys.stdout.flush()
    except ConfigError as error:
        print(f"cdc-sync: {one_line(str(error))}", file=sys.stderr)
        return MISUSED
    except CdcSyncError as error:
        print(f"cdc-sync: {one_line(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        # Whoever read us has gone (`| head`); without this, Python complains once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def parser() -> OneLineParser:
    """Every command and its options."""
    top = OneLineParser(
        prog="cdc-sync",
        description="Keeps Typesense in step with PostgreSQL through Debezium and Kafka.",
        epilog="Settings are environment variables CDC_SYNC_…; `cdc-sync config` shows them all.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"cdc-sync {__version__}")
    commands: Subcommands[OneLineParser] = top.add_subparsers(required=True, metavar="COMMAND")
    running = add_command(
        commands,
        "run",
        run,
        summary="run the daemon",
        description="Run the daemon until SIGTERM or SIGINT; what was read is written before it ends.",
    )
    running.add_argument(
        "--with-dispatcher",
        action="store_true",
        help="run the attached dispatcher in this process, too (see `cdc-sync dispatcher run --help`)",
    )
    dispatcher.add_to(commands)
    catalog.add_to(commands)
    demo.add_to(commands)
    doctor.add_to(commands)
    dlq.add_to(commands)
    config.add_to(commands)
    standin.add_to(commands)
    return top


def run(options: argparse.Namespace) -> int:
    """`cdc-sync run`."""
    from cdc_sync.app import build

    settings = started()
    with kafka_properties():
        app = build(settings)
        stop = stop_on_signals()
        collect_garbage_rarely()
        with dispatcher.attached(settings, app, stop) if options.with_dispatcher else nullcontext():
            app.run(stop)  # the consumer, which has rules of its own about its properties, is made in here
    return DONE
