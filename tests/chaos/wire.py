"""HTTP/1.1 as bytes: whole requests and whole answers off a socket, kept as they came.

Only what the daemon and Typesense use: bodies by Content-Length or in chunks, no upgrades, no trailers.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import Final, NamedTuple

__all__ = ["Head", "Hung", "Stream", "is_gone", "is_reset", "read_answer", "read_head", "reset"]

_PIECE: Final = 65_536
_END_OF_HEAD: Final = b"\r\n\r\n"
_CLOSED: Final = 7  # TCP_CLOSE in <netinet/tcp.h>: the state after a reset
_DOCUMENTS: Final = re.compile(r"/collections/([^/?]+)/documents")


class Hung(Exception):
    """The other side closed in the middle of a request or an answer."""


class Stream:
    """The bytes of a non-blocking socket, read no further than somebody wants them."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._buffer = bytearray()

    async def until(self, mark: bytes) -> bytes:
        """The bytes up to and with `mark`. Raises: Hung, OSError."""
        while (found := self._buffer.find(mark)) < 0:
            await self._more()
        return self._take(found + len(mark))

    async def exactly(self, size_bytes: int) -> bytes:
        """So many bytes. Raises: Hung, OSError."""
        while len(self._buffer) < size_bytes:
            await self._more()
        return self._take(size_bytes)

    async def slowly(self, size_bytes: int, seconds: float) -> bytes:
        """So many bytes, taken from the socket in ten pieces over `seconds`. Raises: Hung, OSError."""
        taken = self._take(min(size_bytes, len(self._buffer)))
        piece = max(1, -(-size_bytes // 10))
        while len(taken) < size_bytes:
            await asyncio.sleep(seconds / 10)
            taken += await self.exactly(min(piece, size_bytes - len(taken)))
        await asyncio.sleep(seconds / 10)
        return taken

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises: OSError."""
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def _more(self) -> None:
        piece = await asyncio.get_running_loop().sock_recv(self.socket, _PIECE)
        if not piece:
            raise Hung
        self._buffer += piece

    def _take(self, size_bytes: int) -> bytes:
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return taken


class Head(NamedTuple):
    """The beginning of a request or an answer, as it came and as it is understood."""

    raw: bytes
    words: tuple[str, ...]
    """Of the first line: method, target, version; or version, status, reason."""
    headers: dict[str, str]

    @property
    def size_bytes(self) -> int | None:
        """What Content-Length says; None without."""
        length = self.headers.get("content-length")
        return None if length is None else int(length)

    @property
    def is_write(self) -> bool:
        """Whether a request may change something."""
        return self.words[0] not in ("GET", "HEAD")

    @property
    def queue(self) -> str | None:
        """The collection in whose queue Typesense puts this request; None for those without one."""
        found = _DOCUMENTS.match(self.words[1]) if self.is_write else None
        return found[1] if found else None


async def read_head(stream: Stream) -> Head:
    """The next head. Raises: Hung, OSError."""
    raw = await stream.until(_END_OF_HEAD)
    first, *lines = raw[: -len(_END_OF_HEAD)].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(raw, tuple(first.split(" ", 2)), {name.lower(): value.strip() for name, _, value in pairs})


async def read_answer(stream: Stream, method: str) -> tuple[int, bytes]:
    """Status and all bytes of the answer to a request of this method. Raises: Hung, OSError."""
    head = await read_head(stream)
    status = int(head.words[1])
    if method == "HEAD" or status in (204, 304):
        return status, head.raw
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        return status, head.raw + await _read_chunks(stream)
    return status, head.raw + await stream.exactly(head.size_bytes or 0)


async def _read_chunks(stream: Stream) -> bytes:
    body = bytearray()
    while True:
        line = await stream.until(b"\r\n")
        size_bytes = int(line.split(b";")[0], 16)
        body += line + await stream.exactly(size_bytes + 2)
        if size_bytes == 0:
            return bytes(body)


def is_gone(connected: socket.socket) -> bool:
    """Whether the other side has closed or reset the connection."""
    try:
        return connected.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def is_reset(connected: socket.socket) -> bool:
    """Whether the other side has reset the connection: what it had not sent yet never arrives."""
    try:
        return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED
    except OSError:
        return True


def reset(connected: socket.socket) -> None:
    """Close with RST instead of FIN, as a process that dies or a network that is cut does."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connected.close()
