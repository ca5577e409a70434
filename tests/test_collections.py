"""Collections and aliases: made once, whoever starts with whom; looked at and never altered after that."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from typesense import exceptions

from cdc_sync.app import resolver
from cdc_sync.errors import SinkMisconfigured, SinkUnavailable, TransientError
from cdc_sync.schema import Collection, Field
from cdc_sync.sink.collections import Collections, client_of, resolve_aliases, translated
from cdc_sync.sink.connection import Connection
from cdc_sync.typesense_standin import Fault, StandIn
from tests.raw_http import RawServer, free_port

KEY = "s3cr3t-and-long"
THINGS = Collection(
    "things", (Field("name", "string", optional=True), Field("stock", "int64", optional=True))
)


class World:
    """A stand-in of a test's own, and our view of it."""

    def __init__(self, server: StandIn) -> None:
        self.server = server
        self.admin = Collections(client_of([server.url], KEY))
        self.connection = Connection([server.url], KEY)
        self.connection.open()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """As an operator would."""
        request = urllib.request.Request(
            self.server.url + path, method=method, headers={"X-TYPESENSE-API-KEY": KEY}
        )
        request.data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    def collections(self) -> list[str]:
        return sorted(found["name"] for found in self.call("GET", "/collections"))

    def aliases(self) -> dict[str, str]:
        return {a["name"]: a["collection_name"] for a in self.call("GET", "/aliases")["aliases"]}

    def writes(self) -> list[str]:
        """What was asked besides looking."""
        return [e["method"] for e in self.server.requests.entries() if e["method"] != "GET"]

    def close(self) -> None:
        self.admin.close()
        self.connection.close()


@pytest.fixture
def world() -> Iterator[World]:
    with StandIn(api_key=KEY) as server:
        world = World(server)
        yield world
        world.close()


def test_what_is_missing_is_made(world: World) -> None:
    """The first version and its alias; asked again, nothing is written."""
    assert ("things_1", []) == world.admin.ensure(THINGS)
    assert (["things_1"], {"things": "things_1"}) == (world.collections(), world.aliases())
    made = world.writes()
    assert ("things_1", []) == world.admin.ensure(THINGS)
    assert ["POST", "PUT"] == made == world.writes()


def test_it_is_made_as_the_mapper_declares(world: World) -> None:
    """Every field, with its type."""
    world.admin.ensure(THINGS)
    found = world.admin.found("things_1")
    assert found is not None
    declared = THINGS.as_json("things_1")
    assert {"name", "fields"} == declared.keys()
    assert [(f["name"], f["type"], True) for f in declared["fields"]] == [
        (f["name"], f["type"], f["optional"]) for f in found["fields"] if not f["name"].startswith(".")
    ]


def test_a_start_that_was_cut_short_is_finished(world: World) -> None:
    """The collection is there, its alias is not."""
    world.call("POST", "/collections", THINGS.as_json("things_1"))
    assert ("things_1", []) == world.admin.ensure(THINGS)
    assert {"things": "things_1"} == world.aliases()


def test_replicas_that_start_together_make_one_collection(world: World) -> None:
    """Each sees nothing, each creates; whoever is second hears 409 and goes on."""
    world.server.faults.set([Fault(kind="delay_before_apply", seconds=0.2, path="^/collections$")])
    answers: list[tuple[str, list[str]]] = []

    def start() -> None:
        admin = Collections(client_of([world.server.url], KEY))
        answers.append(admin.ensure(THINGS))
        admin.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [("things_1", [])] * 4 == answers
    assert (["things_1"], {"things": "things_1"}) == (world.collections(), world.aliases())
    statuses = [e["status"] for e in world.server.requests.entries() if e["method"] == "POST"]
    assert (4, {201, 409}) == (len(statuses), set(statuses))


def test_a_later_version_is_found_and_its_differences_told(world: World) -> None:
    """Never altered."""
    world.call("POST", "/collections", {"name": "things_7", "fields": [{"name": "name", "type": "int32"}]})
    world.call("PUT", "/aliases/things", {"collection_name": "things_7"})
    written = world.writes()
    real, differences = world.admin.ensure(THINGS)
    assert ("things_7", True) == (real, any("name" in difference for difference in differences))
    assert (written, ["things_7"]) == (world.writes(), world.collections())


def test_a_dangling_alias_is_for_an_operator(world: World) -> None:
    """An empty collection in the place of the lost one would hide the loss."""
    world.call("PUT", "/aliases/things", {"collection_name": "things_3"})
    with pytest.raises(SinkMisconfigured, match="the alias things points to things_3, which does not exist"):
        world.admin.ensure(THINGS)
    assert [] == world.collections()


def test_a_collection_in_the_place_of_the_alias_is_for_an_operator(world: World) -> None:
    """It would win over the alias, and documents would go where nobody looks."""
    world.call("POST", "/collections", THINGS.as_json("things"))
    with pytest.raises(SinkMisconfigured, match="a collection named things stands where its alias should be"):
        world.admin.ensure(THINGS)
    assert (["things"], {}) == (world.collections(), world.aliases())


