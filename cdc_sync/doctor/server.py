"""Asks Typesense; only GET requests, so nothing can change."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from cdc_sync.doctor.facts import CollectionFacts, KeyFacts, NodeFacts, ServerFacts
from cdc_sync.doctor.server_checks import PROBED_ACTIONS
from cdc_sync.errors import SinkUnavailable
from cdc_sync.sink.answers import message_of
from cdc_sync.sink.connection import Answer, Connection

__all__ = ["ask_server"]

LEADER: Final = 1
NOBODY: Final = "cdc-sync-doctor"
"""An id that no document has, for requests that should find nothing."""
KEY_PREFIX_CHARS: Final = 4


def ask_server(
    urls: Sequence[str],
    api_key: str,
    collections: Iterable[str],
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
) -> ServerFacts:
    """What a Typesense says of itself and of these collections."""
    connections = {
        url: Connection([url], api_key, connect_timeout_s=timeout_s, read_timeout_s=timeout_s, tls=tls)
        for url in urls
    }
    try:
        nodes = tuple(ask_node(url, connection) for url, connection in connections.items())
        usable = [node for node in nodes if not node.problem]
        if not usable:
            return ServerFacts(nodes)
        asked = connections[next((n for n in usable if n.is_leader), usable[0]).url]
        found = tuple(ask_collection(asked, name) for name in collections)
        return ServerFacts(nodes, ask_key(asked, api_key), found)
    finally:
        for connection in connections.values():
            connection.close()


def ask_node(url: str, connection: Connection) -> NodeFacts:
    """Health, version and role of a node."""
    try:
        health = get(connection, "/health")
        debug = get(connection, "/debug")
    except SinkUnavailable as error:
        return NodeFacts(url, problem=str(error))
    said = members(health)
    if "ok" not in said:
        return NodeFacts(url, problem=f"/health answers {health.status}: is this a Typesense?")
    if health.status != 200 or said["ok"] is not True:
        return NodeFacts(
            url, problem=f"is not ready ({health.status}): loading its data, or without a leader"
        )
    known = members(debug) if debug.status == 200 else {}
    version, state = known.get("version"), known.get("state")
    return NodeFacts(
        url,
        resource_error=str(said.get("resource_error", "")),
        version=None if version is None else str(version),
        is_leader=None if state is None else state == LEADER,
    )


def ask_key(connection: Connection, api_key: str) -> KeyFacts:
    """The key's actions, where the server lists keys to it.

    Keys are listed by their first characters, and the admin key is not listed at all: a key that may list,
    and is not in the list, is the admin's.
    """
    try:
        answer = get(connection, "/keys")
    except SinkUnavailable:
        return KeyFacts()
    keys = members(answer).get("keys")
    if answer.status != 200 or not isinstance(keys, list):
        return KeyFacts()
    prefix = api_key[:KEY_PREFIX_CHARS]
    same = [key for key in keys if isinstance(key, dict) and key.get("value_prefix") == prefix]
    if not same:
        return KeyFacts(frozenset({"*"}), is_admin=True)
    if len(same) > 1:  # which of them is ours cannot be told
        return KeyFacts()
    actions = frozenset(map(str, same[0].get("actions", ())))
    return KeyFacts(actions, is_admin="*" in actions)


def ask_collection(connection: Connection, name: str) -> CollectionFacts:
    """The alias, the collection behind it, and whether the key may read them."""
    try:
        alias = get(connection, f"/aliases/{quoted(name)}")
        real = members(alias).get("collection_name") if alias.status == 200 else None
        used = str(real) if real is not None else f"{name}_1"
        own = get(connection, f"/collections/{quoted(used)}")
        documents = f"/collections/{quoted(used)}/documents"
        export = get(connection, f"{documents}/export?filter_by=id:{NOBODY}")
        read = get(connection, f"{documents}/{NOBODY}")
        # By an alias's name the server answers with the collection that it points to.
        in_place = members(get(connection, f"/collections/{quoted(name)}")).get("name") == name
    except SinkUnavailable as error:
        return CollectionFacts(name, f"{name}_1", problem=str(error))
    answers = dict(zip(PROBED_ACTIONS, (alias, own, export, read), strict=True))
    return CollectionFacts(
        name,
        used,
        real=None if real is None else str(real),
        found=members(own) if own.status == 200 else None,
        in_place=in_place,
        denied=frozenset(action for action, answer in answers.items() if answer.status == 401),
        problem=first_trouble(answers.values()),
    )


def first_trouble(answers: Iterable[Answer]) -> str:
    """Why a question was not answered, for a reason that is neither the key's nor an absence."""
    for answer in answers:
        if answer.status not in (200, 401, 404):
            return f"Typesense answered {answer.status}: {message_of(answer)}"
    return ""


def get(connection: Connection, target: str) -> Answer:
    """A GET request, on a new connection where the last one ended. Raises `SinkUnavailable`."""
    if not connection.is_open:
        connection.open()
    return connection.request("doctor", "GET", target)


def quoted(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def members(answer: Answer) -> dict[str, Any]:
    """The answer's JSON object; empty for anything else."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
