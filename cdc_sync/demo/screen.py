"""Lines for a person: with colours on a terminal, plain otherwise (and with NO_COLOR)."""

from __future__ import annotations

import os
import shutil
from typing import Final, TextIO

__all__ = ["Screen", "dong", "duration"]

BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "1;33"
CYAN: Final = "36"

LABEL_CHARS: Final = 16


class Screen:
    """Writes to `out`, a whole line at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_terminal = out.isatty()
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
        self._has_colours = self.is_terminal and not is_plain

    @property
    def width(self) -> int | None:
        """Characters a line, at most; without a terminal a line is as long as it is."""
        return shutil.get_terminal_size().columns if self.is_terminal else None

    def line(self, text: str = "") -> None:
        """A line of its own."""
        self._out.write(text + "\n")
        self._out.flush()

    def title(self, text: str) -> None:
        """What follows."""
        self.line()
        self.line(self.bold(text))

    def fact(self, label: str, text: str) -> None:
        """A labelled fact."""
        self.line(f"  {label:<{LABEL_CHARS}}{text}")

    def marked(self, snippet: str) -> str:
        """A snippet with its matches shown: in colour, or between « and »."""
        begin, end = (f"\033[{YELLOW}m", "\033[0m") if self._has_colours else ("«", "»")
        return snippet.replace("<mark>", begin).replace("</mark>", end)

    def bold(self, text: str) -> str:
        """What matters."""
        return self._in(BOLD, text)

    def dim(self, text: str) -> str:
        """What does not."""
        return self._in(DIM, text)

    def good(self, text: str) -> str:
        """What went well."""
        return self._in(GREEN, text)

    def bad(self, text: str) -> str:
        """What did not."""
        return self._in(RED, text)

    def accent(self, text: str) -> str:
        """What is to be found with a quick look."""
        return self._in(CYAN, text)

    def _in(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._has_colours else text


def dong(amount: float) -> str:
    """A price as the shops write it."""
    return f"{amount:,.0f} ₫".replace(",", ".")


def duration(seconds: float) -> str:
    """A short time."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
