"""One `cdc-sync run` as a subprocess, configured by environment variables as an operator would."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tools.stack.layout import free_port
from tools.stack.rest import Refused, request

from .shared import PROJECT

__all__ = ["Daemon", "DaemonFailed", "environment"]

_READY_S = 60.0
_STOP_S = 30.0
_NOT_OURS = ("CDC_SYNC_TEST_", "CDC_SYNC_STACK_")


class DaemonFailed(Exception):
    """The daemon ended by itself, or did not become ready or stop in time.

    With the tail of its log.
    """


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process of ours: no settings but these."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CDC_SYNC_") or name.startswith(_NOT_OURS)
    }
    ours = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "CDC_SYNC_LOG__FORMAT": "json"}
    return {**inherited, **ours, **settings}


class Daemon:
    """One process. `settings` are the variables of `interface.md`; the HTTP port is chosen here.

    `arguments` follow `cdc-sync`.
    """

    def __init__(self, settings: Mapping[str, str], log: Path, arguments: Sequence[str] = ("run",)) -> None:
        self.port = free_port()
        self.log = log
        self._arguments = list(arguments)
        self._environment = {
            **environment(settings),
            "CDC_SYNC_HTTP__HOST": "127.0.0.1",
            "CDC_SYNC_HTTP__PORT": str(self.port),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises: DaemonFailed when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise DaemonFailed(f"the daemon does not run\n{self.tail()}")
        return self._process.pid

    def start(self, *, ready: bool = True) -> None:
        """Start it; returns when `/readyz` is 200, or at once without `ready`."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cdc_sync", *self._arguments],
                cwd=PROJECT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if ready:
            self.wait_ready()

    def wait_ready(self, deadline_s: float = _READY_S) -> None:
        """Return when it is ready. Raises: DaemonFailed."""
        deadline = time.monotonic() + deadline_s
        answer: tuple[int, str] = (0, "")
        while time.monotonic() < deadline:
            assert self.pid
            answer = self.ask("/readyz")
            if answer[0] == 200:
                return
            time.sleep(0.05)
        raise DaemonFailed(f"not ready after {deadline_s:.0f} s: {answer}\n{self.tail()}")

    def stop(self) -> int:
        """SIGTERM.

        Its exit code. Raises: DaemonFailed when it takes longer than the promised 30 s, with the stacks
        of its threads.
        """
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired as error:
                self._process.send_signal(signal.SIGABRT)  # faulthandler writes where it is
                self._process.wait()
                raise DaemonFailed(f"it did not stop within {_STOP_S:.0f} s\n{self.tail()}") from error
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def suspend(self) -> None:
        """SIGSTOP: alive for the operating system, silent for everybody else."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `suspend`."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def exit_code(self) -> int | None:
        """What it ended with; negative for a signal, None while it runs or has never run."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on its HTTP port; status 0 when it does not answer."""
        try:
            return 200, request(f"http://127.0.0.1:{self.port}{path}", timeout_s=5).decode()
        except Refused as error:
            return error.code, error.text
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def metric(self, name: str, label: str = "table") -> dict[str, float]:
        """The samples of one metric, summed by one of their labels.

        Empty when there are none yet.
        """
        sums: dict[str, float] = defaultdict(float)
        status, text = self.ask("/metrics")
        for family in text_string_to_metric_families(text if status == 200 else ""):
            for sample in family.samples:
                if sample.name == name:
                    sums[sample.labels.get(label, "")] += sample.value
        return dict(sums)

    def tail(self, lines: int = 40) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
