"""A proxy between replicas and a search server that does on demand what networks and servers do.

It knows the server only from outside, so it works the same in front of the stand-in and of a real
Typesense (plain HTTP). Every replica gets a port of its own; a fault hits all of them or one.

Writes to one collection go on one after another, in the order in which their last byte has come: as
Typesense itself queues them (`typesense-v29.md`, 0.4). So a request that is held here for longer than the
client waits is applied late, but what is sent after it has been *received whole* waits behind it. What is
received in part when the client resets its connection is dropped, like bytes that never left it; after an
orderly close it is still read to its end, and applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final, TextIO

from .wire import Head, Hung, Stream, is_gone, is_reset, read_answer, read_head, reset

__all__ = ["Fault", "FaultKind", "FaultProxy"]

_RECEIVE_BYTES: Final = 65_536
_ANSWER_S: Final = 180.0
"""A server that never answers keeps its collection's queue no longer than this."""
_LOOK_EVERY_S: Final = 0.02


class FaultKind(StrEnum):
    """What happens to a request."""

    RESET_BEFORE = "reset before it was forwarded"
    RESET_AFTER = "reset after it was applied"
    TRUNCATE = "answer cut off"
    OVERLOADED = "503"
    RATE_LIMIT = "429"
    DELAY = "forwarded with delay"
    HANG = "applied, answer withheld"
    HOLD = "held, applied late"
    SLOW_UPLOAD = "slow upload"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do, to how many requests (None: all), and for how long from the first one that it hits.

    `seconds` is how long a request is delayed, held, hung or uploaded. `port` is the number of one
    replica's port; None hits all. `seed` decides where answers are cut.
    """

    kind: FaultKind
    for_s: float
    count: int | None = None
    seconds: float = 0.0
    port: int | None = None
    writes_only: bool = False
    seed: int = 0

    def __str__(self) -> str:
        many = "all" if self.count is None else str(self.count)
        what = "writes" if self.writes_only else "requests"
        where = "" if self.port is None else f" of replica {self.port}"
        wait = f", {self.seconds:.1f} s each" if self.seconds else ""
        return f"{self.kind}: {many} {what}{where} within {self.for_s:.1f} s{wait}"


class _Armed:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = fault.count
        self.until = math.inf
        self.random = Random(fault.seed)

    def hits(self, port: int, *, is_write: bool) -> bool:
        fault = self.fault
        return (
            self.left != 0
            and time.monotonic() < self.until
            and fault.port in (None, port)
            and (is_write or not fault.writes_only)
        )

    def spend(self) -> None:
        if self.until == math.inf:
            self.until = time.monotonic() + self.fault.for_s
        if self.left is not None:
            self.left -= 1


def _refusal(status: str, message: str) -> bytes:
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_REFUSALS: Final = {
    FaultKind.OVERLOADED: _refusal("503 Service Unavailable", "Not Ready or Lagging"),
    FaultKind.RATE_LIMIT: _refusal("429 Too Many Requests", "Rate limit exceeded or blocked"),
}


class FaultProxy:
    """`start` and `stop` it; `open_port`, `arm`, `clear` and `fired` may be called by any thread."""

    def __init__(
        self,
        server: tuple[str, int],
        log: Path,
        *,
        with_bodies: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`log` gets a JSON line a request, with `now_s`; `with_bodies`, also what was written."""
        self._server = server
        self._log_path = log
        self._with_bodies = with_bodies
        self._log: TextIO | None = None
        self._armed: list[_Armed] = []
        self._fired: Counter[FaultKind] = Counter()
        self._queues: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []
        self._now_s = now_s
        self._connections = 0

    def start(self) -> None:
        """Begin to serve the ports that are opened."""
        self._log = self._log_path.open("a", buffering=1)
        self._thread.start()

    def stop(self) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._log is not None:
            self._log.close()

    def open_port(self, number: int) -> str:
        """The URL of a new port, which faults and the log know by this number."""
        listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that a slow upload is slow for its sender, too; inherited by what is accepted.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._loop.call_soon_threadsafe(self._spawn, self._accept(listener, number))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def arm(self, fault: Fault) -> None:
        """Do this from now on."""
        now = time.monotonic()
        self._armed = [armed for armed in self._armed if armed.until > now and armed.left != 0]
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Do nothing to new requests; those that are held stay held."""
        self._armed = []

    def fired(self) -> Counter[FaultKind]:
        """How many requests each kind has hit."""
        return self._fired.copy()

    # On the proxy's own thread

    async def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._cut_off(port):
                reset(client)
            else:
                self._spawn(self._serve(client, port))

    def _cut_off(self, port: int) -> bool:
        for armed in self._armed:
            if armed.fault.kind is FaultKind.UNREACHABLE and armed.hits(port, is_write=True):
                armed.spend()
                return True
        return False

    async def _serve(self, client: socket.socket, port: int) -> None:
        self._connections += 1
        exchange = _Exchange(self, Stream(client), port, self._connections)
        try:
            while await exchange.once():
                pass
        except (Hung, OSError):
            pass  # one side has gone; the other learns of it by the close
        finally:
            client.close()
            exchange.close()

    def choose(self, port: int, head: Head) -> _Armed | None:
        """The first armed fault that hits this request; it is counted."""
        for armed in self._armed:
            if armed.hits(port, is_write=head.is_write):
                armed.spend()
                self._fired[armed.fault.kind] += 1
                return armed
        return None

    def turn(self, queue: str | None) -> contextlib.AbstractAsyncContextManager[object]:
        """This request's turn in the queue of its collection."""
        return contextlib.nullcontext() if queue is None else self._queues[queue]

    async def connect(self) -> socket.socket:
        """A connection to the server. Raises: OSError."""
        upstream = socket.socket()
        upstream.setblocking(False)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(upstream, self._server)
        except BaseException:
            upstream.close()
            raise
        return upstream

    def write_log(self, body: bytes, **facts: Any) -> None:
        """One line about a request."""
        line: dict[str, Any] = {"at_s": round(self._now_s(), 3), **facts}
        if self._with_bodies and body:
            line["body"] = body.decode(errors="replace")
        if self._log is not None:
            self._log.write(json.dumps(line) + "\n")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()


