"""Avro end to end: what a connector is told, and what its keys and schemas say."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from fastavro import parse_schema, schemaless_reader

from tools.stack import Stack
from tools.stack.rest import request

from .shared import skip_unless_ci

__all__ = ["converters", "decoded_key", "latest_schema"]

CONVERTER = "io.confluent.connect.avro.AvroConverter"


def converters(stack: Stack) -> Mapping[str, str]:
    """The settings that make a connector write Avro; skips the test where the worker has no converter."""
    if stack.registry is None:
        skip_unless_ci("there is no schema registry")
    plugins = json.loads(request(f"{stack.connect.address}/connector-plugins?connectorsOnly=false"))
    if CONVERTER not in {plugin["class"] for plugin in plugins}:
        skip_unless_ci("the Connect worker has no Avro converter")
    settings = {}
    for part in ("key", "value"):
        settings[f"{part}.converter"] = CONVERTER
        settings[f"{part}.converter.schema.registry.url"] = stack.registry.address
    return settings


def latest_schema(registry_url: str, subject: str) -> Any:
    """What was registered last under a subject."""
    answer = json.loads(request(f"{registry_url}/subjects/{subject}/versions/latest"))
    return json.loads(answer["schema"])


def decoded_key(raw: bytes, registry_url: str) -> Mapping[str, Any]:
    """A key's columns, whatever it was written in."""
    if raw[:1] == b"\0":
        schema = key_schema(int.from_bytes(raw[1:5], "big"), registry_url)
        found: Mapping[str, Any] = schemaless_reader(io.BytesIO(raw[5:]), schema)  # type: ignore[assignment]  # a key is a record
        return found
    decoded = json.loads(raw)
    columns: Mapping[str, Any] = decoded.get("payload", decoded)
    return columns


@cache
def key_schema(schema_id: int, registry_url: str) -> Any:
    """A schema of the registry, ready for fastavro."""
    return parse_schema(json.loads(json.loads(request(f"{registry_url}/schemas/ids/{schema_id}"))["schema"]))
