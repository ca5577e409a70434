"""Tiny HTTP servers that answer with any bytes, or none: what no well-behaved server would send."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

__all__ = [
    "CERTIFICATE",
    "OK",
    "PRIVATE_KEY",
    "Answer",
    "RawServer",
    "free_port",
    "hang_up",
    "partly",
    "silence",
]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUBp+SALoUBDhPTU4tTso0T0yOhNEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzIzMTYzNVoYDzIxMjYxMDMw
MjMxNjM1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARGjwoySGJfU//VEN/L5qjcgFRl0uF5LVE39L7qti9r4TI2WkYRqK9W
tXfIAKr7ZyVcHFpCM/b3IW6+TrMPxUdvo2kwZzAdBgNVHQ4EFgQUyd0Tfg5agFZP
ctUneQrkwSYYs+IwHwYDVR0jBBgwFoAUyd0Tfg5agFZPctUneQrkwSYYs+IwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgI+Ps6TIbE514MBa2d+YMYpj3eAf6C8tXvMEB6/DgWdICIQDGWsdPcd2o
T1ddx+HybHNy38KDdvI4BYIh1KCgWcuwPQ==
-----END CERTIFICATE-----
"""
"""For `localhost`, signed by itself, good until 2126; the key below is nobody's secret."""

PRIVATE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrrFOv4kBUZdYvsU1
2bNlWS7L7/9Y/BthlaaiO/yDB9qhRANCAARGjwoySGJfU//VEN/L5qjcgFRl0uF5
LVE39L7qti9r4TI2WkYRqK9WtXfIAKr7ZyVcHFpCM/b3IW6+TrMPxUdv
-----END PRIVATE KEY-----
"""

Answer = Callable[[socket.socket], None]


class RawServer:
    """Accepts connections, reads one request after the other, and answers with the next of `answers`.

    The last answer is given again and again. `requests` are the bytes as they came, `peers` their count of
    connections.
    """

    def __init__(self, *answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answers = list(answers)
        self._tls = tls
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[bytes] = []
        self.peers = 0
        self.asked = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        self._listener.settimeout(0.05)
        while not self._ended.is_set():
            try:
                peer = self._listener.accept()[0]
            except OSError:
                continue
            self.peers += 1
            with peer:
                try:
                    self._serve(self._tls.wrap_socket(peer, server_side=True) if self._tls else peer)
                except OSError:
                    continue

    def _serve(self, peer: socket.socket) -> None:
        peer.settimeout(0.05)
        with peer:
            received = b""
            while not self._ended.is_set():
                try:
                    part = peer.recv(65_536)
                except TimeoutError:
                    continue
                if not part:
                    return
                received += part
                if is_whole(received):
                    self.requests.append(received)
                    self.asked.set()
                    received = b""
                    answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                    if isinstance(answer, bytes):
                        peer.sendall(answer)
                    else:
                        answer(peer)


def is_whole(request: bytes) -> bool:
    """Whether the head and the body that it announces have come."""
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return b"\r\n\r\n" in request and len(body) >= (int(lengths[0][15:]) if lengths else 0)


def hang_up(peer: socket.socket) -> None:
    """Close without an answer."""
    peer.shutdown(socket.SHUT_RDWR)


def silence(peer: socket.socket) -> None:
    """Say nothing."""


def partly(answer: bytes) -> Answer:
    """Send this, then close."""

    def send(peer: socket.socket) -> None:
        peer.sendall(answer)
        peer.shutdown(socket.SHUT_RDWR)

    return send


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
