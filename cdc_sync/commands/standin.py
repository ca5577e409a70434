"""`cdc-sync typesense-standin`: the stand-in for Typesense, alone."""

from __future__ import annotations

import argparse
from typing import Final

from cdc_sync.commands.door import DONE, OneLineParser, Subcommands, add_command, port

__all__ = ["add_to"]

DESCRIPTION: Final = """\
Serves what cdc-sync uses of Typesense v29.0, on 127.0.0.1 only, until SIGTERM or SIGINT: for trying things
and for tests. It is not a search engine to rely on."""

EXAMPLES: Final = """\
  cdc-sync typesense-standin --port 8108 --api-key xyz
  cdc-sync typesense-standin --port 8108 --api-key xyz --data-dir /tmp/typesense   keeps its data"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`typesense-standin`."""
    parser = add_command(
        commands,
        "typesense-standin",
        standin,
        summary="run a stand-in for Typesense, for trials",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--port", type=port, required=True, metavar="P", help="port; 0 takes a free one")
    parser.add_argument("--api-key", required=True, metavar="K", help="the key that requests must have")
    parser.add_argument("--data-dir", metavar="DIR", help="keep the data here over a restart")


def standin(options: argparse.Namespace) -> int:
    """`cdc-sync typesense-standin`."""
    from cdc_sync.typesense_standin import serve

    serve(options.port, options.api_key, options.data_dir)
    return DONE
