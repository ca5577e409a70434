"""Which processes this stack started, on disk, so that none outlives a killed owner.

A process is named by its pid and its start time (field 22 of `/proc/<pid>/stat`), because pids are
reused. One ledger a run folder. `sweep` ends what a dead owner left and removes old run folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

__all__ = ["Ledger", "is_alive", "start_time", "sweep"]

_NAME = "ledger.json"
_KEPT_RUNS = 2


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process.

    None when it does not run (a zombie does not).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, started: int | None) -> bool:
    """Whether the very process still runs."""
    return started is not None and start_time(pid) == started


class Ledger:
    """The processes of one run folder; every change is on disk before the call returns."""

    def __init__(self, run: Path) -> None:
        self._path = run / _NAME
        self._owner = [os.getpid(), start_time(os.getpid())]
        self._parts: dict[str, list[int | None]] = {}
        self._write()

    def add(self, name: str, pid: int) -> None:
        """Remember a process that was just started."""
        self._parts[name] = [pid, start_time(pid)]
        self._write()

    def remove(self, name: str) -> None:
        """Forget a process that has ended."""
        if self._parts.pop(name, None) is not None:
            self._write()

    def _write(self) -> None:
        text = json.dumps({"owner": self._owner, "parts": self._parts})
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._path)


def sweep(runs: Path) -> None:
    """End processes whose owner is dead; remove all but the newest of the finished run folders."""
    if not runs.is_dir():
        return
    finished = []
    for run in runs.iterdir():
        content = _read(run / _NAME)
        if content is None or is_alive(*content["owner"]):  # not ours to judge, or in use
            continue
        for pid, started in content["parts"].values():
            _end(pid, started)
        finished.append(run)
    finished.sort(key=lambda run: run.stat().st_mtime, reverse=True)
    for run in finished[_KEPT_RUNS:]:
        shutil.rmtree(run, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def _end(pid: int, started: int | None) -> None:
    if not is_alive(pid, started):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(pid, started) and time.monotonic() < deadline:
        time.sleep(0.05)
