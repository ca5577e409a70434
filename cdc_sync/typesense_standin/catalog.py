"""Handlers of collections and aliases (sections 2 and 5)."""

from typing import Any

from .alter import alter
from .context import Call, Context, breathe, json_response
from .errors import BAD_JSON, BAD_REQUEST, Refusal, missing_collection
from .http import Response
from .jsonvalue import ParseError, parse
from .schema import check_types, parse_schema


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; anything that is JSON but no object counts as an empty one."""
    try:
        value = parse(body)
    except ParseError as error:
        raise Refusal(400, BAD_JSON) from error
    return value if isinstance(value, dict) else {}


async def create_collection(context: Context, call: Call) -> Response:
    """``POST /collections``, and with ``src_name`` a copy of a schema."""
    body = parse_body(call.request.body)
    if "src_name" in call.params:
        return _clone(context, call.params["src_name"], body)
    if "name" not in body:
        raise Refusal(400, "Parameter `name` is required.")
    name = body["name"]
    if not isinstance(name, str) or not name:
        raise Refusal(400, "Parameter `name` must be a non-empty string.")
    schema = parse_schema(body)
    if name in context.store.collections:
        raise Refusal(409, f"A collection with name `{name}` already exists.")
    check_types(schema.fields)
    collection = context.store.create(name, int(context.clock()), schema)
    context.journal.created(collection)
    return json_response(collection.to_json(), 201)


def _clone(context: Context, source_name: str, body: dict[str, Any]) -> Response:
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise Refusal(400, "Collection name must be provided.")
    source = context.store.get(source_name)
    if source is None:
        raise Refusal(400, f"Collection with name `{source_name}` not found.")
    if name in context.store.collections:
        raise Refusal(400, f"Collection with name `{name}` already exists.")
    collection = context.store.create(name, int(context.clock()), source.schema)
    context.journal.created(collection)
    return json_response(collection.to_json(), 201)


def list_collections(context: Context, call: Call) -> Response:
    """``GET /collections``: newest first."""
    params = call.params
    for name, title in (("offset", "Offset"), ("limit", "Limit")):
        if name in params and not params[name].isdecimal():
            raise Refusal(400, f"{title} param should be unsigned integer.")
    found = sorted(context.store.collections.values(), key=lambda item: item.number, reverse=True)
    offset = int(params.get("offset", "0"))
    if offset and offset >= len(found):
        raise Refusal(400, "Invalid offset param.")
    limit = int(params.get("limit", "0")) or len(found)
    shown = [collection.to_json() for collection in found[offset : offset + limit]]
    for name in params.get("exclude_fields", "").split(","):
        for item in shown:
            item.pop(name.strip(), None)
    return json_response(shown)


def get_collection(context: Context, call: Call) -> Response:
    """``GET /collections/:name``."""
    return json_response(context.store.find(call.params["collection"]).to_json())


async def delete_collection(context: Context, call: Call) -> Response:
    """``DELETE /collections/:name``; through an alias it drops the real collection."""
    collection = context.store.collections.get(call.target)
    if collection is None:
        name = call.params["collection"]
        raise Refusal(404, f"No collection with name `{name}` found.")
    shown = collection.to_json()
    context.store.discard(collection)
    context.journal.dropped(collection)
    return json_response(shown)


async def patch_collection(context: Context, call: Call) -> Response:
    """``PATCH /collections/:name``: synchronous, holds the lane of the collection."""
    progress = context.altering[call.params["collection"]]
    body = parse_body(call.request.body)
    collection = call.collection(context)
    echo = await alter(collection, body, progress, breathe)
    context.journal.altered(collection)
    return json_response(echo)


def schema_changes(context: Context, call: Call) -> Response:
    """``GET /operations/schema_changes``: ``null`` when none is running."""
    return json_response(list(context.altering.values()) or None)


async def put_alias(context: Context, call: Call) -> Response:
    """``PUT /aliases/:alias``: the target need not exist."""
    body = parse_body(call.request.body)
    if "collection_name" not in body:
        raise Refusal(400, "Parameter `collection_name` is required.")
    target, alias = body["collection_name"], call.params["alias"]
    if not isinstance(target, str):
        raise Refusal(400, BAD_REQUEST)
    if alias in context.store.collections:
        raise Refusal(500, f"Name `{alias}` conflicts with an existing collection name.")
    context.store.set_alias(alias, target)
    context.journal.aliased(alias, target)
    return json_response(body | {"name": alias})


def _alias(context: Context, name: str) -> dict[str, str]:
    target = context.store.aliases.get(name)
    if target is None:
        raise missing_collection()
    return {"collection_name": target, "name": name}


def get_alias(context: Context, call: Call) -> Response:
    """``GET /aliases/:alias``."""
    return json_response(_alias(context, call.params["alias"]))


def list_aliases(context: Context, call: Call) -> Response:
    """``GET /aliases``."""
    return json_response({"aliases": [_alias(context, name) for name in context.store.aliases]})


async def delete_alias(context: Context, call: Call) -> Response:
    """``DELETE /aliases/:alias``."""
    name = call.params["alias"]
    shown = _alias(context, name)
    context.store.set_alias(name, None)
    context.journal.aliased(name, None)
    return json_response(shown)
