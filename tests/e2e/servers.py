"""The search server of a test.

The project's stand-in, or a real Typesense that the environment names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.stack.layout import free_port
from tools.stack.rest import Refused, request

from .compare import Server
from .shared import PROJECT

__all__ = ["real_server", "standin"]

_READY_S = 30.0


@contextmanager
def standin(folder: Path) -> Iterator[Server]:
    """A stand-in of its own, empty, on a free loopback port."""
    server = Server(f"http://127.0.0.1:{free_port()}", "e2e-key")
    port = server.url.rpartition(":")[2]
    command = [
        sys.executable,
        "-m",
        "cdc_sync.typesense_standin",
        "--port",
        port,
        "--api-key",
        server.api_key,
    ]
    log = folder / "typesense.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_healthy(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()


def real_server() -> Server | None:
    """The Typesense that `CDC_SYNC_TEST_TYPESENSE_URL` names, emptied; None without."""
    url = os.environ.get("CDC_SYNC_TEST_TYPESENSE_URL")
    if not url:
        return None
    server = Server(url.rstrip("/"), os.environ["CDC_SYNC_TEST_TYPESENSE_API_KEY"])
    aliases = json.loads(server.get("/aliases"))["aliases"]
    for name in (alias["name"] for alias in aliases):
        _delete(server, f"/aliases/{urllib.parse.quote(name, safe='')}")
    for collection in json.loads(server.get("/collections")):
        _delete(server, f"/collections/{urllib.parse.quote(collection['name'], safe='')}")
    return server


def _delete(server: Server, path: str) -> None:
    headers = {"X-TYPESENSE-API-KEY": server.api_key}
    request(server.url + path, method="DELETE", headers=headers, timeout_s=60)


def _wait_healthy(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.get("/health")
        except (OSError, Refused):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the stand-in did not start:\n{log.read_text(errors='replace')[-2000:]}")
