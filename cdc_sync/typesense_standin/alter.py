"""``PATCH /collections/:name``: drop, add and change fields of a collection (2.4)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from .coerce import Mode, checked_value
from .collection import Collection
from .errors import Refusal
from .jsonvalue import parse
from .nested import detect_members, value_at
from .schema import TYPES, Field, Schema, check_types, parse_field

_FIELDS_SHAPE = (
    "The `fields` value should be an array of objects containing the field `name` and other properties."
)
_VALIDATED_ROWS = 500


async def alter(
    collection: Collection,
    body: dict[str, Any],
    progress: dict[str, object],
    breathe: Callable[[], Awaitable[None]],
) -> dict[str, Any]:
    """Check every stored document, change the schema, return the echo with every default."""
    if not body:
        raise Refusal(400, "Alter payload is empty.")
    if body.keys() - {"fields", "metadata"}:
        raise Refusal(400, "Only `fields` and `metadata` can be updated at the moment.")
    metadata = body.get("metadata", collection.schema.metadata)
    if not isinstance(metadata, dict):
        raise Refusal(400, "The `metadata` value should be an object.")
    echo: dict[str, Any] = {}
    schema = replace(collection.schema, metadata=metadata)
    if "fields" in body:
        drops, adds = _read_changes(collection, body["fields"])
        schema = schema.without_fields(set(drops)).with_fields(adds)
        await _validate_documents(collection, adds, progress, breathe)
        schema = schema.with_fields(_members_of(collection, schema, adds))
        dropped = [{"drop": True, "embed": None, "name": name} for name in drops]
        echo["fields"] = dropped + [field.to_alter_json() for field in adds]
    if "metadata" in body:
        echo["metadata"] = metadata
    collection.set_schema(schema)
    return echo


def _read_changes(collection: Collection, entries: Any) -> tuple[list[str], list[Field]]:
    if not isinstance(entries, list) or not entries:
        raise Refusal(400, _FIELDS_SHAPE)
    drops: list[str] = []
    adds: list[Field] = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise Refusal(400, _FIELDS_SHAPE)
        name = entry["name"]
        if name == "id":
            raise Refusal(400, "Field `id` cannot be altered.")
        if "drop" not in entry:
            adds.append(parse_field(entry, collection.schema.enable_nested_fields))
        elif entry["drop"] is not True:
            raise Refusal(400, f"Field `{name}` must have a drop value of `true`.")
        elif name not in collection.schema.by_name:
            raise Refusal(400, f"Field `{name}` is not part of collection schema.")
        else:
            drops.append(name)
    _check_additions(collection, set(drops), adds)
    return drops, adds


def _check_additions(collection: Collection, drops: set[str], adds: list[Field]) -> None:
    schema = collection.schema
    for field in adds:
        if field.name in schema.by_name and field.name not in drops:
            text = (
                f"Field `{field.name}` is already part of the schema: To change this field, "
                "drop it first before adding it back to the schema."
            )
            raise Refusal(400, text)
        if field.type not in TYPES:
            # The real server answers 400 and keeps the field all the same (recorded).
            collection.extend_schema([field])
        check_types([field])


async def _validate_documents(
    collection: Collection,
    adds: list[Field],
    progress: dict[str, object],
    breathe: Callable[[], Awaitable[None]],
) -> None:
    checked = [field for field in adds if not field.is_dynamic and not field.is_object]
    for count, raw in enumerate(list(collection.documents.values()), 1):
        document = parse(raw)
        for field in checked:
            _validate_value(field, value_at(document, field.name))
        if count % _VALIDATED_ROWS == 0:
            progress["validated_docs"] = count
            await breathe()


def _validate_value(field: Field, value: Any) -> None:
    if value is None:
        if field.optional:
            return
        text = (
            f"Field `{field.name}` has been declared in the schema, but is not found in the "
            "documents already present in the collection. If you still want to add this field, "
            "set it as `optional: true`."
        )
        raise Refusal(400, text)
    try:
        checked_value(field, value, Mode.COERCE_OR_REJECT)
    except Refusal as refusal:
        kind = refusal.text.partition(" must be ")[2].rstrip(".") or field.type
        text = (
            "Schema change is incompatible with the type of documents already stored in this "
            f"collection. Existing data for field `{field.name}` cannot be coerced into {kind}."
        )
        raise Refusal(400, text) from refusal


def _members_of(collection: Collection, schema: Schema, adds: list[Field]) -> list[Field]:
    """Fields for what stored documents hold inside added objects."""
    found: dict[str, Field] = {}
    if any(field.is_object for field in adds):
        for raw in collection.documents.values():
            for field in detect_members(parse(raw), schema):
                found.setdefault(field.name, field)
    return list(found.values())
