"""Whether Typesense answers, for readiness: asked rarely, told in words, never raised."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from cdc_sync.sink.connection import Connection
from cdc_sync.sink.probe import Probe
from cdc_sync.typesense_standin import Fault, StandIn
from tests.raw_http import OK, RawServer, free_port, silence


@contextmanager
def probing(url: str, every_s: float = 0.0) -> Iterator[Probe]:
    """One that does not wait for long."""
    with closing(Connection([url], "xyz", read_timeout_s=0.3)) as connection:
        yield Probe(connection, every_s)


def test_nothing_is_wrong_with_one_that_answers() -> None:
    """Asked over one connection, without a key that could be wrong."""
    with StandIn(api_key="another") as server, probing(server.url) as probe:
        assert [[], [], []] == [probe.problems() for _ in range(3)]
        assert ["/health"] * 3 == [entry["path"] for entry in server.requests.entries()]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 503 \r\nContent-Length: 12\r\n\r\n" + b'{"ok":false}', "Typesense is not healthy: 503"),
        (silence, "health: no answer from Typesense: timed out"),
    ],
)
def test_what_is_wrong_is_told(answer: bytes, problem: str) -> None:
    """And asked again the next time."""
    with RawServer(answer, OK) as server, probing(server.url) as probe:
        assert [problem] == probe.problems()
        assert [] == probe.problems()


def test_one_that_is_not_there_is_told() -> None:
    """With the address, which may be what is wrong."""
    url = f"http://127.0.0.1:{free_port()}"
    with probing(url) as probe:
        assert [f"no connection to Typesense: {url}: [Errno 111] Connection refused"] == probe.problems()


def test_one_that_comes_back_is_found() -> None:
    """On a new connection."""
    server = StandIn().start()
    with probing(server.url) as probe:
        assert [] == probe.problems()
        server.stop()
        assert 1 == len(probe.problems())
        with StandIn(server.port):
            assert [] == probe.problems()


def test_it_is_asked_rarely_and_once_at_a_time() -> None:
    """Many probes at one moment are one question; they all hear its answer."""
    with StandIn() as server, probing(server.url, every_s=60) as probe:
        server.faults.set([Fault(kind="delay_before_apply", seconds=0.2, reads=True, path="health")])
        heard: list[list[str]] = []
        threads = [threading.Thread(target=lambda: heard.append(probe.problems())) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ([[]] * 5, 1) == (heard, server.requests.total)


def test_an_answer_grows_old() -> None:
    """After its time, it is asked for again."""
    with StandIn() as server, probing(server.url, every_s=0.1) as probe:
        probe.problems()
        probe.problems()
        assert 1 == server.requests.total
        time.sleep(0.15)
        probe.problems()
        assert 2 == server.requests.total
