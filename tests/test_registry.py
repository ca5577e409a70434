"""The registry client: what an answer means, asked of real servers on loopback."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.errors import DecodeError, RegistryUnavailable
from cdc_sync.registry import UNKNOWN_FOR_S, Registry
from tests.raw_http import CERTIFICATE, PRIVATE_KEY, Answer, RawServer, free_port, hang_up, partly, silence

SCHEMA = '{"type": "string"}'


def answer(body: object, status: int = 200) -> bytes:
    """An answer with a JSON body."""
    raw = json.dumps(body).encode()
    return b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(raw),
        raw,
    )


UNKNOWN = answer({"error_code": 40403, "message": "No content with ID '7' was found."}, 404)


class World:
    """A client of a server that gives these answers, its clock, and how its requests ended."""

    def __init__(self, url: str, **options: Any) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.outcomes: list[str] = []
        self.registry = Registry(
            url,
            observe=self.outcomes.append,
            clock=lambda: self.now,
            sleep=self.slept.append,
            **{"timeout_s": 2.0, **options},
        )


@contextmanager
def asking(*answers: bytes | Answer, **options: Any) -> Iterator[tuple[World, RawServer]]:
    with RawServer(*answers) as server:
        world = World(server.url, **options)
        with closing(world.registry):
            yield world, server


def paths(server: RawServer) -> list[str]:
    return [request.split(b" ")[1].decode() for request in server.requests]


def test_a_schema_is_asked_for_once() -> None:
    """An id never means anything else."""
    with asking(answer({"schema": SCHEMA})) as (world, server):
        assert [(SCHEMA,)] * 2 == [world.registry.find(7), world.registry.find(7)]
        assert (["/schemas/ids/7"], ["found"]) == (paths(server), world.outcomes)


def test_the_url_may_have_a_path() -> None:
    """Apicurio's interface is at `/apis/ccompat/v7`; a slash at the end is no other URL."""
    with RawServer(answer({"schema": SCHEMA})) as server:
        with closing(Registry(f"{server.url}/apis/ccompat/v7/")) as registry:
            registry.find(7)
        assert ["/apis/ccompat/v7/schemas/ids/7"] == paths(server)


def test_an_unknown_id_is_poison_that_is_believed_for_a_while() -> None:
    """Asked twice, for a replica may not have heard yet; then not again for half a minute."""
    with asking(UNKNOWN, UNKNOWN, UNKNOWN, answer({"schema": SCHEMA})) as (world, server):
        for _ in range(3):
            with pytest.raises(DecodeError, match=f"registry at {server.url} has no schema with the id 7"):
                world.registry.find(7)
        assert (2, 1) == (len(server.requests), len(world.slept))
        world.now += UNKNOWN_FOR_S
        assert (SCHEMA,) == world.registry.find(7)


def test_a_replica_that_has_not_heard_yet() -> None:
    """The second answer counts."""
    with asking(UNKNOWN, answer({"schema": SCHEMA})) as (world, _):
        assert (SCHEMA,) == world.registry.find(7)


def test_references_come_before_what_names_them() -> None:
    """Each once, and after what it refers to itself."""
    bodies: list[dict[str, Any]] = [
        {"schema": "top", "references": [ref("b/x", 2), ref("c", 1)]},
        {"schema": "b2", "references": [ref("c", 1)]},
        {"schema": "c1"},
    ]
    with asking(*map(answer, bodies)) as (world, server):
        assert ("c1", "b2", "top") == world.registry.find(7)
        assert ["/schemas/ids/7", "/subjects/b%2Fx/versions/2", "/subjects/c/versions/1"] == paths(server)


