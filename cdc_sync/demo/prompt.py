"""The search prompt of the tour. Ctrl-C and Ctrl-D end it, as `:quit` does."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cdc_sync.demo.screen import Screen
from cdc_sync.demo.shopfront import Shopfront
from cdc_sync.demo.stage import OUTCOMES, Stage
from cdc_sync.demo.trickle import Trickle
from cdc_sync.demo.verdict import tell_letter
from cdc_sync.errors import CdcSyncError

__all__ = ["Prompt"]

HELP: Final = """\
  Type what a customer would: tra sen, coconut, men ngoc, mushroom, 'ca phe -muoi' (no accents needed).
  :facets [QUERY]   how the products spread over shops, categories, tags
  :watch            changes as they arrive, with their time from commit to searchable (Enter ends it)
  :dlq              the dead letters and why
  :stats            events by outcome so far
  :log              the daemon's last log lines
  :quit             end the demo"""

WATCH_EVERY_S: Final = 0.2
RECENT: Final = 5
LOG_LINES: Final = 12


class Prompt:
    """Reads a line, answers it, until it is told to quit."""

    def __init__(self, screen: Screen, front: Shopfront, stage: Stage, trickle: Trickle) -> None:
        self._screen = screen
        self._front = front
        self._stage = stage
        self._trickle = trickle
        self._commands: dict[str, Callable[[str], None]] = {
            "facets": lambda rest: front.show_facets(rest or "*"),
            "watch": self._watch,
            "dlq": self._letters,
            "stats": self._totals,
            "log": self._log,
            "help": lambda _: screen.line(HELP),
        }

    def run(self) -> None:
        """Serve the person. Raises `KeyboardInterrupt` for Ctrl-C."""
        with suppress(ImportError):
            import readline  # noqa: F401  # its import gives `input` a history and an editor
        while True:
            try:
                line = input("search> ").strip()
            except EOFError:
                self._screen.line()
                return
            if line in (":quit", ":q", ":exit"):
                return
            try:
                self._answer(line)
            except CdcSyncError as error:
                self._screen.line(f"  {self._screen.bad(str(error))}")

    def _answer(self, line: str) -> None:
        if not line:
            return
        if not line.startswith(":"):
            self._front.show_hits(line)
            return
        name, _, rest = line[1:].partition(" ")
        command = self._commands.get(name)
        if command is None:
            self._screen.line(f"  there is no :{name}; :help lists what there is")
        else:
            command(rest.strip())

    def _watch(self, _: str) -> None:
        recent = self._trickle.arrivals()[-RECENT:]
        shown = recent[0].number - 1 if recent else 0
        self._screen.line(self._screen.dim("  commit to searchable; Enter goes back to the prompt"))
        while self._trickle.is_running:
            for arrival in self._trickle.arrivals(after=shown):
                self._front.show_arrival(arrival)
                shown = arrival.number
            if select.select([sys.stdin], [], [], WATCH_EVERY_S)[0]:
                sys.stdin.readline()
                return
        if self._trickle.failure is not None:
            raise self._trickle.failure

    def _letters(self, _: str) -> None:
        letters = self._stage.letters()
        for letter in letters:
            self._screen.line(f"  {tell_letter(letter)}")
        if not letters:
            self._screen.line("  no dead letters")

    def _totals(self, _: str) -> None:
        totals = self._stage.totals()
        parts = [f"{totals['consumed']} consumed", *(f"{totals[name]} {name}" for name in OUTCOMES)]
        self._screen.line("  " + " = ".join([parts[0], " + ".join(parts[1:])]))

    def _log(self, _: str) -> None:
        for line in list(self._stage.log.lines)[-LOG_LINES:]:
            self._screen.line(self._screen.dim(f"  {line}"))
