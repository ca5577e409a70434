"""HTTP/1.1 as the real server speaks it: chunked answers, no Content-Length, Date or Server.

One request of a connection is handled at a time, pipelined ones wait in order. A request goes to
the handler only when its whole body is here; losing the connection later does not cancel it.
"""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from .errors import JSON

MAX_HEAD_BYTES = 417_792
_HEX = re.compile(rb"%([0-9A-Fa-f]{2})")
_PARAM_EDGE = re.compile(r"(?<!&)&(?!&)")


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. ``segments`` are decoded path segments, ``raw_segments`` as sent."""

    method: str
    target: str
    raw_segments: tuple[str, ...]
    segments: tuple[str, ...]
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; ``stream`` follows after ``body`` piece by piece."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    stream: AsyncIterator[bytes] | None = field(default=None, compare=False)


def url_decode(text: str) -> str:
    """Percent-decoding with ``+`` as space; bytes that are not UTF-8 are dropped."""
    if "%" not in text and "+" not in text:
        return text
    raw = text.replace("+", " ").encode("utf-8", "surrogateescape")
    return _HEX.sub(lambda found: bytes([int(found[1], 16)]), raw).decode("utf-8", "ignore")


def read_query(query: str) -> dict[str, str]:
    """Parameters: the last of a repeated key wins, but ``filter_by`` is joined with ``&&``.

    An unescaped ``&&`` inside a value is no separator. Keys are not decoded.
    """
    params: dict[str, str] = {}
    for part in _PARAM_EDGE.split(query):
        key, _, value = part.partition("=")
        if not key:
            continue
        value = url_decode(value)
        if key == "filter_by" and key in params:
            value = params[key] + "&&" + value
        params[key] = value
    return params


class Exchange:
    """One request and the connection its answer goes to."""

    def __init__(self, connection: "Connection", request: Request, keep_alive: bool) -> None:
        self.request = request
        self._connection = connection
        self._keep_alive = keep_alive

    @property
    def is_connected(self) -> bool:
        return self._connection.is_open

    async def send(self, response: Response) -> None:
        """Send the answer and go on with the next request of the connection."""
        self.start(response.status, response.content_type)
        self.write(response.body)
        if response.stream is not None:
            async for piece in response.stream:
                if not self.is_connected:
                    break
                self.write(piece)
                await self._connection.drained()
        self.finish()

    def start(self, status: int, content_type: str) -> None:
        """Status line and headers."""
        self._connection.write_head(status, content_type, self._keep_alive)

    def write(self, piece: bytes) -> None:
        """A piece of the body."""
        self._connection.write_piece(piece)

    def finish(self) -> None:
        """The end of the body."""
        self._connection.finish_answer(self._keep_alive)

    def close(self) -> None:
        """Close after what was written; an unfinished answer is visibly cut off."""
        self._connection.close()

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        self._connection.reset()

    def abandon(self) -> None:
        """Never answer; the connection stays open until the client closes it."""


class Connection(asyncio.Protocol):
    """Reads requests from one socket."""

    def __init__(self, handle: Callable[[Exchange], None], peers: set["Connection"]) -> None:
        self._handle = handle
        self._peers = peers
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._head: _Head | None = None
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._chunked_answer = True
        self._sends_body = True

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peers.add(self)
        raw_socket = transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._peers.discard(self)
        self._can_write.set()

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    async def drained(self) -> None:
        """Wait until the client has taken enough, and let others have their turn."""
        await asyncio.sleep(0)
        await self._can_write.wait()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        if self._busy or self._transport is None:
            return
        if self._head is None and not self._read_head():
            return
        head = self._head
        assert head is not None
        try:
            body = head.take_body(self._buffer)
        except ValueError:
            self._refuse_malformed()
            return
        if body is None:
            return
        self._head = None
        self._busy = True
        self._chunked_answer = head.version != "HTTP/1.0"
        self._sends_body = head.method != "HEAD"
        self._handle(Exchange(self, head.request(body), head.keep_alive))

    def _read_head(self) -> bool:
        while self._buffer[:2] == b"\r\n":
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self.close()
            return False
        text = self._buffer[:end].decode("utf-8", "surrogateescape")
        del self._buffer[: end + 4]
        try:
            self._head = _Head(text)
        except ValueError:
            self._refuse_malformed()
            return False
        if self._head.expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _refuse_malformed(self) -> None:
        if self._transport is not None:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        self.close()

    def write_head(self, status: int, content_type: str, keep_alive: bool) -> None:
        phrase = "" if status == 503 else HTTPStatus(status).phrase
        lines = [
            f"HTTP/1.1 {status} {phrase}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            "access-control-allow-origin: *",
            f"content-type: {content_type}",
        ]
        if self._chunked_answer:
            lines.append("transfer-encoding: chunked")
        if self._transport is not None:
            self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def write_piece(self, piece: bytes) -> None:
        if self._transport is None or not piece or not self._sends_body:
            return
        if self._chunked_answer:
            self._transport.writelines([b"%x\r\n" % len(piece), piece, b"\r\n"])
        else:
            self._transport.write(piece)

    def finish_answer(self, keep_alive: bool) -> None:
        if self._transport is None:
            return
        if self._chunked_answer and self._sends_body:
            self._transport.write(b"0\r\n\r\n")
        if not keep_alive:
            self.close()
            return
        self._busy = False
        if self._buffer:
            self._advance()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        if self._transport is not None:
            raw_socket = self._transport.get_extra_info("socket")
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


class _Head:
    """A parsed request head; raises ValueError for what is no HTTP."""

    def __init__(self, text: str) -> None:
        request_line, *lines = text.split("\r\n")
        self.method, self.target, self.version = request_line.split(" ")
        self.headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(line)
            self.headers[name.lower()] = value.strip()
        self._is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        self._length = int(self.headers.get("content-length", "0"))
        self._body = bytearray()

    @property
    def keep_alive(self) -> bool:
        wanted = self.headers.get("connection", "").lower()
        return self.version != "HTTP/1.0" and wanted != "close"

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"

    def take_body(self, buffer: bytearray) -> bytes | None:
        """The body, removed from the buffer; None while some of it is missing."""
        if self._is_chunked:
            return self._take_chunks(buffer)
        if len(buffer) < self._length:
            return None
        body = bytes(memoryview(buffer)[: self._length])
        del buffer[: self._length]
        return body

    def _take_chunks(self, buffer: bytearray) -> bytes | None:
        while True:
            line_end = buffer.find(b"\r\n")
            if line_end < 0:
                return None
            size = int(buffer[:line_end].split(b";")[0], 16)
            whole = line_end + 2 + size + 2
            if len(buffer) < whole:
                return None
            self._body += buffer[line_end + 2 : whole - 2]
            del buffer[:whole]
            if size == 0:
                return bytes(self._body)

    def request(self, body: bytes) -> Request:
        path, _, query = self.target.partition("?")
        raw = tuple(segment for segment in path.split("/") if segment)
        return Request(
            self.method,
            self.target,
            raw,
            tuple(url_decode(segment) for segment in raw),
            read_query(query),
            self.headers,
            body,
        )