def test_a_wrong_key_names_the_setting(world: World) -> None:
    """And not the key."""
    admin = Collections(client_of([world.server.url], "wrong-secret"))
    with pytest.raises(SinkMisconfigured, match="check CDC_SYNC_TYPESENSE__API_KEY") as error:
        admin.ensure(THINGS)
    assert "wrong-secret" not in str(error.value)
    admin.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="lagging", reads=True),
        Fault(kind="rate_limit", reads=True),
        Fault(kind="out_of_resources"),
        Fault(kind="status", status=500),
        Fault(kind="status", status=502),
        Fault(kind="reset_before_apply", reads=True),
        Fault(kind="reset_after_apply"),
        Fault(kind="never_answer", reads=True),
    ],
)
def test_an_outage_is_waited_for(world: World, fault: Fault) -> None:
    """Whatever had been applied, the next try finishes it."""
    admin = Collections(client_of([world.server.url], KEY, timeout_s=0.3))
    world.server.faults.set([fault])
    with pytest.raises(SinkUnavailable):
        admin.ensure(THINGS)
    world.server.faults.clear()
    assert ("things_1", []) == admin.ensure(THINGS)
    admin.close()


def test_nobody_listens() -> None:
    """A refused connection is an outage, and the reason says what was looked for."""
    admin = Collections(client_of([f"http://127.0.0.1:{free_port()}"], KEY))
    with pytest.raises(SinkUnavailable, match=r"alias things: .*[Rr]efused"):
        admin.ensure(THINGS)
    admin.close()


@pytest.mark.parametrize(
    "body",
    ["<html>Welcome</html>", "{}", "[]", '"text"', '{"fields": []}', '{"collection_name": "things_1"}'],
)
def test_another_server_is_no_typesense(body: str) -> None:
    """The wrong URL: something that answers 200 to all is an operator's mistake, not the end of a lane."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    with RawServer(answer) as server:
        admin = Collections(client_of([server.url], KEY))
        with closing(admin), pytest.raises(SinkMisconfigured, match="check CDC_SYNC_TYPESENSE__URL"):
            admin.ensure(THINGS)


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "", "{}", "[]", '"text"', '{"fields": []}'])
def test_nor_is_it_over_a_writers_connection(body: str) -> None:
    """The same server, asked for an alias only."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    with RawServer(answer) as server, closing(Connection([server.url], KEY)) as connection:
        connection.open()
        with pytest.raises(TransientError):
            resolve_aliases(connection, ["things"])


def exceptions_of(module: Any, base: type[Exception]) -> list[type[Exception]]:
    """Every exception that a library exports."""
    found = [e for e in vars(module).values() if isinstance(e, type) and issubclass(e, base)]
    assert len(found) > 5
    return sorted(found, key=lambda e: e.__name__)


def made(error: type[Exception]) -> Exception:
    """One of it, whatever it wants to be made of."""
    if issubclass(error, httpx.HTTPStatusError):
        request = httpx.Request("GET", "http://x")
        return error("words", request=request, response=httpx.Response(500, request=request))
    return error("words")


@pytest.mark.parametrize(
    "error",
    exceptions_of(exceptions, exceptions.TypesenseClientError)
    + exceptions_of(httpx, httpx.HTTPError)
    + [OSError, TimeoutError, ConnectionResetError],
    ids=lambda error: str(error.__name__),
)
def test_every_error_of_the_client_is_one_of_ours(error: type[Exception]) -> None:
    """What an operator has to cure, or what passes; the first word says what was looked for."""
    by_hand = (exceptions.RequestUnauthorized, exceptions.RequestMalformed, exceptions.RequestForbidden)
    with pytest.raises(TransientError) as raised, translated("alias x"):
        raise made(error)
    expected = SinkMisconfigured if issubclass(error, by_hand) else SinkUnavailable
    assert (expected, True) == (type(raised.value), str(raised.value).startswith("alias x: "))
    assert isinstance(raised.value.__cause__, error)


def test_a_bug_is_not_an_outage() -> None:
    """What is none of the client's errors comes through as it is."""
    with pytest.raises(ZeroDivisionError), translated("alias x"):
        raise ZeroDivisionError


# Over a writer's own connection -------------------------------------------------------------------------


def test_aliases_are_resolved_over_the_writers_connection(world: World) -> None:
    """All of them; a name with odd characters is one path segment."""
    for name in ("things", "odd/na me"):
        world.call("POST", "/collections", THINGS.as_json(f"{name[:3]}_1"))
        world.call("PUT", f"/aliases/{name.replace('/', '%2F').replace(' ', '%20')}",
                   {"collection_name": f"{name[:3]}_1"})  # fmt: skip
    found = resolve_aliases(world.connection, ["things", "odd/na me"])
    assert {"things": "thi_1", "odd/na me": "odd_1"} == found


def test_an_alias_that_has_gone_is_for_an_operator(world: World) -> None:
    """With the cure."""
    with pytest.raises(SinkMisconfigured, match="the alias things is gone: create it again"):
        resolve_aliases(world.connection, ["things"])


def test_an_outage_while_resolving_is_waited_for(world: World) -> None:
    """503 is not 404."""
    world.server.faults.set([Fault(kind="lagging", reads=True)])
    with pytest.raises(SinkUnavailable):
        resolve_aliases(world.connection, ["things"])


def test_a_resolver_makes_a_collection_once(world: World) -> None:
    """A collection that is dropped later is not made again; differences are told once."""
    told: list[tuple[str, str, list[str]]] = []
    resolve = resolver(world.admin, [THINGS], lambda c, real, found: told.append((c.name, real, found)))
    assert {"things": "things_1"} == resolve(world.connection) == resolve(world.connection)
    assert [("things", "things_1", [])] == told
    world.call("DELETE", "/aliases/things")
    world.call("DELETE", "/collections/things_1")
    with pytest.raises(SinkMisconfigured):
        resolve(world.connection)
    assert [] == world.collections()
