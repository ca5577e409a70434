"""Applies one document to a collection: the action matrix, null rules and merging (4.3-4.5)."""

from typing import Any, Protocol

from .coerce import Mode
from .collection import Collection
from .errors import BAD_ACTION, Refusal, missing_document
from .jsonvalue import encode, encode_plain, merge_patch, narrow, parse, strip_nulls
from .nested import detect_dynamic, detect_members, flatten
from .schema import Field

ACTIONS = ("create", "upsert", "update", "emplace")


class Journal(Protocol):
    """Where applied changes are recorded, in the order in which they were applied."""

    def stored(self, collection: Collection, rows: list[tuple[int, bytes]]) -> None: ...

    def removed(self, collection: Collection, seqs: list[int]) -> None: ...

    def cleared(self, collection: Collection) -> None: ...

    def created(self, collection: Collection) -> None: ...

    def dropped(self, collection: Collection) -> None: ...

    def altered(self, collection: Collection) -> None: ...

    def aliased(self, alias: str, target: str | None) -> None: ...


def checked_action(text: str) -> str:
    """The action parameter; case matters."""
    if text not in ACTIONS:
        raise Refusal(400, BAD_ACTION)
    return text


def checked_id(document: dict[str, Any], action: str) -> str | None:
    """The document's id, None when one is to be generated; raises the refusals of 4.3."""
    if "id" not in document:
        if action == "update":
            raise Refusal(400, "For update, the `id` key must be provided.")
        return None
    document_id = document["id"]
    if type(document_id) is not str:
        raise Refusal(400, "Document's `id` field should be a string.")
    if not document_id:
        raise Refusal(400, "The `id` should not be empty.")
    return document_id


class DocumentWriter:
    """Writes documents of one request; ``flush`` hands the changes to indexes and journal."""

    def __init__(self, collection: Collection, journal: Journal, mode: Mode | None = None) -> None:
        self._collection = collection
        self._journal = journal
        self._mode = mode
        self._rows: list[tuple[int, bytes]] = []

    @property
    def mode(self) -> Mode:
        """The requested ``dirty_values``, else the default of the schema as it is now."""
        return self._mode or self._collection.validator.default_mode

    def write(
        self, document: dict[str, Any], document_id: str, action: str, *, has_nulls: bool = True
    ) -> bytes:
        """Store a document that carries its id; returns the stored bytes."""
        collection = self._collection
        seq = collection.ids.get(document_id)
        if seq is None:
            if action == "update":
                raise missing_document(document_id)
            return self.insert(document, collection.take_seq(), action, has_nulls=has_nulls)
        if action == "create":
            raise Refusal(409, f"A document with id {document_id} already exists.")
        if action == "upsert":
            return self._replace(document, document_id, seq, has_nulls)
        return self._patch(document, document_id, seq, has_nulls)

    def insert(self, document: dict[str, Any], seq: int, action: str, *, has_nulls: bool = True) -> bytes:
        """Store a document as a new row. The number is used up even when it is refused."""
        if not has_nulls and self._collection.validator.passes(document):
            return self._store(seq, document["id"], encode_plain(document))
        document = self._checked(document, names_sorting=action != "emplace", replaces=False)
        raw = encode(self._collection.validator.stored(document))
        return self._store(seq, document["id"], raw)

    def _replace(self, document: dict[str, Any], document_id: str, seq: int, has_nulls: bool) -> bytes:
        if not has_nulls and self._collection.validator.passes(document):
            return self._store(seq, document_id, encode_plain(document))
        document = self._checked(document, names_sorting=True, replaces=True)
        old = self._old(seq)
        replaced = {
            key: _without_nulls(value, old.get(key)) for key, value in document.items() if value is not None
        }
        return self._store(seq, document_id, encode(self._collection.validator.stored(replaced)))

    def _patch(self, document: dict[str, Any], document_id: str, seq: int, has_nulls: bool) -> bytes:
        if not has_nulls and self._collection.validator.passes(document, is_patch=True):
            merged = merge_patch(self._old(seq), document)
            return self._store(seq, document_id, encode(merged))
        document = narrow(document)
        self._detect(document, is_update=True)
        document = self._collection.validator.checked_patch(document, self.mode)
        old = self._old(seq)
        patch = {key: _without_list_nulls(value, old.get(key)) for key, value in document.items()}
        merged = merge_patch(old, patch)
        return self._store(seq, document_id, encode(self._collection.validator.stored(merged)))

    def _checked(self, document: dict[str, Any], *, names_sorting: bool, replaces: bool) -> dict[str, Any]:
        document = narrow(document)
        self._detect(document, is_update=replaces)
        return self._collection.validator.checked_new(
            document, self.mode, needs_sorting_field=names_sorting, replaces=replaces
        )

    def _detect(self, document: dict[str, Any], is_update: bool) -> None:
        """Add the fields that a document brings with it; they stay even if it is refused."""
        collection = self._collection
        if collection.schema.dynamic:
            self._extend(detect_dynamic(document, collection.schema, self.mode, is_update))
        if collection.validator.is_nested:
            flatten(document, collection.schema, is_update)
            self._extend(detect_members(document, collection.schema))

    def _extend(self, added: list[Field]) -> None:
        if added:
            self.flush()
            self._collection.extend_schema(added)
            self._journal.altered(self._collection)

    def _old(self, seq: int) -> dict[str, Any]:
        old: dict[str, Any] = parse(self._collection.documents[seq])
        return old

    def _store(self, seq: int, document_id: str, raw: bytes) -> bytes:
        self._collection.put(seq, document_id, raw)
        self._rows.append((seq, raw))
        return raw

    def flush(self) -> None:
        """Record what was written since the last flush."""
        if self._rows:
            self._collection.indexes.note([seq for seq, _ in self._rows])
            self._journal.stored(self._collection, self._rows)
            self._rows = []


def _without_nulls(value: Any, old: Any) -> Any:
    """A value of an upsert over an existing document: nulls go at every level.

    Except that an array which equals the old one without its nulls is stored with them (#2968).
    """
    stripped = strip_nulls(value)
    return value if isinstance(value, list) and stripped == old else stripped


def _without_list_nulls(value: Any, old: Any) -> Any:
    """A value of an update: nulls inside arrays go, null members of objects remove on merging."""
    if isinstance(value, list):
        return _without_nulls(value, old)
    if isinstance(value, dict):
        return {key: _without_list_nulls(item, None) for key, item in value.items()}
    return value
