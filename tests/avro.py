"""Avro as Confluent's converter writes it, by fastavro: Connect schemas to Avro's, and values by them.

A second reading of the format: nothing comes from the package but the protocol of its registry.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from cdc_sync.errors import DecodeError

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "debezium"

FIRST_ID = 100_001
"""Ids of the tests' own schemas; those of recorded messages are smaller."""

PRIMITIVES = {
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "long",
    "float32": "float",
    "float64": "double",
}


class KnownSchemas:
    """A registry in memory: the recorded schemas, and what tests add."""

    def __init__(self, texts: Mapping[int, str] | None = None) -> None:
        self.texts = dict(texts or {})

    def find(self, schema_id: int) -> Sequence[str]:
        """The protocol of the package."""
        if schema_id not in self.texts:
            raise DecodeError(f"no schema with the id {schema_id}")
        return (self.texts[schema_id],)

    def add(self, schema: Any) -> int:
        """The id of a schema; the same text has the same one."""
        text = json.dumps(schema)
        known = {other: i for i, other in self.texts.items() if i >= FIRST_ID}
        if text not in known:
            self.texts[FIRST_ID + len(known)] = text
        return known.get(text, FIRST_ID + len(known))


class RegistryServer(ThreadingHTTPServer):
    """The HTTP interface over the schemas of a test, on loopback; `asked` are the paths."""

    def __init__(self, schemas: KnownSchemas, port: int = 0) -> None:
        self.schemas = schemas
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", port), AnswersSchemas)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class AnswersSchemas(BaseHTTPRequestHandler):
    """`GET /schemas/ids/<id>`, as Confluent's registry answers it."""

    server: RegistryServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        text = self.server.schemas.texts.get(int(self.path.rpartition("/")[2]) if "/ids/" in self.path else 0)
        status: int = HTTPStatus.OK
        body: Any = {"schema": text}
        if self.path == "/schemas/types":
            body = ["AVRO"]
        elif text is None:
            status, body = HTTPStatus.NOT_FOUND, {"error_code": 40403, "message": "Schema not found"}
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Silence."""


def recorded_schemas(name: str = "avro-schemas.json") -> dict[int, str]:
    """Id → schema of the recorded messages; nothing where they are not beside the project."""
    path = FIXTURES / name
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return {int(schema_id): text for schema_id, text in found.items()}


SCHEMAS = KnownSchemas(recorded_schemas())


@cache
def parsed(text: str) -> Any:
    """A schema ready for fastavro, logical types and all."""
    return parse_schema(json.loads(text))


def framed(schema: Any, datum: Any, schemas: KnownSchemas = SCHEMAS) -> bytes:
    """A value in the Confluent wire format, its schema registered."""
    schema_id = schemas.add(schema)
    out = io.BytesIO()
    schemaless_writer(out, parsed(schemas.texts[schema_id]), datum)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def plain(raw: bytes, schemas: KnownSchemas = SCHEMAS) -> Any:
    """What a key or value says, whatever its format, read by fastavro with its own logical types."""
    if raw[:1] != b"\0":
        return json.loads(raw)
    return schemaless_reader(io.BytesIO(raw[5:]), parsed(schemas.texts[int.from_bytes(raw[1:5], "big")]))


# Connect's schemas as Avro's ----------------------------------------------------------------------------


def avro_schema(connect: Mapping[str, Any]) -> Any:
    """The Avro schema of a Connect schema (as JSON with schema has it), as Confluent's AvroData makes it."""
    return translated(connect, set())


def translated(connect: Mapping[str, Any], defined: set[str]) -> Any:
    """The same; `defined` are the records that there are already, which are named from then on."""
    name = connect.get("name")
    match connect["type"]:
        case "struct" if name in defined:
            spec: Any = name
        case "struct":
            defined.add(str(name))
            fields = [
                {"name": f["field"], "type": translated(f, defined), **default_of(f)}
                for f in connect["fields"]
            ]
            spec = {"type": "record", "name": name, "fields": fields, "connect.name": name}
        case "array":
            spec = {"type": "array", "items": translated(connect["items"], defined)}
        case "map":
            spec = {"type": "map", "values": translated(connect["values"], defined)}
        case other:
            spec = with_meaning(PRIMITIVES.get(other, other), connect)
    return ["null", spec] if connect.get("optional") else spec


def default_of(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field that may be null is null by default."""
    return {"default": None} if field.get("optional") else {}


def with_meaning(kind: str, connect: Mapping[str, Any]) -> Any:
    """A primitive with what Connect says of it."""
    if "name" not in connect:
        return kind
    spec = {"type": kind, "connect.version": 1, "connect.name": connect["name"]}
    if "parameters" in connect:
        spec["connect.parameters"] = connect["parameters"]
    if connect["name"] == "org.apache.kafka.connect.data.Decimal":
        scale = int(connect["parameters"]["scale"])
        spec |= {"logicalType": "decimal", "precision": 64, "scale": scale}
    return spec


def as_datum(connect: Mapping[str, Any], value: Any) -> Any:
    """A value of Connect's JSON as fastavro writes it: bytes for base64, every field of a struct there."""
    if value is None:
        return None if connect.get("optional") else ZERO[connect["type"]]
    match connect["type"]:
        case "struct":
            return {f["field"]: as_datum(f, value.get(f["field"])) for f in connect["fields"]}
        case "bytes":
            return base64.b64decode(value)
        case "array":
            return [as_datum(connect["items"], member) for member in value]
    return value


ZERO: Mapping[str, Any] = {
    "string": "", "boolean": False, "int32": 0, "int64": 0, "double": 0.0, "bytes": b"", "array": [],
}  # fmt: skip
"""What Debezium puts into a column that is not null and that it does not know."""
