"""The Typesense that is measured against: the stand-in, or a real one whose collections are overwritten.

`ceiling` is the raw import of that server: documents that are serialised already, in bodies of the size that
the daemon uses, one after the other over one connection.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bench.events import Event
from cdc_sync.app import load_router
from cdc_sync.corridor import Corridor
from cdc_sync.decoder import JsonDecoder
from cdc_sync.errors import RecordError
from cdc_sync.mappers.products import PRODUCT, PRODUCT_ENRICHMENT, PRODUCT_INFO
from cdc_sync.model import Document, Partition, Record, Upsert
from cdc_sync.schema import Collection
from cdc_sync.sink.bodies import import_bodies
from tools.stack.layout import free_port

__all__ = ["Server", "documents_of", "server"]

NAMES = ("products", "product-infos")


class Server:
    """A Typesense; `pid` where it is the stand-in of this run."""

    def __init__(self, url: str, api_key: str, pid: int | None = None) -> None:
        self.url = url
        self.pid = pid
        self._api_key = api_key

    @property
    def name(self) -> str:
        """What it is, for the report."""
        return "stand-in" if self.pid is not None else "Typesense"

    @property
    def settings(self) -> dict[str, str]:
        """The daemon's settings for it."""
        return {"CDC_SYNC_TYPESENSE__URL": self.url, "CDC_SYNC_TYPESENSE__API_KEY": self._api_key}

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one request."""
        connection = self.connect()
        try:
            return self._ask(connection, method, path, body)
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """A connection."""
        parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=600)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        connection.request(method, path, body, {"X-TYPESENSE-API-KEY": self._api_key})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def has(self, connection: http.client.HTTPConnection, document_id: str) -> bool:
        """Whether a product can be read."""
        return self._ask(connection, "GET", f"/collections/products/documents/{document_id}")[0] == 200

    def clear(self) -> None:
        """Drop what the daemon made."""
        for name in NAMES:
            for path in (f"/aliases/{name}", f"/collections/{name}_1", f"/collections/{name}"):
                self.ask("DELETE", path)

    def arm(self, *faults: dict[str, Any]) -> None:
        """Faults of the stand-in; a real server has none on demand."""
        if self.pid is not None:
            self.ask("PUT", "/standin/faults", json.dumps({"faults": faults}).encode())

    def ceiling(self, documents: dict[str, list[Document]]) -> float:
        """Documents a second by raw import, into collections like the daemon's."""
        self.clear()
        schemas: dict[str, Collection] = {m.collection.name: m.collection for m in (PRODUCT, PRODUCT_INFO)}
        for name in documents:
            self.ask("POST", "/collections", json.dumps(schemas[name].as_json(f"{name}_1")).encode())
        bodies = [(name, body) for name, some in documents.items() for body, _ in import_bodies(some)]
        connection = self.connect()
        began = time.monotonic()
        for name, body in bodies:
            path = f"/collections/{name}_1/documents/import?action=upsert&dirty_values=reject"
            status, answer = self._ask(connection, "POST", path, body)
            if status != 200 or b'"success":false' in answer:
                raise SystemExit(f"the ceiling's import failed: {status} {answer[:200]!r}")
        seconds = time.monotonic() - began
        connection.close()
        self.clear()
        return sum(map(len, documents.values())) / seconds


@contextmanager
def server() -> Iterator[Server]:
    """The one of `CDC_SYNC_TEST_TYPESENSE_URL` and `…_API_KEY`, or a stand-in of this run."""
    url = os.environ.get("CDC_SYNC_TEST_TYPESENSE_URL")
    if url:
        yield Server(url.rstrip("/"), os.environ.get("CDC_SYNC_TEST_TYPESENSE_API_KEY", "xyz"))
        return
    port = free_port()
    command = [sys.executable, "-m", "cdc_sync", "typesense-standin", "--port", str(port), "--api-key", "xyz"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    found = Server(f"http://127.0.0.1:{port}", "xyz", process.pid)
    try:
        while not answers(found):
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait(10)


def answers(found: Server) -> bool:
    """Whether it listens."""
    try:
        return found.ask("GET", "/health")[0] == 200
    except OSError:
        return False


def documents_of(events: Iterable[Event]) -> dict[str, list[Document]]:
    """What the events lead to, enriched, by collection."""
    router = load_router(())
    corridor = Corridor(JsonDecoder("bench", router.reads), router)
    documents: dict[str, dict[str, Document]] = {name: {} for name in NAMES}
    for event in events:
        record = Record(Partition(f"bench.{event.table}", 0), 0, event.key, event.value)
        with suppress(RecordError):
            change = corridor.change_of(record)
            if isinstance(change, Upsert):
                documents[change.collection][change.id] = change.document
    parents, sides = (documents[name] for name in NAMES)
    for side in sides.values():
        parent = parents.get(side[PRODUCT_ENRICHMENT.parent_field])
        if parent is not None:
            parent |= PRODUCT_ENRICHMENT.of([side])
    return {name: list(some.values()) for name, some in documents.items() if some}
