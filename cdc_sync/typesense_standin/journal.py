"""The log of applied changes behind ``--data-dir``: append-only, replayed at start.

A record is one JSON line; a record of documents is followed by one line for each document. Every
record is handed to the kernel by a single ``write`` before its request is answered, so an
acknowledged change survives SIGKILL (not power loss). A record cut short by a kill is dropped.
"""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from .collection import Collection, id_of
from .schema import Field, Schema
from .store import Store

_FILE = "standin.jsonl"
_SNAPSHOT_ROWS = 1000
_REPLAY_ROWS = 20_000


class NoJournal:
    """Keeps nothing."""

    def stored(self, collection: Collection, rows: list[tuple[int, bytes]]) -> None: ...

    def removed(self, collection: Collection, seqs: list[int]) -> None: ...

    def cleared(self, collection: Collection) -> None: ...

    def created(self, collection: Collection) -> None: ...

    def dropped(self, collection: Collection) -> None: ...

    def altered(self, collection: Collection) -> None: ...

    def aliased(self, alias: str, target: str | None) -> None: ...


class FileJournal:
    """Appends records to a file in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(directory / "lock")
        self.path = directory / _FILE
        self._file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)

    def _write(self, record: dict[str, Any], lines: list[bytes] | None = None) -> None:
        data = b"\n".join([msgspec.json.encode(record), *(lines or []), b""])
        while data:
            data = data[os.write(self._file, data) :]

    def stored(self, collection: Collection, rows: list[tuple[int, bytes]]) -> None:
        record = {"op": "put", "c": collection.number, "seqs": [seq for seq, _ in rows]}
        self._write(record | {"next": collection.next_seq}, [raw for _, raw in rows])

    def removed(self, collection: Collection, seqs: list[int]) -> None:
        self._write({"op": "remove", "c": collection.number, "seqs": seqs})

    def cleared(self, collection: Collection) -> None:
        self._write({"op": "clear", "c": collection.number})

    def created(self, collection: Collection) -> None:
        schema = _schema_record(collection.schema)
        record = {"op": "create", "name": collection.name, "at": collection.created_at}
        self._write(record | {"c": collection.number, "schema": schema})

    def dropped(self, collection: Collection) -> None:
        self._write({"op": "drop", "c": collection.number})

    def altered(self, collection: Collection) -> None:
        schema = _schema_record(collection.schema)
        self._write({"op": "alter", "c": collection.number, "schema": schema})

    def aliased(self, alias: str, target: str | None) -> None:
        self._write({"op": "alias", "name": alias, "target": target})

    def replay(self, store: Store) -> Iterator[int]:
        """Load the file into an empty store; yields the number of rows read so far.

        The caller may do something in between. At the end the file is rewritten when more than
        half of it is dead.
        """
        rows = 0
        next_stop = _REPLAY_ROWS
        good_bytes = 0
        with self.path.open("rb") as file:
            while (record := _read_record(file)) is not None:
                head, lines = record
                _apply(store, head, lines)
                good_bytes = file.tell()
                rows += 1 + len(lines)
                if rows >= next_stop:
                    next_stop = rows + _REPLAY_ROWS
                    yield rows
        os.ftruncate(self._file, good_bytes)
        live = sum(len(collection.documents) for collection in store.collections.values())
        if rows > 10_000 and rows > 2 * live:
            self._rewrite(store)

    def _rewrite(self, store: Store) -> None:
        """Replace the file by the least that leads to the same store."""
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        os.close(self._file)
        self._file = os.open(fresh, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
        for collection in sorted(store.collections.values(), key=lambda item: item.number):
            self.created(collection)
            rows = list(collection.documents.items())
            for start in range(0, len(rows), _SNAPSHOT_ROWS):
                self.stored(collection, rows[start : start + _SNAPSHOT_ROWS])
            self.stored(collection, [])
        for alias, target in store.aliases.items():
            self.aliased(alias, target)
        os.replace(fresh, self.path)


def _locked(path: Path) -> int:
    """An open file that no other stand-in holds; raises OSError when one does."""
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        text = "data directory is in use by another stand-in"
        raise OSError(error.errno, text, str(path.parent)) from error
    return file


def _schema_record(schema: Schema) -> dict[str, Any]:
    return asdict(schema)


def _read_record(file: Any) -> tuple[dict[str, Any], list[bytes]] | None:
    """The next whole record, or None at the end or where a kill cut the file."""
    head = file.readline()
    if not head.endswith(b"\n"):
        return None
    try:
        record: dict[str, Any] = msgspec.json.decode(head)
    except msgspec.DecodeError:
        return None
    count = len(record["seqs"]) if record["op"] == "put" else 0
    lines = [file.readline() for _ in range(count)]
    if lines and not lines[-1].endswith(b"\n"):
        return None
    return record, lines


def _apply(store: Store, record: dict[str, Any], lines: list[bytes]) -> None:
    if record["op"] == "create":
        schema = _read_schema(record["schema"])
        store.add(Collection(record["name"], record["c"], record["at"], schema))
        return
    if record["op"] == "alias":
        store.set_alias(record["name"], record["target"])
        return
    collection = store.by_number[record["c"]]
    match record["op"]:
        case "put":
            collection.next_seq = record["next"]
            for seq, line in zip(record["seqs"], lines, strict=True):
                raw = line[:-1]
                collection.put(seq, id_of(raw), raw)
        case "remove":
            collection.remove(record["seqs"])
        case "clear":
            collection.clear()
        case "alter":
            collection.set_schema(_read_schema(record["schema"]))
        case "drop":
            store.discard(collection)


def _read_schema(record: dict[str, Any]) -> Schema:
    fields = tuple(msgspec.convert(item, Field) for item in record["fields"])
    rest = {key: record[key] for key in record.keys() - {"fields"}}
    for key in ("token_separators", "symbols_to_index"):
        rest[key] = tuple(rest[key])
    return Schema(fields=fields, **rest)
