"""The HTTP port: `/metrics`, `/healthz`, `/readyz`. Nothing on it writes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from cdc_sync.errors import ConfigError

__all__ = ["HealthServer", "Page"]

TEXT: Final = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """What a path answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


Health = Callable[[], list[str]]
"""What is wrong, a line each; nothing when all is well."""


class HealthServer:
    """Serves metrics and probes on threads of its own, from `start` to `stop`.

    `is_alive` and `is_ready` return what is wrong.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        is_alive: Health,
        is_ready: Health,
    ) -> None:
        self._registry = registry
        self._pages: dict[str, Callable[[str], Page]] = {
            "/metrics": self._metrics,
            "/healthz": lambda _: verdict(is_alive(), "alive"),
            "/readyz": lambda _: verdict(is_ready(), "ready"),
            "/": lambda _: Page(HTTPStatus.OK, TEXT, b"cdc-sync: /metrics /healthz /readyz\n"),
        }
        try:
            self._server = QuietServer((host, port), self._handler())
        except OSError as error:
            raise ConfigError(
                f"CDC_SYNC_HTTP__PORT: cannot listen on {host}:{port}: {error.strerror}; choose a free port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def page(self, path: str, accept: str = "") -> Page:
        """What this path answers."""
        make = self._pages.get(path.partition("?")[0])
        if make is None:
            return Page(HTTPStatus.NOT_FOUND, TEXT, b"not found\n")
        return make(accept)

    def _metrics(self, accept: str) -> Page:
        encode, content_type = choose_encoder(accept)
        return Page(HTTPStatus.OK, content_type, encode(self._registry))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version = "cdc-sync"

            def do_GET(self) -> None:  # http.server's name
                page = server.page(self.path, self.headers.get("Accept", ""))
                self.send_response(page.status)
                self.send_header("Content-Type", page.content_type)
                self.send_header("Content-Length", str(len(page.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(page.body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Probes come every few seconds; they are not news."""

        return Handler


class QuietServer(ThreadingHTTPServer):
    """A thread a request; the process does not wait for them."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless the client has only hung up: probes that run out of time do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def verdict(problems: list[str], well: str) -> Page:
    """200 when nothing is wrong, else 503 and what it is."""
    if problems:
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, ("\n".join(problems) + "\n").encode())
    return Page(HTTPStatus.OK, TEXT, f"{well}\n".encode())
