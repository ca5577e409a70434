"""`cdc-sync config`: the settings that this process would run with."""

from __future__ import annotations

import argparse
import json
from typing import Final

from cdc_sync.commands.door import DONE, OneLineParser, Subcommands, add_command

__all__ = ["add_to"]

DESCRIPTION: Final = """\
Prints every setting: its variable, its value, and whether it is the default or set (by the environment,
`.env` or the file that CDC_SYNC_CONFIG_FILE names). Secrets are shown as ********."""

EXAMPLES: Final = """\
  cdc-sync config                                    all settings
  cdc-sync config --changed                          only what is set
  CDC_SYNC_CONFIG_FILE=cdc.yaml cdc-sync config      with a file"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`config`."""
    parser = add_command(
        commands,
        "config",
        print_settings,
        summary="print the settings",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--changed", action="store_true", help="only what is set, not the defaults")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def print_settings(options: argparse.Namespace) -> int:
    """`cdc-sync config`."""
    from cdc_sync.commands.door import started
    from cdc_sync.reference import effective

    shown = [setting for setting in effective(started()) if setting.is_set or not options.changed]
    width = max((len(setting.variable) for setting in shown), default=0)
    for setting in shown:
        source = "set" if setting.is_set else "default"
        if options.json:
            facts = {"setting": setting.variable, "value": setting.value, "source": source}
            print(json.dumps(facts, ensure_ascii=False))
        else:
            print(f"{setting.variable:<{width}}  {source:<7}  {setting.text}")
    return DONE
