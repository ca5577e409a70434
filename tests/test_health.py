"""The HTTP port: probes say what is wrong, metrics are Prometheus's, and nothing else is there."""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from cdc_sync.errors import ConfigError
from cdc_sync.health import HealthServer

TEXT = "text/plain; charset=utf-8"


class World:
    """A server, and what is wrong."""

    def __init__(self) -> None:
        self.dead: list[str] = []
        self.unready: list[str] = []
        registry = CollectorRegistry()
        Counter("letters", "Letters.", registry=registry).inc(3)
        self.server = HealthServer(
            "127.0.0.1", 0, registry, is_alive=lambda: self.dead, is_ready=lambda: self.unready
        )
        self.server.start()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
        """Status, content type, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type") or "", answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def only_world() -> Iterator[World]:
    """One for the module: to end it takes half a second."""
    world = World()
    yield world
    world.server.stop()


@pytest.fixture
def world(only_world: World) -> World:
    """Where all is well."""
    only_world.dead, only_world.unready = [], []
    return only_world


def test_all_is_well(world: World) -> None:
    assert (200, TEXT, b"alive\n") == world.ask("/healthz")
    assert (200, TEXT, b"ready\n") == world.ask("/readyz")


def test_what_is_wrong_is_said_a_line_each(world: World) -> None:
    """503, in any script; being unready is no reason to be restarted."""
    world.unready = ["not a member yet", "không có"]
    assert (503, TEXT, "not a member yet\nkhông có\n".encode()) == world.ask("/readyz")
    assert (200, TEXT, b"alive\n") == world.ask("/healthz")
    world.unready, world.dead = [], ["stuck"]
    assert (503, TEXT, b"stuck\n") == world.ask("/healthz")
    assert 200 == world.ask("/readyz")[0]


def test_metrics_are_in_the_format_that_is_asked_for(world: World) -> None:
    """Prometheus's text, or OpenMetrics."""
    status, kind, body = world.ask("/metrics")
    assert (200, True, True) == (status, kind.startswith("text/plain"), b"letters_total 3.0\n" in body)
    status, kind, body = world.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (200, True, True) == (
        status,
        kind.startswith("application/openmetrics-text"),
        body.endswith(b"# EOF\n"),
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/readyz?verbose=1", 200),
        ("GET", "/nothing", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 501),
        ("DELETE", "/", 501),
    ],
)
def test_only_a_few_pages_are_there(world: World, method: str, path: str, status: int) -> None:
    """Nothing on it writes."""
    assert status == world.ask(path, method)[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "MOVE"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/readyz?a=b", "/anything", "*"])
def test_nothing_is_served_that_could_write(world: World, method: str, path: str) -> None:
    """Every method but GET and HEAD is refused, on every path, with a body or without."""
    assert 501 == world.ask(path, method)[0]
    assert 501 == world.ask(path, method, **{"Content-Length": "0"})[0]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/healthz/../metrics", "/%2e%2e/", "*"])
def test_unknown_paths_are_not_found(world: World, method: str, path: str) -> None:
    """Paths are compared as they come."""
    assert 404 == world.ask(path, method)[0]


def test_head_is_get_without_its_body(world: World) -> None:
    """As load balancers ask."""
    world.unready = ["no"]
    with (
        socket.create_connection(("127.0.0.1", world.server.port), 5) as client,
        client.makefile("rb") as answer,
    ):
        client.sendall(b"HEAD /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = answer.read().partition(b"\r\n\r\n")
    assert (True, True, b"") == (b" 503 " in head, b"Content-Length: 3" in head, body)


def test_a_connection_is_kept(world: World) -> None:
    """A scraper asks every few seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=5)
    for path in ("/healthz", "/nothing", "/readyz"):
        connection.request("GET", path)
        connection.getresponse().read()
        assert connection.sock is not None
    connection.close()


def test_one_slow_client_does_not_keep_the_others_waiting(world: World) -> None:
    """Each has a thread of its own."""
    with socket.create_connection(("127.0.0.1", world.server.port)) as slow:
        slow.sendall(b"GET /hea")
        assert 200 == world.ask("/healthz")[0]


def test_a_client_that_hangs_up_is_not_news(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Probes that ran out of time reset their connections; no traceback in the log."""
    for request in (b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"):
        client = socket.create_connection(("127.0.0.1", world.server.port))
        client.sendall(request)
        time.sleep(0.05)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    time.sleep(0.1)
    assert 200 == world.ask("/healthz")[0]
    assert ("", "") == capfd.readouterr()


def test_a_port_that_is_taken_is_a_mistake_of_the_settings(world: World) -> None:
    """One line that names the setting."""
    with pytest.raises(
        ConfigError, match=r"^CDC_SYNC_HTTP__PORT: cannot listen on 127\.0\.0\.1:\d+: .*in use"
    ):
        HealthServer("127.0.0.1", world.server.port, CollectorRegistry(), is_alive=list, is_ready=list)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_a_mistake_of_the_settings(host: str) -> None:
    """A name that does not resolve, and somebody else's."""
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:0: "):
        HealthServer(host, 0, CollectorRegistry(), is_alive=list, is_ready=list)


def test_nobody_answers_after_the_end() -> None:
    """The port is free again."""
    world = World()
    world.server.stop()
    with pytest.raises(ConnectionRefusedError):
        world.ask("/healthz")