def ref(subject: str, version: int) -> dict[str, Any]:
    return {"name": subject, "subject": subject, "version": version}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([answer({"schema": "{}", "schemaType": "PROTOBUF"})], "is PROTOBUF, not Avro"),
        (
            [answer({"schema": SCHEMA, "references": [ref("a", 1)]}), answer({"error_code": 40402}, 404)],
            "no version 1 of a",
        ),
        ([answer({"schema": SCHEMA, "references": [{"subject": "a"}]})], "references"),
        ([answer({"schema": SCHEMA, "references": [7]})], "references"),
    ],
)
def test_what_no_message_can_be_read_with_is_poison(answers: list[bytes], reason: str) -> None:
    """The registry has answered, and will not answer otherwise."""
    with asking(*answers) as (world, _), pytest.raises(DecodeError, match=reason):
        world.registry.find(7)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer({"error_code": 50001}, 500), "answers 500"),
        (answer({}, 503), "answers 503"),
        (answer({}, 429), "answers 429"),
        (answer({"error_code": 401}, 401), "SCHEMA_REGISTRY__PASSWORD"),
        (answer({"error_code": 40301}, 403), "SCHEMA_REGISTRY__PASSWORD"),
        (answer({"detail": "no such path"}, 404), "SCHEMA_REGISTRY__URL"),
        (answer("nothing", 404), "SCHEMA_REGISTRY__URL"),
        (partly(b"HTTP/1.1 404 x\r\nContent-Length: 4\r\n\r\n<p/>"), "SCHEMA_REGISTRY__URL"),
        (partly(b"HTTP/1.1 302 x\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"), "SCHEMA_REGISTRY__URL"),
        (partly(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), "SCHEMA_REGISTRY__URL"),
        (answer({"ok": True}), "SCHEMA_REGISTRY__URL"),
        (answer({"schema": {"type": "string"}}), "SCHEMA_REGISTRY__URL"),
        (answer(7), "SCHEMA_REGISTRY__URL"),
        (answer(["AVRO"]), "SCHEMA_REGISTRY__URL"),
        (hang_up, "schema registry"),
        (partly(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "schema registry"),
        (partly(b"garbage\r\n\r\n"), "schema registry"),
    ],
)
def test_everything_else_is_an_outage(given: bytes | Answer, reason: str) -> None:
    """Also what an operator has to mend: a wrong key or URL says nothing about a message."""
    with asking(given) as (world, server):
        with pytest.raises(RegistryUnavailable, match=reason) as caught:
            world.registry.find(7)
        assert f"{server.url}/schemas/ids/7" in str(caught.value)
        assert ["unavailable"] == world.outcomes


def test_a_registry_that_says_nothing_is_an_outage() -> None:
    """After the time-out."""
    with asking(silence, timeout_s=0.2) as (world, _), pytest.raises(RegistryUnavailable, match="timed out"):
        world.registry.find(7)


def test_a_registry_that_is_not_there_is_an_outage() -> None:
    """And one that comes back is found."""
    world = World(f"http://127.0.0.1:{free_port()}")
    with closing(world.registry), pytest.raises(RegistryUnavailable, match="refused"):
        world.registry.find(7)


def test_basic_auth_is_sent_and_never_told() -> None:
    """Not in a reason, whatever is in it."""
    with asking(answer({}, 401), auth=("me", "p:ä")) as (world, server):
        with pytest.raises(RegistryUnavailable) as caught:
            world.registry.find(7)
        assert b"Basic " + base64.b64encode("me:p:ä".encode()) in server.requests[0]
        assert "p:ä" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("is_trusted", [True, False])
def test_tls_trusts_what_it_is_told_to(is_trusted: bool, tmp_path: Path) -> None:
    """A certificate that nobody vouches for is an outage, not a reason to go on without."""
    (tmp_path / "cert").write_text(CERTIFICATE)
    (tmp_path / "key").write_text(PRIVATE_KEY)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert")) if is_trusted else None
    with RawServer(answer({"schema": SCHEMA}), tls=serving) as server:
        world = World(f"https://localhost:{server.port}", tls=trusting)
        with closing(world.registry):
            if is_trusted:
                assert (SCHEMA,) == world.registry.find(7)
            else:
                with pytest.raises(RegistryUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                    world.registry.find(7)


def test_the_check_asks_for_what_every_registry_tells() -> None:
    """Without a schema that would have to be there."""
    with asking(answer(["AVRO"]), answer({}, 401)) as (world, server):
        world.registry.check()
        assert ["/schemas/types"] == paths(server)
        with pytest.raises(RegistryUnavailable):
            world.registry.check()
