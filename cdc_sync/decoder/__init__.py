"""Bytes of a record to a `ChangeEvent`: JSON and Avro, told apart message by message, key and value alike.

Of a row only the columns that its table's mapper reads are decoded. Nothing here waits for anything: a
schema is asked of `Schemas`, and what that does is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdc_sync.decoder.avro import AvroKeys, AvroTable, whole_value
from cdc_sync.decoder.json import JsonDecoder
from cdc_sync.envelope import Placeholder
from cdc_sync.framing import HEAD_BYTES
from cdc_sync.model import ChangeEvent, Record, Skip
from cdc_sync.protocols import Read, Reads, Schemas

__all__ = ["JsonDecoder", "WireDecoder"]


class WireDecoder:
    """Debezium events in JSON or in the Confluent wire format; a topic may change in the middle.

    Parameters are those of `JsonDecoder`, and the schemas of the registry.
    """

    def __init__(
        self,
        topic_prefix: str,
        reads: Mapping[str, Reads],
        placeholder: Placeholder | None,
        schemas: Schemas,
    ) -> None:
        placeholder = placeholder or Placeholder()
        self._schemas = schemas
        read_key = AvroKeys(schemas).read
        prefix = topic_prefix.rstrip(".")
        self._json = JsonDecoder(topic_prefix, reads, placeholder, read_key)
        self._avro = {
            f"{prefix}.{table}": AvroTable(table, columns, placeholder, schemas, read_key)
            for table, columns in reads.items()
        }

    def decode(self, record: Record) -> ChangeEvent | Skip:
        """The record's change event, or why it has none. Raises `DecodeError`, `TransientError`."""
        return self.reader(record.partition.topic)(record)

    def identity(self, record: Record) -> bytes | None:
        """The row that a record is about, the same however its key is written; see `JsonDecoder.identity`."""
        return self._json.identity(record)

    def reader(self, topic: str) -> Read:
        """The function that decodes the records of one topic."""
        read_json = self._json.reader(topic)
        avro = self._avro.get(topic)
        if avro is None:
            return read_json  # skipped unread
        shapes, learned = avro.shapes, avro.learned

        def read(record: Record) -> ChangeEvent | Skip:
            value = record.value
            if value and not value[0]:  # `is_framed`, written out, as the rest: 0.3 µs an event
                shape = shapes.get(value[:HEAD_BYTES]) or learned(record, value)
                return shape(record, value)
            return read_json(record)

        return read

    def whole(self, raw: bytes) -> Any:
        """All of a key or value in the Confluent wire format, as JSON would have it: for a look at it.

        Raises `DecodeError`, `TransientError`.
        """
        return whole_value(self._schemas, raw)
