"""A whole daemon as a process of its own, for tests on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.raw_http import free_port

__all__ = ["PROJECT", "SECRET", "Running"]

PROJECT = Path(__file__).parents[1]
SECRET = "s3cr3t-and-long"


class Running:
    """`cdc-sync run` with these settings, in an empty folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.http = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        settings = {
            "HTTP__HOST": "127.0.0.1",
            "HTTP__PORT": str(port),
            "KAFKA__SESSION_TIMEOUT_MS": "6000",  # the longest that the mock allows
            **({} if "TYPESENSE__API_KEY_FILE" in settings else {"TYPESENSE__API_KEY": SECRET}),
            "TYPESENSE__MAX_BACKOFF_S": "0.3",
        } | settings
        variables = {name: value for name, value in os.environ.items() if not name.startswith("CDC_SYNC_")}
        variables |= {f"CDC_SYNC_{name}": value for name, value in settings.items()}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cdc_sync", "run"],
                cwd=folder,
                env=variables | {"PYTHONPATH": str(PROJECT)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()
        except OSError:
            return 0, ""

    def wait(self, until: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until something is so, as long as the daemon lives."""
        deadline = time.monotonic() + timeout_s
        while not until():
            assert self.process.poll() is None, f"the daemon has ended:\n{self.log}"
            assert time.monotonic() < deadline, f"{self.get('/readyz')}\n{self.log}"
            time.sleep(0.05)

    def wait_ready(self) -> None:
        """Wait for 200 from `/readyz`."""
        self.wait(lambda: self.get("/readyz")[0] == 200)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and the seconds until it came."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30), time.monotonic() - began

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text("utf-8")

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this event; every line is JSON."""
        lines = [json.loads(line) for line in self.log.splitlines()]
        return [line for line in lines if line["event"] == event]
