"""One kept-alive HTTP connection to one Typesense node.

Ours rather than the official client's, because a writer must know three things that a pool hides: which
node it talks to, whether an answer that got lost belongs to a request that may still be applied, and when
a connection is new (after a restart Typesense answers reads before it has replayed its writes;
`typesense-v29.md` 0.4). Nothing is retried here.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import time
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cdc_sync.errors import SinkAmbiguous, SinkUnavailable
from cdc_sync.sink.answers import Answer

__all__ = ["Answer", "Connection", "Observe"]

IDLE_S: Final = 30.0
"""Typesense closes a connection that was idle for 60 s; we never send on one that may be closing."""

LEADER: Final = 1

Observe = Callable[[str, str, float], None]
"""Told of every request: operation, outcome (a status, or `lost`), seconds."""


class Connection:
    """A connection that is opened by `open`, and closed by every error. Used by one thread; `abort` by any.

    `urls`: one node, or the nodes of a cluster, of which the leader is chosen (a follower's reads may be
    old). Timeouts are in seconds; `read_timeout_s` bounds the wait for an answer, which Typesense itself
    never ends.
    """

    def __init__(
        self,
        urls: Sequence[str],
        api_key: str,
        *,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 120.0,
        tls: ssl.SSLContext | None = None,
        observe: Observe = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._urls = tuple(urls)
        self._headers = {"X-TYPESENSE-API-KEY": api_key, "Content-Type": "text/plain"}
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._tls = tls
        self._observe = observe
        self._clock = clock
        self._http: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the next request would go out on the connection of the last one."""
        if self._http is not None and self._clock() - self._used_at > IDLE_S:
            self.close()
        return self._http is not None

    def open(self) -> None:
        """Connect to the node, or to the leader of several. Raises `SinkUnavailable`."""
        self.close()
        reasons = []
        for url in self._urls:
            try:
                self._http = self._connected(url)
                self._used_at = self._clock()
                if len(self._urls) == 1 or self._is_leader():
                    return
                reasons.append(f"{url} is not the leader")
            except (OSError, http.client.HTTPException, SinkUnavailable) as error:
                reasons.append(f"{url}: {error}")
            self.close()
        raise SinkUnavailable(f"no connection to Typesense: {'; '.join(reasons)}")

    def request(self, operation: str, method: str, target: str, body: bytes | None = None) -> Answer:
        """Send one request on the open connection and read its whole answer.

        Raises `SinkUnavailable` when the request was certainly not applied (reads never are), and
        `SinkAmbiguous` when it may be; the connection is closed then.
        """
        if self._http is None:
            raise SinkUnavailable("not connected to Typesense")
        started = self._clock()
        try:
            self._http.request(method, target, body, self._headers)
            with self._http.getresponse() as response:
                if response.length is None and not response.chunked:  # its end would look like a cut
                    raise http.client.HTTPException("no length and no chunks: the head was cut short")
                answer = Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self._observe(operation, "lost", self._clock() - started)
            self.close()
            reason = f"{operation}: no answer from Typesense: {describe(error)}"
            raise (SinkUnavailable if method == "GET" else SinkAmbiguous)(reason) from error
        self._used_at = self._clock()
        self._observe(operation, str(answer.status), self._used_at - started)
        if response.will_close:
            self.close()
        return answer

    def abort(self) -> None:
        """From another thread: end the request in flight; its `request` raises."""
        connection = self._http
        if connection is not None and connection.sock is not None:
            with suppress(OSError):  # it has ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close, and take back from the kernel what was not sent yet (RST instead of FIN).

        A request that is only partly sent is never applied; one that lingers in a socket buffer might be,
        after something newer.
        """
        connection, self._http = self._http, None
        if connection is None:
            return
        if connection.sock is not None:
            with suppress(OSError):  # closed already
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def _connected(self, url: str) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = self._tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                host, parts.port or 443, timeout=self._connect_timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, parts.port or 80, timeout=self._connect_timeout_s)
        connection.connect()
        connection.sock.settimeout(self._read_timeout_s)
        return connection

    def _is_leader(self) -> bool:
        answer = self.request("debug", "GET", "/debug")
        try:
            return bool(json.loads(answer.body).get("state") == LEADER)
        except (ValueError, AttributeError):
            return False


def describe(error: Exception) -> str:
    """An exception's text, or its name where it has none."""
    return str(error) or type(error).__name__
