"""Readers that are tolerant of how a payload is written.

They take camel and snake case, an envelope around the payload (`data`, `payload`), ids as text or whole
numbers (never as fractions: above 2**53 they are wrong), an id under its object (`merchant.id`), and ignore
what they do not know. What they cannot do without they ask for by name, so that a dead letter says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar, get_args

import msgspec
from msgspec import Struct

from cdc_sync.dispatcher.events import Event, MqPayEvent
from cdc_sync.errors import DecodeError

__all__ = ["read"]

ENVELOPES: Final = ("payload", "data")
PARTS: Final = ("transaction", "attempt", "refund")
DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
E = TypeVar("E", bound=Event)


class Field(NamedTuple):
    """A field on the wire: the names that it may have, whether it is an id, an inner object's type."""

    name: str
    names: tuple[tuple[str, str], ...]
    """Each in two parts: `merchant.id` is the member `id` of `merchant`."""
    is_id: bool
    kind: type[Struct] | None


def read(kind: type[E], body: bytes | None) -> E:
    """The event in a message's body. Raises `DecodeError`."""
    try:
        found = DECODER.decode(body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DecodeError("expected a JSON object")
    layers = list(layers_of(found, kind))
    try:
        return msgspec.convert(fields_of(layers, kind), kind, strict=False)
    except msgspec.ValidationError as error:
        raise DecodeError(f"{kind.__name__}: {error}") from error


def layers_of(found: dict[str, Any], kind: type[Struct]) -> Iterator[dict[str, Any]]:
    """The payload first, then what is around it, then MQ-Pay's parts and what they carry along."""
    inner = [found[name] for name in ENVELOPES if isinstance(found.get(name), dict)]
    yield from inner
    yield found
    if issubclass(kind, MqPayEvent):
        for outer in (*inner, found):
            parts = [outer[name] for name in PARTS if isinstance(outer.get(name), dict)]
            yield from parts
            yield from (p["metadata"] for p in (outer, *parts) if isinstance(p.get("metadata"), dict))


def fields_of(layers: list[dict[str, Any]], kind: type[Struct]) -> dict[str, Any]:
    """The fields of a kind, found in these layers, under the names that they have in ours."""
    found = {}
    for field in fields(kind):
        value = first(layers, field)
        if field.kind is not None and value is None and field.name in PARTS:
            value = part_without_object(layers, field.name)
        if field.kind is not None and isinstance(value, dict):
            value = fields_of([value], field.kind)
        if field.is_id and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is not None:
            found[field.name] = value
    return found


def first(layers: list[dict[str, Any]], field: Field) -> Any:
    """A field's value in the first layer that has it, under its first name that is there."""
    for outer, inner in field.names:
        for layer in layers:
            value = layer.get(outer)
            if inner:
                value = value.get(inner) if isinstance(value, dict) else None
            if value is not None:
                return value
    return None


def part_without_object(layers: list[dict[str, Any]], name: str) -> Any:
    """A part whose uid stands flat (`transactionUid`), or that is the payload itself."""
    for layer in layers:
        uid = layer.get(f"{name}Uid") or layer.get(f"{name}Id") or layer.get(f"{name}_uid")
        if uid is not None:
            return {"uid": uid, "status": layer.get("status")}
    payload = layers[0]
    about = str(first(layers, next(f for f in fields(MqPayEvent) if f.name == "eventType")))
    is_it = about.startswith(f"mq-pay:{name}.") and ("uid" in payload or "id" in payload)
    return payload if is_it else None


@cache
def fields(kind: type[Struct]) -> tuple[Field, ...]:
    """How the fields of a kind are found."""
    aliases: Mapping[str, tuple[str, ...]] = getattr(kind, "aliases", {})
    found = []
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        inner = next((t for t in get_args(field.type) if isinstance(t, type) and issubclass(t, Struct)), None)
        is_id = name.endswith(("Id", "Uid", "uid"))
        under = (f"{name[:-2]}.id", f"{name[:-2]}.uid") if name.endswith("Id") else ()
        other = [form for alias in aliases.get(name, ()) for form in (alias, snake(alias))]
        names = (name, snake(name), *under, *other)
        parts = tuple(
            (outer, within) for outer, _, within in (n.partition(".") for n in dict.fromkeys(names))
        )
        found.append(Field(name, parts, is_id, inner))
    return tuple(found)


def snake(name: str) -> str:
    """`saleOrderId` → `sale_order_id`."""
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", name)
