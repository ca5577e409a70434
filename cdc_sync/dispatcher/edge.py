"""The WebSocket edge: connections from the handshake to the close; what they say is `protocol.py`."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from cdc_sync.dispatcher.hub import Client, Hub
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dispatcher.protocol import (
    GOING_AWAY,
    MAX_FRAME,
    Action,
    Close,
    Join,
    Leave,
    Refuse,
    Rules,
    Say,
    Session,
    Verify,
)
from cdc_sync.dispatcher.tokens import TokenRefused, Tokens

__all__ = ["Edge"]

SWEEP_EVERY_S: Final = 0.5
CLOSE_WITHIN_S: Final = 2.0
UNSUPPORTED: Final = 1003


class Edge:
    """Serves clients. `origins` are those that browsers may come from, beside our own."""

    def __init__(
        self,
        hub: Hub,
        tokens: Tokens,
        meters: Meters,
        *,
        rules: Rules,
        origins: tuple[str, ...],
        max_connections: int,
        max_connections_per_address: int,
    ) -> None:
        self._hub = hub
        self._tokens = tokens
        self._meters = meters
        self._rules = rules
        self._origins = origins
        self._max_connections = max_connections
        self._max_per_address = max_connections_per_address
        self._open: dict[Client, web.WebSocketResponse] = {}
        self._addresses: Counter[str] = Counter()
        self._ends: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, compress=False)
        address = request.remote or ""
        self._addresses[address] += 1
        try:
            await socket.prepare(request)
            transport = request.transport
            if isinstance(transport, asyncio.Transport):
                await self._converse(socket, Client(self._session(), transport, address))
        finally:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        return socket

    def _session(self) -> Session:
        return Session(str(uuid.uuid4()), self._rules, time.monotonic())

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Before anything is spent on a client."""
        reason, status = "", 503
        if self._is_stopping:
            reason = "stopping"
        elif not self._is_welcome(request.headers.get("Origin"), request.host):
            reason, status = "origin", 403
        elif self._addresses.total() >= self._max_connections:
            reason = "connections"
        elif self._addresses[request.remote or ""] >= self._max_per_address:
            reason, status = "connections_per_address", 429
        if not reason:
            return None
        self._meters.count("websocket_refused_total", reason)
        return web.Response(status=status)

    def _is_welcome(self, origin: str | None, host: str) -> bool:
        """Browsers always say where they come from; other clients need not."""
        return origin is None or origin in self._origins or urlsplit(origin).netloc == host

    async def _converse(self, socket: web.WebSocketResponse, client: Client) -> None:
        self._open[client] = socket
        try:
            async for message in socket:
                if client.close_reason is not None:
                    continue  # the closing handshake is under way: what still comes is not looked at
                if message.type is WSMsgType.TEXT:
                    await self._act(client, client.session.received(message.data, time.monotonic()))
                elif message.type is WSMsgType.BINARY:
                    self._end(client, UNSUPPORTED, "text frames only")
        finally:
            del self._open[client]
            if client.close_reason is not None:
                self._meters.count("websocket_closed_total", client.close_reason)
            await self._hub.part(client)

    async def _act(self, client: Client, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Say(event, data):
                    self._hub.say(client, event, data)
                case Join(room):
                    await self._hub.join(client, room)
                case Leave(room):
                    await self._hub.leave(client, room)
                case Refuse(reason):
                    self._meters.count("websocket_refused_total", reason)
                case Close(code, reason):
                    self._end(client, code, reason)
                case Verify(token):
                    await self._verify(client, token)

    async def _verify(self, client: Client, token: str) -> None:
        try:
            identity = await self._tokens.verify(token)
        except TokenRefused:
            self._meters.count("websocket_refused_total", "token")
            await self._act(client, client.session.refused())
            return
        actions = client.session.verified(identity, time.monotonic(), datetime.now(UTC).isoformat())
        if actions:  # else its time was up meanwhile
            client.user_id = identity.user_id
            await self._hub.welcome(client)
            await self._act(client, actions)

    # The end of connections --------------------------------------------------------------------------

    async def sweep(self) -> None:
        """End what is over, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now = time.monotonic()
            for client in list(self._open):
                for action in client.session.tick(now):
                    if isinstance(action, Close):
                        self._end(client, action.code, action.reason)
            self._meters.set("websocket_connections", len(self._open))

    async def stop(self) -> None:
        """No new connections; those that are open hear that we go away."""
        self._is_stopping = True
        for client in list(self._open):
            self._end(client, GOING_AWAY, "going away")
        if self._ends:
            await asyncio.wait(self._ends, timeout=CLOSE_WITHIN_S + 1.0)

    def _end(self, client: Client, code: int, reason: str) -> None:
        """Close it; whoever does not answer is cut off."""
        if client.close_reason is not None:
            return
        client.close_reason = reason.replace(" ", "_")
        task = asyncio.ensure_future(close(client, self._open[client], code, reason))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)


async def close(client: Client, socket: web.WebSocketResponse, code: int, reason: str) -> None:
    """The closing handshake, with an end."""
    with contextlib.suppress(OSError, TimeoutError, RuntimeError):
        await asyncio.wait_for(socket.close(code=code, message=reason.encode()), CLOSE_WITHIN_S)
    client.transport.abort()
