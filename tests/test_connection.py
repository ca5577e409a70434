"""One connection to one node: what a lost answer means, when a connection is new, and which node it is to."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_sync.errors import SinkAmbiguous, SinkUnavailable, TransientError
from cdc_sync.sink.connection import IDLE_S, Connection
from cdc_sync.typesense_standin import Fault, StandIn
from tests.raw_http import (
    CERTIFICATE,
    OK,
    PRIVATE_KEY,
    Answer,
    RawServer,
    free_port,
    hang_up,
    partly,
    silence,
)

SECRET = "s3cr3t-and-long"
WRITE = "/collections/x/documents/import?action=upsert"


def connected(url: str, **options: object) -> Connection:
    """An open connection that does not wait for long."""
    found = Connection([url], SECRET, read_timeout_s=0.5, **options)  # type: ignore[arg-type]  # passed on
    found.open()
    return found


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    """One stand-in for the module; every test clears its faults."""
    with StandIn(api_key=SECRET) as server:
        yield server


# Lost answers -------------------------------------------------------------------------------------------

LOST: dict[str, bytes | Answer] = {
    "closed": hang_up,
    "silent": silence,
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "cut in the head": partly(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "cut in the body": partly(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "cut in a chunk": partly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{"),
    "chunks that are none": partly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"),
    "a status that is none": b"HTTP/1.1 abc OK\r\n\r\n",
    "a header without end": partly(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "a body without a length": partly(b"HTTP/1.1 200 OK\r\n\r\n{}"),
    "a body that stops": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize("lost", LOST)
def test_a_lost_answer_leaves_writes_in_doubt_and_reads_not(lost: str, method: str) -> None:
    """A write may have been applied; a read never is. Either way the connection is gone."""
    with RawServer(LOST[lost]) as server:
        connection = Connection([server.url], SECRET, read_timeout_s=0.15)
        connection.open()
        expected = SinkUnavailable if method == "GET" else SinkAmbiguous
        with pytest.raises(TransientError) as error:
            connection.request("import", method, WRITE, b"{}" if method == "POST" else None)
        assert (expected, False) == (type(error.value), connection.is_open)
        assert str(error.value).startswith("import: no answer from Typesense: ")
        assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="reset_before_apply", reads=True),
        Fault(kind="reset_after_apply", reads=True),
        Fault(kind="never_answer", reads=True),
    ],
)
def test_a_fault_of_the_server_says_what_may_be_applied(standin: StandIn, fault: Fault) -> None:
    """Nobody can tell before from after; so neither does the error."""
    standin.faults.set([fault])
    connection = connected(standin.url)
    with pytest.raises(SinkUnavailable):
        connection.request("read", "GET", "/collections")
    connection.open()
    with pytest.raises(SinkAmbiguous):
        connection.request("create", "POST", "/collections", b"{}")
    standin.faults.clear()


def test_every_request_is_observed(standin: StandIn) -> None:
    """With its status, or as lost."""
    seen: list[tuple[str, str, bool]] = []
    connection = connected(standin.url, observe=lambda name, how, s: seen.append((name, how, 0 <= s < 5)))
    connection.request("health", "GET", "/health")
    connection.request("resolve", "GET", "/aliases/none")
    standin.faults.set([Fault(kind="reset_before_apply")])
    with pytest.raises(SinkAmbiguous):
        connection.request("import", "POST", WRITE, b"{}")
    standin.faults.clear()
    assert [("health", "200", True), ("resolve", "404", True), ("import", "lost", True)] == seen


def test_a_request_needs_an_open_connection() -> None:
    """It was certainly not applied, so it is not in doubt, even for a write."""
    with pytest.raises(SinkUnavailable, match="not connected"):
        Connection(["http://127.0.0.1:9"], SECRET).request("import", "POST", WRITE, b"{}")


# Aborted ------------------------------------------------------------------------------------------------


def test_another_thread_ends_the_request_in_flight() -> None:
    """At once, though an answer would be waited for much longer."""
    with RawServer(silence) as server:
        connection = Connection([server.url], SECRET, read_timeout_s=30)
        connection.open()

        def abort() -> None:
            server.asked.wait(5)
            connection.abort()

        thread = threading.Thread(target=abort)
        thread.start()
        began = time.monotonic()
        with pytest.raises(SinkAmbiguous):
            connection.request("import", "POST", WRITE, b"{}")
        assert time.monotonic() - began < 5
        thread.join()
        connection.open()
        assert connection.is_open
        connection.close()


def test_there_may_be_nothing_to_abort() -> None:
    """Not open, closed, or ended by the other side."""
    with RawServer(hang_up) as server:
        connection = Connection([server.url], SECRET)
        connection.abort()
        connection.open()
        with pytest.raises(SinkUnavailable):
            connection.request("read", "GET", "/health")
        connection.abort()
        connection.close()
        connection.abort()


def test_closing_takes_back_what_is_not_sent() -> None:
    """A reset, not an orderly end: half a request must not wait in a buffer and be applied later."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = connected(f"http://127.0.0.1:{listener.getsockname()[1]}")
        peer = listener.accept()[0]
        connection.close()
        peer.settimeout(5)
        with peer, pytest.raises(ConnectionResetError):
            peer.recv(1)


