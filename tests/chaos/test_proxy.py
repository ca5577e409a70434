"""The fault proxy does to a request what it was told, and nothing to the others."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cdc_sync.typesense_standin import StandIn

from .proxy import Fault, FaultKind, FaultProxy

KEY = {"X-TYPESENSE-API-KEY": "xyz"}
LOST = (OSError, http.client.HTTPException)


class World(NamedTuple):
    """A stand-in with one collection, and a proxy before it with ports 1 and 2."""

    standin: StandIn
    proxy: FaultProxy
    ports: dict[int, int]
    log: Path

    def connect(self, port: int = 1, timeout_s: float = 10.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=timeout_s)

    def send(self, document: str, port: int = 1, timeout_s: float = 10.0) -> int:
        """Upsert a document through the proxy on a connection of its own; the status."""
        connection = self.connect(port, timeout_s)
        try:
            connection.request("POST", "/collections/c/documents/import?action=upsert", line(document), KEY)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def stored(self) -> dict[str, Any]:
        """The documents by id, asked past the proxy."""
        direct = http.client.HTTPConnection("127.0.0.1", self.standin.port, timeout=10)
        direct.request("GET", "/collections/c/documents/export", headers=KEY)
        text = direct.getresponse().read().decode()
        direct.close()
        return {d["id"]: d for d in map(json.loads, filter(None, text.split("\n")))}


def line(document: str, **fields: object) -> bytes:
    """A body of one document."""
    return json.dumps({"id": document, **fields}).encode()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StandIn(port=0, api_key="xyz") as standin:
        direct = http.client.HTTPConnection("127.0.0.1", standin.port, timeout=10)
        schema = {"name": "c", "fields": [{"name": "t", "type": "string", "optional": True}]}
        direct.request("POST", "/collections", json.dumps(schema), KEY)
        assert 201 == direct.getresponse().status
        direct.close()
        proxy = FaultProxy(("127.0.0.1", standin.port), tmp_path / "requests.jsonl")
        proxy.start()
        ports = {number: int(proxy.open_port(number).rpartition(":")[2]) for number in (1, 2)}
        yield World(standin, proxy, ports, tmp_path / "requests.jsonl")
        proxy.stop()


def test_without_faults_nothing_is_different(world: World) -> None:
    """Many requests over one connection, reads and writes, HEAD and large bodies."""
    connection = world.connect()
    for number in range(50):
        body = line(f"d{number}", t="日本" * 20_000 if number == 7 else "x")
        connection.request("POST", "/collections/c/documents/import?action=upsert", body, KEY)
        assert b'{"success":true}' == connection.getresponse().read()
    connection.request("HEAD", "/health")
    assert b"" == connection.getresponse().read()
    connection.request("GET", "/collections/c/documents/export", headers=KEY)
    assert 50 == len(connection.getresponse().read().split(b"\n"))
    connection.close()
    assert not world.proxy.fired()


@pytest.mark.parametrize(
    ("kind", "is_applied"),
    [
        (FaultKind.RESET_BEFORE, False),
        (FaultKind.RESET_AFTER, True),
        (FaultKind.TRUNCATE, True),
        (FaultKind.UNREACHABLE, False),
    ],
)
def test_an_answer_that_gets_lost(world: World, kind: FaultKind, is_applied: bool) -> None:
    """The client learns nothing; the server has the request, or never hears of it."""
    count = None if kind is FaultKind.UNREACHABLE else 1
    world.proxy.arm(Fault(kind, for_s=60, count=count, seed=5))  # which cuts an answer in its body
    with pytest.raises(LOST):
        world.send("a")
    assert is_applied == ("a" in world.stored())
    world.proxy.clear()
    assert 200 == world.send("b")


@pytest.mark.parametrize(("kind", "status"), [(FaultKind.OVERLOADED, 503), (FaultKind.RATE_LIMIT, 429)])
def test_a_burst_of_refusals(world: World, kind: FaultKind, status: int) -> None:
    """All requests while it lasts, and the connection goes on."""
    world.proxy.arm(Fault(kind, for_s=60))
    assert [status, status] == [world.send("a"), world.send("a")]
    assert {} == world.stored()
    world.proxy.clear()
    assert 200 == world.send("a")
    assert 2 == world.proxy.fired()[kind]


def test_an_answer_that_does_not_come_in_time(world: World) -> None:
    """Applied at once, while the client waits in vain."""
    world.proxy.arm(Fault(FaultKind.HANG, for_s=60, count=1, seconds=30))
    with pytest.raises(TimeoutError):
        world.send("a", timeout_s=0.3)
    assert "a" in world.stored()


def test_a_request_that_is_applied_after_its_client_has_given_up(world: World) -> None:
    """Held, then forwarded; what is sent to the collection meanwhile waits behind it, and wins."""
    world.proxy.arm(Fault(FaultKind.HOLD, for_s=60, count=1, seconds=1.5))
    with pytest.raises(TimeoutError):
        world.send("a", timeout_s=0.3)
    assert {} == world.stored()
    connection = world.connect()
    connection.request("DELETE", "/collections/c/documents?filter_by=id:[]", headers=KEY)
    assert 200 == connection.getresponse().status
    connection.close()
    assert "a" in world.stored()  # a barrier has come back only after it


def test_reads_do_not_wait_for_a_request_that_is_held(world: World) -> None:
    """As in Typesense, where only writes are queued."""
    world.proxy.arm(Fault(FaultKind.HOLD, for_s=60, count=1, seconds=3, writes_only=True))
    holding = threading.Thread(target=world.send, args=("a",))
    holding.start()
    wait_until(lambda: world.proxy.fired()[FaultKind.HOLD] == 1)
    connection = world.connect()
    connection.request("GET", "/collections/c/documents/export", headers=KEY)
    assert b"" == connection.getresponse().read()
    connection.close()
    holding.join()
    assert "a" in world.stored()


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_slow_upload_whose_client_gives_up(world: World, is_reset: bool) -> None:
    """After a reset it never arrives; after an orderly close it does, too late for anybody to know."""
    world.proxy.arm(Fault(FaultKind.SLOW_UPLOAD, for_s=60, count=1, seconds=1.0))
    body = line("a", t="x" * 10_000)
    head = (
        "POST /collections/c/documents/import?action=upsert HTTP/1.1\r\nHost: x\r\n"
        f"X-TYPESENSE-API-KEY: xyz\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", world.ports[1])) as client:
        client.sendall(head.encode() + body)
        wait_until(lambda: world.proxy.fired()[FaultKind.SLOW_UPLOAD] == 1)
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert {} == world.stored()
    wait_until(lambda: "slow upload" in world.log.read_text())
    assert is_reset == ("a" not in world.stored())


def test_a_slow_upload_that_its_client_waits_for(world: World) -> None:
    world.proxy.arm(Fault(FaultKind.SLOW_UPLOAD, for_s=60, count=1, seconds=0.3))
    assert 200 == world.send("a")
    assert "a" in world.stored()


def test_a_delay_only_takes_time(world: World) -> None:
    world.proxy.arm(Fault(FaultKind.DELAY, for_s=60, count=1, seconds=0.3))
    began_s = time.monotonic()
    assert 200 == world.send("a")
    assert time.monotonic() - began_s >= 0.3


def test_a_fault_hits_one_replica_and_writes_only_and_so_many_and_for_a_while(world: World) -> None:
    """What a fault does not name passes."""
    world.proxy.arm(Fault(FaultKind.OVERLOADED, for_s=60, count=1, port=2, writes_only=True))
    assert 200 == world.send("a", port=1)
    connection = world.connect(2)
    connection.request("GET", "/health")
    assert 200 == connection.getresponse().status
    connection.close()
    assert [503, 200] == [world.send("a", port=2), world.send("a", port=2)]
    world.proxy.clear()
    world.proxy.arm(Fault(FaultKind.OVERLOADED, for_s=0.1))
    time.sleep(0.2)  # nothing has hit it yet, so its time has not begun
    assert 503 == world.send("a")
    time.sleep(0.2)
    assert 200 == world.send("a")


def test_where_an_answer_is_cut_comes_from_the_seed(world: World) -> None:
    """The same bytes for the same seed."""

    def cut(seed: int) -> bytes:
        world.proxy.arm(Fault(FaultKind.TRUNCATE, for_s=60, count=1, seed=seed))
        with socket.create_connection(("127.0.0.1", world.ports[1])) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        return answer

    assert cut(1) == cut(1)
    assert len({cut(seed) for seed in range(8)}) > 1


def test_every_request_is_logged_with_what_happened_to_it(world: World) -> None:
    world.proxy.arm(Fault(FaultKind.OVERLOADED, for_s=60, count=1))
    world.send("a")
    world.send("a", port=2)
    wait_until(lambda: len(world.log.read_text().splitlines()) == 2)
    first, second = map(json.loads, world.log.read_text().splitlines())
    assert ("503", None, 1) == (first["fault"], first["status"], first["port"])
    assert ("fault" not in second, 200, 2) == (True, second["status"], second["port"])


def test_a_server_that_is_away_is_a_reset(world: World) -> None:
    """The client must not wait for a server that nobody can reach."""
    world.standin.stop()
    with pytest.raises(LOST):
        world.send("a")


def wait_until(is_so: Any, deadline_s: float = 20.0) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
