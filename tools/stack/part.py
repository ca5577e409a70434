"""One real part: start, stop, kill, restart, wait until it answers.

`Part` is what tests see. `LocalProcess` runs a server as a child process of ours and is the only
place that sends signals, always to a pid that it started itself. `External` stands for an address
that the environment gave.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tools.stack.errors import NotControllable, NotReady
from tools.stack.ledger import Ledger

__all__ = ["Command", "External", "LocalProcess", "Part", "Probe"]

Probe = Callable[[], object]
"""Raises any exception while the part does not answer yet."""

_TAIL_LINES = 40


class Part(Protocol):
    """A server that tests use. `address` is what a client of it is given (host:port or a URL)."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def wait_ready(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """What to execute.

    `user` is the account it runs as (None: ours), `stop_signal` ends it politely.
    """

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 20.0


class LocalProcess:
    """A server run as a child process. Not for use by several threads."""

    def __init__(
        self,
        name: str,
        address: str,
        command: Command,
        probe: Probe,
        *,
        ledger: Ledger,
        log: Path,
        deadline_s: float = 60.0,
    ) -> None:
        self.name = name
        self.address = address
        self.log = log
        self._command = command
        self._probe = probe
        self._ledger = ledger
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Execute the command; returns at once. Nothing happens when it runs already."""
        if self.pid is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                list(self._command.arguments),
                cwd=self._command.folder,
                env={**os.environ, **self._command.environment},
                user=self._command.user,
                group=self._command.user,
                extra_groups=[] if self._command.user else None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C of a terminal reaches only the owner
            )
        self._ledger.add(self.name, self._process.pid)

    def stop(self) -> None:
        """End it politely, by SIGKILL when it does not listen; returns when it is gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)  # a suspended process would not see the next one
            self._process.send_signal(self._command.stop_signal)
            try:
                self._process.wait(self._command.stop_timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._forget()

    def restart(self) -> None:
        """Stop it if it runs, start it on the same ports and data, wait until it answers."""
        self.stop()
        self.start()
        self.wait_ready()

    def suspend(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        os.kill(self._running_pid(), signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after `suspend`."""
        os.kill(self._running_pid(), signal.SIGCONT)

    def wait_ready(self) -> None:
        """Return when the probe succeeds.

        A server that ends by itself is started again until the deadline: after a SIGKILL its port
        or its shared memory may still be taken for a moment.

        Raises:
            NotReady: with the last error of the probe and the tail of the log.

        """
        deadline = time.monotonic() + self._deadline_s
        reason: object = "never asked"
        while time.monotonic() < deadline:
            if self.pid is None:
                reason = f"it ended with code {self._process.returncode if self._process else None}"
                time.sleep(1.0)
                self.start()
            try:
                self._probe()
            except Exception as error:  # every client library has its own errors for "not yet"
                reason = error if self.pid is not None else reason
                time.sleep(0.1)
            else:
                return
        raise NotReady(
            f"{self.name} at {self.address} not ready after {self._deadline_s:.0f} s: {reason}\n"
            f"--- tail of {self.log.name} ---\n{self.tail()}"
        )

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines that it wrote since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as content:
            content.seek(self._log_start)
            text = content.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _running_pid(self) -> int:
        if self.pid is None:
            raise NotReady(f"{self.name} does not run\n{self.tail()}")
        return self.pid

    def _forget(self) -> None:
        if self._process is not None:
            self._process.wait()
        self._ledger.remove(self.name)


@dataclass(frozen=True)
class External:
    """A part that runs elsewhere; only its address is known."""

    name: str
    address: str
    probe: Probe

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It is not ours to stop."""

    def kill(self) -> None:
        """Not possible. Raises: NotControllable."""
        raise NotControllable(f"{self.name} at {self.address} was given by the environment")

    def restart(self) -> None:
        """Not possible. Raises: NotControllable."""
        raise NotControllable(f"{self.name} at {self.address} was given by the environment")

    def wait_ready(self) -> None:
        """Ask once. Raises: NotReady."""
        try:
            self.probe()
        except Exception as error:  # every client library has its own errors
            raise NotReady(f"{self.name} at {self.address} does not answer: {error}") from error