# Kept alive ---------------------------------------------------------------------------------------------


def test_one_connection_serves_many_requests() -> None:
    """Also across chunked answers, answers without a body, and a remark before the answer."""
    answers = [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n",
        b"HTTP/1.1 503 \r\nContent-Length: 1\r\n\r\n!",
    ]
    with RawServer(*answers) as server:
        connection = connected(server.url)
        got = [connection.request("x", "GET", "/") for _ in answers]
        connection.close()
        assert [(200, b"ok"), (200, b"abcd"), (204, b""), (201, b""), (503, b"!")] == got
        assert 1 == server.peers


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", b"old"),
        (partly(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), b""),
    ],
)
def test_an_answer_that_ends_the_connection_is_taken(answer: bytes | Answer, body: bytes) -> None:
    """And the next request knows that it needs a new one."""
    with RawServer(answer) as server:
        connection = connected(server.url)
        assert (200, body) == connection.request("x", "GET", "/")
        assert not connection.is_open
        connection.open()
        assert (200, body) == connection.request("x", "GET", "/")
        assert 2 == server.peers


def test_an_idle_connection_is_not_trusted(standin: StandIn) -> None:
    """Typesense closes it after a minute; a write on it would be in doubt."""
    now = [100.0]
    connection = connected(standin.url, clock=lambda: now[0])
    connection.request("health", "GET", "/health")
    now[0] += IDLE_S
    assert connection.is_open
    connection.request("health", "GET", "/health")
    now[0] += IDLE_S
    assert connection.is_open
    now[0] += 0.1
    assert not connection.is_open
    with pytest.raises(SinkUnavailable):
        connection.request("import", "POST", WRITE, b"{}")


def test_the_key_and_the_body_arrive_as_they_are() -> None:
    """Lines of JSON, not a form; the length in bytes."""
    with RawServer(OK) as server:
        connection = connected(server.url)
        connection.request("import", "POST", WRITE, "đặc".encode())
        connection.close()
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        lines = {line.lower() for line in head.decode().split("\r\n")[1:]}
        assert {f"x-typesense-api-key: {SECRET}", "content-type: text/plain", "content-length: 6"} <= lines
        assert "đặc".encode() == body


# Which node ---------------------------------------------------------------------------------------------