class _Exchange:
    """A client's connection, and ours to the server on its behalf."""

    def __init__(self, proxy: FaultProxy, client: Stream, port: int, number: int) -> None:
        self._proxy = proxy
        self._client = client
        self._port = port
        self._number = number
        self._upstream: Stream | None = None

    def close(self) -> None:
        """Close the connection to the server."""
        if self._upstream is not None:
            self._upstream.socket.close()
            self._upstream = None

    async def once(self) -> bool:
        """One request and what becomes of it; whether the connection goes on.

        Raises: Hung, OSError.
        """
        client = self._client
        head = await read_head(client)
        armed = self._proxy.choose(self._port, head)
        kind = armed.fault.kind if armed else None
        seconds = armed.fault.seconds if armed else 0.0
        size_bytes = head.size_bytes or 0
        if kind is FaultKind.SLOW_UPLOAD:
            body = await client.slowly(size_bytes, seconds)
            if is_reset(client.socket):  # in a network, the rest would never have come
                self._log(head, body, kind, None)
                return False
        else:
            body = await client.exactly(size_bytes)
        if kind in (FaultKind.RESET_BEFORE, FaultKind.UNREACHABLE):
            self._log(head, body, kind, None)
            reset(client.socket)
            return False
        if kind in _REFUSALS:
            self._log(head, body, kind, None)
            await client.send(_REFUSALS[kind])
            return True
        answer = await self._forward(head, body, kind, seconds)
        return await self._answer(kind, answer, armed, seconds)

    async def _forward(self, head: Head, body: bytes, kind: FaultKind | None, seconds: float) -> bytes:
        """Have the server answer, whether or not the client is still there."""
        status: int | None = None
        try:
            async with self._proxy.turn(head.queue):
                if kind in (FaultKind.HOLD, FaultKind.DELAY):
                    await asyncio.sleep(seconds)
                if self._upstream is not None and is_gone(self._upstream.socket):
                    self.close()  # idle connections end, and nothing of this request was sent
                if self._upstream is None:
                    self._upstream = Stream(await self._proxy.connect())
                await self._upstream.send(head.raw + body)
                async with asyncio.timeout(_ANSWER_S):
                    status, answer = await read_answer(self._upstream, head.words[0])
        except (Hung, OSError, TimeoutError) as error:
            reset(self._client.socket)
            raise Hung from error
        finally:
            self._log(head, body, kind, status)
        return answer

    async def _answer(
        self, kind: FaultKind | None, answer: bytes, armed: _Armed | None, seconds: float
    ) -> bool:
        client = self._client
        if kind is FaultKind.RESET_AFTER:
            reset(client.socket)
            return False
        if kind is FaultKind.TRUNCATE and armed is not None:
            await client.send(answer[: armed.random.randrange(len(answer))])
            return False
        if kind is FaultKind.HANG and await _wait_gone(client.socket, seconds):
            return False
        await client.send(answer)
        return b"onnection: close" not in answer[:1000]

    def _log(self, head: Head, body: bytes, kind: FaultKind | None, status: int | None) -> None:
        self._proxy.write_log(
            body,
            port=self._port,
            connection=self._number,
            request=f"{head.words[0]} {head.words[1]}",
            size=len(body),
            status=status,
            **({"fault": kind} if kind else {}),
        )


async def _wait_gone(client: socket.socket, seconds: float) -> bool:
    """Whether the client hangs up within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_gone(client):
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False
