"""Avro beside JSON: the same recorded Product events, decoded in turn, in CPU seconds of this process.

    python -m bench.avro [--runs 9] [--daemon EVENTS]

The events are those of `bench/events.py`, in Avro by the schemas of `schemas/avro/` and in JSON without and
with its schema. Beside the decoder, fastavro alone: the whole message, and with a reader schema of the
columns that are read. With `--daemon` the whole daemon reads so many of both from a real broker.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from bench.daemon import NULL_SINK, catch_up
from bench.events import products
from bench.kafka import fill, kafka
from cdc_sync.decoder import JsonDecoder, WireDecoder
from cdc_sync.mappers import MAPPERS
from cdc_sync.model import Partition, Record
from cdc_sync.protocols import Read
from cdc_sync.routing import Router
from tests.avro import KnownSchemas, RegistryServer

SCHEMAS = Path(__file__).parents[1] / "schemas" / "avro"
PREFIX = "nx.seller.public"
EVENTS = 2_000
KEY_ID, VALUE_ID = 1, 2


def schema_text(part: str) -> str:
    """The recorded schema of a Product's key or value."""
    return (SCHEMAS / f"Product-{part}.avsc").read_text("utf-8")


REGISTRY = KnownSchemas({KEY_ID: schema_text("key"), VALUE_ID: schema_text("value")})
PARSED = {i: parse_schema(json.loads(text)) for i, text in REGISTRY.texts.items()}


def in_avro(raw: bytes) -> bytes:
    """A key or value of JSON in the Confluent wire format."""
    datum = json.loads(raw)
    schema_id = VALUE_ID if "op" in datum else KEY_ID
    out = io.BytesIO()
    schemaless_writer(out, PARSED[schema_id], datum)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def connect_schema(avro: Any) -> dict[str, Any]:
    """An Avro schema as Connect's JSON has it."""
    if isinstance(avro, list):
        return {**connect_schema(next(t for t in avro if t != "null")), "optional": True}
    spec = avro if isinstance(avro, dict) else {"type": avro}
    kind = {"record": "struct", "int": "int32", "long": "int64"}.get(spec["type"], spec["type"])
    found: dict[str, Any] = {"type": kind, "optional": False}
    found |= {"name": spec["connect.name"], "version": 1} if "connect.name" in spec else {}
    if "fields" in spec:
        found["fields"] = [{**connect_schema(f["type"]), "field": f["name"]} for f in spec["fields"]]
    return found


def with_schema(raw: bytes) -> bytes:
    """A value of JSON, with the schema that the converter would repeat in it."""
    avro = json.loads(schema_text("value"))
    rows = avro["fields"][0]["type"]
    avro["fields"][1]["type"] = rows  # `after` only names what `before` has defined
    schema = json.dumps(connect_schema(avro), separators=(",", ":")).encode()
    return b'{"schema":%b,"payload":%b}' % (schema, raw)


def events(count: int) -> list[bytes]:
    """Events in JSON, each with values of its own."""
    return [event.value for event in products(count)]


def decoding(read: Read, values: Sequence[bytes]) -> Callable[[], None]:
    """Decode all of these once."""
    records = [Record(Partition(f"{PREFIX}.Product", 0), n, b"{}", v) for n, v in enumerate(values)]

    def run() -> None:
        for record in records:
            read(record)

    return run


def by_fastavro(values: Sequence[bytes], columns: Sequence[str] = ()) -> Callable[[], None]:
    """Read all of these by fastavro, projected to these columns where some are given."""
    schema = json.loads(schema_text("value"))
    reader = None
    if columns:
        rows = schema["fields"][0]["type"][1]
        kept = {**rows, "fields": [f for f in rows["fields"] if f["name"] in columns]}
        fields = {f["name"]: f for f in schema["fields"]}
        source = {**fields["source"]["type"]}
        source["fields"] = [f for f in source["fields"] if f["name"] == "ts_ms"]
        after = {"name": "after", "type": ["null", kept]}
        reader = parse_schema({**schema, "fields": [after, {"name": "source", "type": source}, fields["op"]]})

    def run() -> None:
        for value in values:
            schemaless_reader(io.BytesIO(value[5:]), PARSED[VALUE_ID], reader)

    return run


def measure(runs: int) -> None:
    """All of them in turn, run by run; medians, and ratios to JSON of the same run."""
    plain = events(EVENTS)
    avro = [in_avro(value) for value in plain]
    reads = Router(MAPPERS).reads
    json_read = JsonDecoder(PREFIX, reads).reader(f"{PREFIX}.Product")
    avro_read = WireDecoder(PREFIX, reads, None, REGISTRY).reader(f"{PREFIX}.Product")
    ways = {
        "JSON": decoding(json_read, plain),
        "JSON with schema": decoding(json_read, [with_schema(value) for value in plain]),
        "Avro": decoding(avro_read, avro),
        "fastavro alone": by_fastavro(avro),
        "fastavro alone, projected": by_fastavro(avro, reads["Product"].columns),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, run in ways.items():
            began = time.process_time()
            run()
            found[name].append((time.process_time() - began) / EVENTS * 1e6)
    print(f"{'':26} µs CPU an event      ratio to JSON, run by run   ({EVENTS} events, {runs} runs)")
    for name, costs in found.items():
        ratios = [cost / base for cost, base in zip(costs, found["JSON"], strict=True)]
        print(
            f"{name:26} {statistics.median(costs):6.2f} ({min(costs):.2f}-{max(costs):.2f})   "
            f"{statistics.median(ratios):6.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def measure_daemon(count: int, runs: int) -> None:
    """The whole daemon with a null sink, reading JSON and Avro in turn."""
    with kafka() as bootstrap, RegistryServer(REGISTRY) as registry:
        plain = fill(bootstrap, products(count))
        encoded = fill(bootstrap, products(count), in_avro)
        avro = NULL_SINK | {"CDC_SYNC_SCHEMA_REGISTRY__URL": registry.url}
        ratios = []
        for _ in range(runs):
            costs = [
                catch_up(bootstrap, prefix, count, settings).cpu_us
                for prefix, settings in ((plain, NULL_SINK), (encoded, avro))
            ]
            ratios.append(costs[1] / costs[0])
            print(
                f"daemon: JSON {costs[0]:6.2f} µs   Avro {costs[1]:6.2f} µs   ratio {ratios[-1]:.2f}",
                flush=True,
            )
        print(f"daemon: median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


def main() -> None:
    """Measure, and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--runs", type=int, default=9)
    options.add_argument("--daemon", type=int, default=0, metavar="EVENTS")
    chosen = options.parse_args()
    measure(chosen.runs)
    if chosen.daemon:
        measure_daemon(chosen.daemon, chosen.runs)


if __name__ == "__main__":
    main()