def state(number: object) -> bytes:
    """A node's answer to `/debug`."""
    body = f'{{"state":{number},"version":"29.0"}}'.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_the_leader_of_several_is_chosen() -> None:
    """Past a node that is down, a follower, and one that speaks no JSON."""
    down = f"http://127.0.0.1:{free_port()}"
    with RawServer(state(4)) as follower, RawServer(OK) as odd, RawServer(b"HTTP/1.1 200 OK\r\n"
        b"Content-Length: 2\r\n\r\n[]") as list_, RawServer(state(1), OK) as leader:  # fmt: skip
        connection = Connection([down, follower.url, odd.url, list_.url, leader.url], SECRET)
        connection.open()
        assert (200, b"ok") == connection.request("x", "GET", "/mark")
        connection.close()
        assert [1, 1, 1, 2] == [len(s.requests) for s in (follower, odd, list_, leader)]


def test_without_a_leader_every_node_is_named() -> None:
    """And nothing is left open that a write could go to."""
    down = f"http://127.0.0.1:{free_port()}"
    with RawServer(state(4)) as follower:
        connection = Connection([down, follower.url], SECRET)
        with pytest.raises(SinkUnavailable) as error:
            connection.open()
        assert not connection.is_open
        assert (True, True) == (
            f"{down}: [Errno 111] Connection refused" in str(error.value),
            f"{follower.url} is not the leader" in str(error.value),
        )


def test_a_single_node_is_not_asked() -> None:
    """Whatever it says of itself, there is no other."""
    with RawServer(OK) as server:
        connection = connected(server.url)
        connection.request("x", "GET", "/first")
        connection.close()
        assert [b"GET /first HTTP/1.1"] == [r.split(b"\r\n")[0] for r in server.requests]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://no-such-host.invalid:8108", "no-such-host.invalid"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_outage(url: str, reason: str) -> None:
    """Names may resolve later, so none of them is fatal."""
    connection = Connection([url], SECRET)
    with pytest.raises(SinkUnavailable, match=reason):
        connection.open()
    assert not connection.is_open


# TLS ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The server's side of it."""
    path: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_text(PRIVATE_KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_https_with_certificates_of_ones_own(server_tls: ssl.SSLContext) -> None:
    """`typesense.ca_file` is what makes them trusted."""
    with RawServer(OK, tls=server_tls) as server:
        trusted = ssl.create_default_context(cadata=CERTIFICATE)
        connection = connected(f"https://localhost:{server.port}", tls=trusted)
        assert (200, b"ok") == connection.request("x", "GET", "/")
        connection.close()


def test_a_certificate_that_nobody_signed_is_refused(server_tls: ssl.SSLContext) -> None:
    """The key is not sent, and the reason says what to look at."""
    with RawServer(OK, tls=server_tls) as server:
        with pytest.raises(SinkUnavailable, match="certificate verify failed"):
            connected(f"https://localhost:{server.port}")
        assert [] == server.requests


def test_a_certificate_for_another_name_is_refused(server_tls: ssl.SSLContext) -> None:
    """Trusted, but not this host's."""
    with RawServer(OK, tls=server_tls) as server:
        trusted = ssl.create_default_context(cadata=CERTIFICATE)
        with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1"):
            connected(f"https://127.0.0.1:{server.port}", tls=trusted)
        assert [] == server.requests


def test_https_to_a_server_without_it_is_an_outage(standin: StandIn) -> None:
    """The wrong scheme in the URL."""
    with pytest.raises(SinkUnavailable, match=f"https://127.0.0.1:{standin.port}"):
        connected(f"https://127.0.0.1:{standin.port}", connect_timeout_s=0.3)


def test_a_request_over_tls_can_be_aborted(server_tls: ssl.SSLContext) -> None:
    """As one without."""
    with RawServer(silence, tls=server_tls) as server:
        trusted = ssl.create_default_context(cadata=CERTIFICATE)
        connection = Connection([f"https://localhost:{server.port}"], SECRET, read_timeout_s=30, tls=trusted)
        connection.open()

        def abort() -> None:
            server.asked.wait(5)
            connection.abort()

        thread = threading.Thread(target=abort)
        thread.start()
        began = time.monotonic()
        with pytest.raises(SinkAmbiguous):
            connection.request("import", "POST", WRITE, b"{}")
        thread.join()
        assert time.monotonic() - began < 5
