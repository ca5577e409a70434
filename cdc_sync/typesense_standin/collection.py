"""One collection in memory: documents as canonical bytes by sequence number, ids beside them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from .columns import Column, Indexes, column_key
from .schema import Field, Schema
from .textindex import TextIndex
from .tokens import Tokenizer
from .validate import Validator


class _WithId(msgspec.Struct):
    id: str


_decode_id = msgspec.json.Decoder(_WithId).decode


class Collection:
    """Documents, schema and indexes of a collection. Changed only by its write lane.

    Sequence numbers rise with insertion and give the order of export; a replaced document keeps
    its number. Several rows may carry one id when a generated id met an explicit one (4.3).
    """

    def __init__(self, name: str, number: int, created_at: int, schema: Schema) -> None:
        self.name = name
        self.number = number
        self.created_at = created_at
        self.documents: dict[int, bytes] = {}
        self.ids: dict[str, int] = {}
        self.next_seq = 0
        self.indexes = Indexes(self.documents)
        self.set_schema(schema)

    def set_schema(self, schema: Schema) -> None:
        """Take a new schema; everything derived from the old one is built again when needed."""
        self.schema = schema
        self.validator = Validator(schema)
        self.tokenizer = Tokenizer(schema.token_separators, schema.symbols_to_index)
        self.indexes.forget()

    def extend_schema(self, added: Iterable[Field]) -> None:
        """Add detected fields; indexes of the other fields stay valid."""
        self.schema = self.schema.with_fields(added)
        self.validator = Validator(self.schema)

    def to_json(self) -> dict[str, Any]:
        """The collection object (2.1)."""
        return {
            "name": self.name,
            "num_documents": len(self.documents),
            "created_at": self.created_at,
            **self.schema.to_json(),
        }

    def take_seq(self) -> int:
        """The next sequence number."""
        seq = self.next_seq
        self.next_seq += 1
        return seq

    def get(self, document_id: str) -> bytes | None:
        """The stored bytes of a document."""
        seq = self.ids.get(document_id)
        return None if seq is None else self.documents.get(seq)

    def put(self, seq: int, document_id: str, raw: bytes) -> None:
        """Store a document. The caller notes it for the indexes, many at a time."""
        self.documents[seq] = raw
        self.ids[document_id] = seq

    def remove(self, seqs: Iterable[int]) -> None:
        """Remove rows by sequence number; numbers that are gone already are skipped."""
        gone = []
        for seq in seqs:
            raw = self.documents.pop(seq, None)
            if raw is None:
                continue
            document_id = _decode_id(raw).id
            if self.ids.get(document_id) == seq:
                del self.ids[document_id]
            gone.append(seq)
        self.indexes.note(gone)

    def clear(self) -> None:
        """Remove every document; sequence numbers go on."""
        self.documents.clear()
        self.ids.clear()
        self.indexes.forget()

    def column(self, field: Field) -> Column:
        """The filter and sort index of a field."""
        index = self.indexes.get("value", field, lambda: Column(field, column_key(field, self.tokenizer)))
        assert isinstance(index, Column)
        return index

    def facet_column(self, field: Field) -> Column:
        """The index of a field's values as they are written: for facets and text sorting."""
        index = self.indexes.get("plain", field, lambda: Column(field, _plain_key))
        assert isinstance(index, Column)
        return index

    def text_index(self, field: Field) -> TextIndex:
        """The token index of a string field."""
        index = self.indexes.get("text", field, lambda: TextIndex(field, self.tokenizer))
        assert isinstance(index, TextIndex)
        return index


def id_of(raw: bytes) -> str:
    """The id inside stored bytes."""
    return _decode_id(raw).id


def _plain_key(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, (str, int, float, bool)) else None
