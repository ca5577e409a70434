"""`cdc-sync demo`: the tour, with nothing else installed."""

from __future__ import annotations

import argparse
from typing import Final

from cdc_sync.commands.door import DONE, OneLineParser, Subcommands, add_command, port

__all__ = ["add_to"]

DESCRIPTION: Final = """\
Runs the real daemon between two stand-ins inside this process (librdkafka's mock broker, and a stand-in for
Typesense), feeds it messages that a real Debezium wrote, and opens a search prompt; without a terminal it
prints searches and changes. Neither settings nor files are read, nothing is left behind. Ctrl-C ends it."""

EXAMPLES: Final = """\
  cdc-sync demo                  search while changes arrive
  cdc-sync demo --once           a quick tour that checks every document and ends; 1 if one differs
  cdc-sync demo --port 9464      metrics on this port"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`demo`."""
    parser = add_command(
        commands,
        "demo",
        demo,
        summary="see it work, with nothing else installed",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--once", action="store_true", help="end after the recorded changes, and check them")
    parser.add_argument(
        "--port", type=port, default=0, metavar="P", help="of /metrics and the probes (default: a free one)"
    )


def demo(options: argparse.Namespace) -> int:
    """`cdc-sync demo`."""
    try:
        from cdc_sync.demo.tour import Options, run

        return run(Options(once=options.once, http_port=options.port))
    except KeyboardInterrupt:  # before there was anything to tell, or while it was taken down
        return DONE
