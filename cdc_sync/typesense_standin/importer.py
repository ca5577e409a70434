"""``POST …/documents/import``: lines in, one result line each, in input order (section 4)."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .coerce import Mode
from .collection import Collection
from .errors import BAD_REQUEST, BATCH_FAILED, BATCH_SIZE, NOT_AN_OBJECT, Refusal
from .jsonvalue import ParseError, encode, parse
from .writer import DocumentWriter, Journal, checked_action, checked_id

BATCH_LINES = 1000
"""Lines of one internal batch of the real server."""
SLICE_LINES = 200
"""Lines applied before other requests get their turn; about two milliseconds."""
CHUNK_BYTES = 196_605
"""A body of at least this size is cut into several log entries (0.4)."""

_SUCCESS = b'{"success":true}'
_UNSIGNED = re.compile(r"[0-9]+", re.ASCII)

Poison = Callable[[list[bytes]], bool]
"""Says whether an internal batch fails as a whole."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The checked parameters of an import."""

    action: str
    mode: Mode | None
    return_id: bool
    return_doc: bool


def read_options(params: Mapping[str, str]) -> ImportOptions:
    """The options of a request; raises the request-level 400s of 4.1."""
    action = checked_action(params.get("action", "create"))
    check_batch_size(params)
    return ImportOptions(
        action,
        read_mode(params),
        _flag(params, "return_id"),
        _flag(params, "return_doc"),
    )


def read_mode(params: Mapping[str, str]) -> Mode | None:
    """The ``dirty_values`` parameter; None stands for the default of the schema."""
    try:
        return Mode(params.get("dirty_values", "").lower())
    except ValueError:
        return None


def check_batch_size(params: Mapping[str, str]) -> None:
    """``batch_size`` is checked and then has no effect."""
    text = params.get("batch_size", "40")
    if _UNSIGNED.fullmatch(text) is None or not 0 < int(text) < 2**32:
        raise Refusal(400, BATCH_SIZE)
    if int(text) >= 2**31:
        raise Refusal(400, BAD_REQUEST)


def _flag(params: Mapping[str, str], name: str) -> bool:
    text = params.get(name, "false")
    if text not in ("true", "false"):
        raise Refusal(400, f"Parameter `{name}` must be a true|false.")
    return text == "true"


def split_lines(body: bytes) -> list[bytes]:
    """Lines of a body: cut at ``\\n`` only, zero-length lines have no result."""
    return [line for line in body.split(b"\n") if line]


class LineImport:
    """One import in progress: turns lines into result lines and applies them on the way."""

    def __init__(
        self,
        collection: Collection,
        journal: Journal,
        options: ImportOptions,
        poison: Poison | None = None,
    ) -> None:
        self._collection = collection
        self._options = options
        self._poison = poison
        self._writer = DocumentWriter(collection, journal, options.mode)
        self._last: Any = None
        self._batch_ids: set[str] = set()
        self._new_in_batch: set[str] = set()
        self._echoes = options.return_id or options.return_doc

    def slices(self, lines: list[bytes]) -> Iterator[list[bytes]]:
        """The lines in portions for ``run``: internal batches when one could be poisoned."""
        size = SLICE_LINES
        if self._poison is not None:
            yield from internal_batches(lines)
            return
        for start in range(0, len(lines), size):
            yield lines[start : start + size]

    def run(self, lines: list[bytes]) -> list[bytes]:
        """Apply some lines; returns their result lines."""
        if self._poison is not None and self._poison(lines):
            return [self._poisoned(line) for line in lines]
        results = []
        for line in lines:
            try:
                results.append(self._apply(line))
            except Refusal as refusal:
                results.append(self._failure(line, refusal))
        self._writer.flush()
        return results

    def _apply(self, line: bytes) -> bytes:
        try:
            document = parse(line)
        except ParseError as error:
            raise Refusal(400, f"Bad JSON: {error}") from error
        self._last = document
        if type(document) is not dict:
            raise Refusal(400, NOT_AN_OBJECT)
        action = self._options.action
        document_id = checked_id(document, action)
        has_nulls = b"null" in line
        if document_id is None:
            seq, document_id = self._generated_id()
            document["id"] = document_id
            raw = self._writer.insert(document, seq, action, has_nulls=has_nulls)
        else:
            self._track(document_id)
            raw = self._writer.write(document, document_id, action, has_nulls=has_nulls)
        return self._success(raw, document_id) if self._echoes else _SUCCESS

    def _track(self, document_id: str) -> None:
        """Follow internal batches: a repeated id ends one, and its line is read a second time.

        The only trace is in sequence numbers: a line with a new id takes one at each reading.
        """
        if document_id in self._batch_ids:
            if document_id in self._new_in_batch:
                self._collection.take_seq()
            self._start_batch()
        elif len(self._batch_ids) >= BATCH_LINES:
            self._start_batch()
        self._batch_ids.add(document_id)
        if document_id not in self._collection.ids:
            self._new_in_batch.add(document_id)

    def _generated_id(self) -> tuple[int, str]:
        """A new row and its number as id, not checked against ids in the collection (4.3)."""
        seq = self._collection.take_seq()
        if str(seq) in self._batch_ids:
            self._start_batch()
            seq = self._collection.take_seq()
        self._batch_ids.add(str(seq))
        return seq, str(seq)

    def _start_batch(self) -> None:
        self._batch_ids.clear()
        self._new_in_batch.clear()

    def _success(self, raw: bytes, document_id: str) -> bytes:
        parts = []
        if self._options.return_doc:
            parts.append(b'"document":' + raw)
        if self._options.return_id:
            parts.append(b'"id":' + encode(document_id))
        parts.append(b'"success":true')
        return b"{" + b",".join(parts) + b"}"

    def _failure(self, line: bytes, refusal: Refusal) -> bytes:
        result: dict[str, Any] = {
            "code": refusal.status,
            "error": refusal.text,
            "success": False,
        }
        if self._options.return_doc:
            result["document"] = line.decode("utf-8", "replace")
        # The id is that of the last value that could be parsed: stale after a malformed line.
        if self._options.return_id and isinstance(self._last, dict) and "id" in self._last:
            result["id"] = self._last["id"]
        return encode(result)

    def _poisoned(self, line: bytes) -> bytes:
        try:
            self._last = parse(line)
        except ParseError as error:
            return self._failure(line, Refusal(400, f"Bad JSON: {error}"))
        return self._failure(line, Refusal(500, BATCH_FAILED))


def internal_batches(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Lines as the real server groups them: at most 1000, an id at most once in each."""
    batch: list[bytes] = []
    seen: set[str] = set()
    for line in lines:
        document_id = line_id(line)
        if len(batch) >= BATCH_LINES or (document_id is not None and document_id in seen):
            yield batch
            batch, seen = [], set()
        batch.append(line)
        if document_id is not None:
            seen.add(document_id)
    if batch:
        yield batch


def line_id(line: bytes) -> str | None:
    """The id of a line when it has a usable one."""
    try:
        document = parse(line)
    except ParseError:
        return None
    document_id = document.get("id") if isinstance(document, dict) else None
    return document_id if isinstance(document_id, str) else None


def lose_cut_characters(body: bytes) -> bytes:
    """A body of several log entries with the characters lost that an entry's edge cuts (4.9)."""
    pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    return b"".join(piece.decode("utf-8", "ignore").encode() for piece in pieces)
