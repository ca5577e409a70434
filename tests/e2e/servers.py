"""The search server of a test.

The project's stand-in, or a real Typesense that the environment names.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.stack import LocalProcess
from tools.stack.layout import free_port
from tools.stack.ledger import Ledger
from tools.stack.part import Command
from tools.stack.rest import request

from .compare import Server
from .shared import PROJECT

__all__ = ["real_server", "real_server_url", "standin", "standin_part"]

_READY_S = 30.0


@contextmanager
def standin(folder: Path) -> Iterator[Server]:
    """A stand-in of its own, empty, on a free loopback port."""
    server, part = standin_part(folder)
    part.start()
    try:
        part.wait_ready()
        yield server
    finally:
        part.kill()


def standin_part(folder: Path, *, data: Path | None = None) -> tuple[Server, LocalProcess]:
    """A stand-in that is not started yet; with `data` it keeps its documents there over a restart."""
    port = free_port()
    server = Server(f"http://127.0.0.1:{port}", "e2e-key")
    command = [sys.executable, "-m", "cdc_sync.typesense_standin", "--port", str(port)]
    command += ["--api-key", server.api_key]
    if data is not None:
        command += ["--data-dir", str(data)]
    part = LocalProcess(
        "typesense",
        server.url,
        Command(command, PROJECT),
        lambda: server.get("/health"),
        ledger=Ledger(folder),
        log=folder / "typesense.log",
        deadline_s=_READY_S,
    )
    return server, part


def real_server_url() -> str | None:
    """Where the real Typesense is that the environment names; None without."""
    return os.environ.get("CDC_SYNC_TEST_TYPESENSE_URL") or None


def real_server() -> Server | None:
    """The Typesense that `CDC_SYNC_TEST_TYPESENSE_URL` names, emptied; None without."""
    url = real_server_url()
    if url is None:
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
