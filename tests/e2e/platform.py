"""BANA around the dispatcher, for tests that know only the event architecture: producers, sockets, webhooks.

Nothing here uses the dispatcher's own code: payloads, signatures and tokens are written out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jwt
from confluent_kafka import Producer
from redis import Redis
from websockets import Origin
from websockets.sync.client import ClientConnection, connect

from tests.dispatcher.handlers import RECORD, seen
from tools.stack.layout import free_port

from .daemon import Daemon

__all__ = ["ORIGIN", "Answer", "Dispatching", "Platform", "Socket", "wait_for"]

KEY = b"a secret of thirty-two bytes, no"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
TOKEN_SECRET = "a shared secret for tests, which is long enough"
ISSUER, AUDIENCE = "https://identity.test", "bana"
ORIGIN = "https://app.test"

T = TypeVar("T")


def wait_for(ask: Callable[[], T], timeout_s: float = 40.0) -> T:
    """The first answer that is true; the test fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {answer!r}"
        time.sleep(0.05)


class Answer(NamedTuple):
    """To a webhook."""

    status: int
    body: str


class Socket:
    """A client of the edge."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, event: str, data: Any = None) -> None:
        self.connection.send(json.dumps({"event": event, "data": data}))

    def hear(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """The next frame."""
        frame: dict[str, Any] = json.loads(self.connection.recv(timeout_s))
        return frame

    def hear_all(self, quiet_s: float = 1.0) -> list[dict[str, Any]]:
        """Frames until there are no more for a while."""
        frames = []
        while True:
            try:
                frames.append(self.hear(quiet_s))
            except TimeoutError:
                return frames

    def authenticate(self, token: str) -> dict[str, Any]:
        self.say("authenticate", {"type": "Bearer", "token": token})
        return self.hear()

    def join(self, *rooms: str) -> dict[str, Any]:
        self.say("join", {"rooms": list(rooms)})
        return self.hear()


class Dispatching(Daemon):
    """One `cdc-sync dispatcher run`."""

    def __init__(self, settings: Mapping[str, str], log: Path, arguments: tuple[str, ...]) -> None:
        self.http_port = free_port()
        own = {"DISPATCHER__HOST": "127.0.0.1", "DISPATCHER__PORT": str(self.http_port)}
        ours = {f"CDC_SYNC_{name}": value for name, value in (own | dict(settings)).items()}
        super().__init__(ours, log, arguments)

    def socket(self, origin: str | None = None) -> Socket:
        url = f"ws://127.0.0.1:{self.http_port}/ws"
        return Socket(connect(url, origin=Origin(origin) if origin else None, compression=None, legacy=True))

    def member(self, *merchants: str) -> Socket:
        """A client that has joined its merchants' rooms."""
        socket = self.socket()
        assert socket.authenticate(Platform.token(*merchants))["event"] == "connected"
        rooms = [f"wr:observation/merchants/{merchant}" for merchant in merchants]
        assert socket.join(*rooms) == {"event": "joined", "data": {"rooms": rooms}}
        return socket

    def webhook(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        delivery_id: str | None = None,
        key: bytes = KEY,
        age_s: float = 0,
        header: str | None = None,
        tamper: bytes = b"",
    ) -> Answer:
        """What MQ-Pay sends; forged, stale or changed where the test says so."""
        body = json.dumps({"eventType": kind, **payload}).encode()
        delivery_id = delivery_id or f"msg_{uuid.uuid4().hex}"
        timestamp = str(int(time.time() - age_s))
        content = f"{delivery_id}.{timestamp}.".encode() + body
        signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        headers = {
            "Content-Type": "application/json",
            "X-Webhook-Event-Type": header or kind,
            "webhook-id": delivery_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature}",
        }
        return self.post("/webhooks/mq-pay", body + tamper, headers)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()


class Platform:
    """A broker, a Redis, and what runs between them in one test."""

    def __init__(self, kafka: str, redis: str, folder: Path) -> None:
        self.kafka = kafka
        self.redis_address = redis
        self.folder = folder
        self.redis: Redis = Redis.from_url(f"redis://{redis}/0")
        self.record = folder / "seen.jsonl"
        self.processes: list[Dispatching] = []
        self._producer = Producer(
            {"bootstrap.servers": kafka, "partitioner": "murmur2_random", "linger.ms": 5}
        )

    @staticmethod
    def token(*merchants: str, **changes: Any) -> str:
        """A token of the identity service."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user-1",
            "exp": int(time.time()) + 600,
            "merchantIds": list(merchants),
            **changes,
        }
        return jwt.encode(claims, TOKEN_SECRET, algorithm="HS256")

    def start(
        self,
        services: str = "",
        handlers: Mapping[str, Mapping[str, list[str]]] | None = None,
        *,
        ready: bool = True,
        arguments: tuple[str, ...] = ("dispatcher", "run"),
        **settings: str,
    ) -> Dispatching:
        """A dispatcher; a short session, so that a killed member is given up soon."""
        key_file = self.folder / "token-key"
        key_file.write_text(TOKEN_SECRET)
        process = Dispatching(
            {
                "KAFKA__BOOTSTRAP_SERVERS": self.kafka,
                "KAFKA__SESSION_TIMEOUT_MS": "6000",
                "KAFKA__EXTRA": json.dumps({"topic.metadata.refresh.interval.ms": 1000}),
                "DISPATCHER__SERVICES": services,
                "DISPATCHER__HANDLERS": json.dumps(handlers or {}),
                "DISPATCHER__REDIS_URL": f"redis://{self.redis_address}/0",
                "DISPATCHER__WEBHOOK_SECRET": SECRET,
                "DISPATCHER__TOKEN_KEY_FILE": str(key_file),
                "DISPATCHER__TOKEN_ALGORITHMS": "HS256",
                "DISPATCHER__TOKEN_ISSUER": ISSUER,
                "DISPATCHER__TOKEN_AUDIENCE": AUDIENCE,
                "DISPATCHER__WEBSOCKET_ORIGINS": ORIGIN,
                RECORD.removeprefix("CDC_SYNC_"): str(self.record),
                **settings,
            },
            self.folder / f"dispatcher-{len(self.processes)}.log",
            arguments,
        )
        self.processes.append(process)
        process.start(ready=ready)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self.redis.close()

    # What the platform's services do

    def publish(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None = None) -> None:
        """A service publishes an event, as a Java or TypeScript client would."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        while True:
            try:
                self._producer.produce(topic, body, key)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def announce(self, channel: str, payload: Mapping[str, Any]) -> int:
        """How many heard it."""
        heard: int = self.redis.publish(channel, json.dumps(payload))
        return heard

    def to_room(self, room: str, event: str, data: Any) -> None:
        """What an emitter elsewhere publishes."""
        envelope = {"serverId": "emitter", "type": "room", "target": room, "event": event, "data": data}
        self.redis.publish(f"ws:room:{room}", json.dumps(envelope))

    # What became of it

    def handled(self, **wanted: str) -> list[dict[str, Any]]:
        """The lines that handlers wrote, with these facts."""
        return [
            line for line in seen(self.record) if all(line[name] == value for name, value in wanted.items())
        ]

    def handled_keys(self, **wanted: str) -> list[str]:
        return [line["key"] for line in self.handled(**wanted)]
