"""The gate of a Kafka broker: TLS, then SASL/PLAIN, then closed. It remembers who came, and lets nobody in.

Only as much of Kafka's protocol as a client speaks before it is let in: ApiVersions, SaslHandshake and
SaslAuthenticate, in their oldest versions (KIP-35, KIP-43, KIP-152).
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import suppress
from typing import Final, NamedTuple

__all__ = ["KafkaGate", "Visitor"]

API_VERSIONS: Final = 18
SASL_HANDSHAKE: Final = 17
SASL_AUTHENTICATE: Final = 36
UNSUPPORTED_VERSION: Final = 35
AUTHENTICATION_FAILED: Final = 58


class Visitor(NamedTuple):
    """Who has shown a password, and under which client id."""

    client_id: str
    name: str
    password: str
    tls: str


class KafkaGate:
    """Listens on `localhost`; `visitors` showed a password, `strangers` failed before (the reasons)."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._listener = socket.create_server(("localhost", 0))
        self.address = f"localhost:{self._listener.getsockname()[1]}"
        self.visitors: list[Visitor] = []
        self.strangers: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> KafkaGate:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # not connected: that is what wakes `accept`
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        peer.settimeout(10)
        try:
            with self._tls.wrap_socket(peer, server_side=True) as client:
                while self._answer(client):
                    pass
        except OSError as error:
            self.strangers.append(str(error))

    def _answer(self, client: ssl.SSLSocket) -> bool:
        """Answer one request; whether the conversation goes on."""
        head = exactly(client, 4)
        if not head:
            return False
        request = exactly(client, struct.unpack(">i", head)[0])
        api, version, correlation, id_length = struct.unpack(">hhih", request[:10])
        client_id, rest = request[10 : 10 + id_length].decode(), request[10 + id_length :]
        if api == API_VERSIONS:
            known = [(API_VERSIONS, 0), (SASL_HANDSHAKE, 1), (SASL_AUTHENTICATE, 0)]
            body = struct.pack(">hi", UNSUPPORTED_VERSION if version else 0, len(known))
            body += b"".join(struct.pack(">hhh", key, 0, newest) for key, newest in known)
        elif api == SASL_HANDSHAKE:
            body = struct.pack(">hi", 0, 1) + text("PLAIN")
        else:
            _, name, password = rest[4:].split(b"\0")
            visitor = Visitor(client_id, name.decode(), password.decode(), client.version() or "")
            self.visitors.append(visitor)
            body = (
                struct.pack(">h", AUTHENTICATION_FAILED) + text("you may not come in") + struct.pack(">i", 0)
            )
        client.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)
        return True


def text(words: str) -> bytes:
    """A string as the protocol has it."""
    return struct.pack(">h", len(words)) + words.encode()


def exactly(client: ssl.SSLSocket, size_bytes: int) -> bytes:
    """So many bytes; empty when the client has gone."""
    taken = b""
    while len(taken) < size_bytes:
        piece = client.recv(size_bytes - len(taken))
        if not piece:
            return b""
        taken += piece
    return taken
