"""A running stand-in and a small client for it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from cdc_sync.typesense_standin import StandIn

KEY_HEADER = "x-typesense-api-key"


class Client:
    """One kept-alive connection; answers are (status, text)."""

    def __init__(self, standin: StandIn, timeout_s: float = 10.0) -> None:
        self.standin = standin
        self._connection = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=timeout_s)

    def send(self, method: str, path: str, body: str | bytes | None = None) -> tuple[int, str]:
        raw = body.encode() if isinstance(body, str) else body
        self._connection.request(method, path, raw, {KEY_HEADER: self.standin.api_key})
        response = self._connection.getresponse()
        return response.status, response.read().decode()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer of a request whose body is JSON."""
        text = None if body is None else json.dumps(body)
        return json.loads(self.send(method, path, text)[1])

    def create(self, name: str, *fields: dict[str, Any], **extra: Any) -> None:
        declared = list(fields) or [{"name": "t", "type": "string", "optional": True}]
        status, text = self.send(
            "POST", "/collections", json.dumps({"name": name, "fields": declared, **extra})
        )
        assert status == 201, text

    def upsert(self, name: str, *documents: dict[str, Any], query: str = "") -> list[Any]:
        """Result lines of an import."""
        body = "\n".join(json.dumps(document) for document in documents)
        path = f"/collections/{name}/documents/import?action=upsert{query}"
        text = self.send("POST", path, body)[1]
        return [json.loads(line) for line in text.split("\n")] if text else []

    def ids(self, name: str, filter_by: str = "") -> list[str]:
        """Ids of an export, in its order."""
        query = f"include_fields=id&filter_by={filter_by}"
        text = self.send("GET", f"/collections/{name}/documents/export?{query}")[1]
        return [json.loads(line)["id"] for line in text.split("\n")] if text else []

    def get(self, name: str, document_id: str) -> Any:
        return self.json("GET", f"/collections/{name}/documents/{document_id}")

    def close(self) -> None:
        self._connection.close()


class RawClient:
    """A bare socket, for what http.client does not do."""

    def __init__(self, standin: StandIn, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", standin.port), timeout_s)
        self._key = standin.api_key

    def head(self, method: str, path: str, *headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"{KEY_HEADER}: {self._key}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        return self.head(method, path, f"Content-Length: {len(body)}") + body

    def read_until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            piece = self.socket.recv(65536)
            if not piece:
                return data
            data += piece
        return data

    def read_all(self) -> bytes:
        data = b""
        while piece := self.socket.recv(65536):
            data += piece
        return data

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def client(standin: StandIn) -> Iterator[Client]:
    connected = Client(standin)
    yield connected
    connected.close()


@pytest.fixture
def other(standin: StandIn) -> Iterator[Client]:
    connected = Client(standin)
    yield connected
    connected.close()


@pytest.fixture
def raw(standin: StandIn) -> Iterator[RawClient]:
    connected = RawClient(standin)
    yield connected
    connected.close()
