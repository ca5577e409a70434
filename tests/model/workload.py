"""A small database and what Debezium makes of its changes: steps, any part of which is a history too.

A step that does not fit what is there (an update of a row that is gone) changes nothing, so a story can be
shortened by leaving steps out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from enum import Enum
from random import Random
from typing import Literal, NamedTuple

from cdc_sync.model import Partition, Record
from tests.factories import CREATED_US, PLACEHOLDER, PREFIX, TABLES, Row, key_bytes, record, row, value_bytes

__all__ = ["PARTITIONS", "Database", "Kind", "Label", "Step", "Theme", "Written", "steps"]

PARTITIONS = tuple(
    Partition(f"{PREFIX}.{table}", number)
    for table in TABLES
    for number in range(2 if table in ("Product", "ProductInfo") else 1)
)

LARGE = {
    "Organizer": "metadata",
    "Merchant": "address",
    "Category": "name",
    "Device": "name",
    "SaleChannel": "name",
    "Product": "tags",
    "ProductInfo": "description",
}
"""The column of each table whose value may be too large to be in the log when it did not change."""

Kind = Literal[
    "put", "large", "soft delete", "undelete", "delete", "replace", "key", "move", "reinsert",
    "garbage", "unmappable", "refused", "explodes",
]  # fmt: skip
WEIGHTS: dict[Kind, int] = {
    "put": 40, "large": 14, "soft delete": 8, "undelete": 9, "delete": 8, "replace": 5, "key": 3, "move": 10,
    "reinsert": 5, "garbage": 1, "unmappable": 1, "refused": 2, "explodes": 1,
}  # fmt: skip
Theme = Literal["mixed", "large values", "letters", "infos"]
THEMES: dict[Theme, dict[Kind, int]] = {
    "mixed": WEIGHTS,
    "large values": {**WEIGHTS, "large": 40, "soft delete": 20, "undelete": 25, "delete": 15},
    "letters": {**WEIGHTS, "garbage": 6, "unmappable": 4, "refused": 40, "explodes": 6},
    "infos": {**WEIGHTS, "soft delete": 20, "undelete": 20, "move": 40, "reinsert": 20},
}


class Step(NamedTuple):
    """One transaction: when, on which row, what; `version` tells what it writes."""

    at_s: float
    table: str
    row: int
    kind: Kind
    version: int


class Label(str, Enum):
    """What has to become of an event."""

    GOOD = "good"
    """It has its effect, or a later one has. Never a letter."""
    POISON = "poison"
    """A letter, always."""
    REFUSED = "refused"
    """A letter, unless a later event of its row was folded over it, or Typesense takes it by then."""
    INCOMPLETE = "incomplete"
    """Large values are not in the log, and not in the index: a letter, unless its row has a later event."""


class Written(NamedTuple):
    """An event of the log, and what has to become of it."""

    record: Record
    table: str
    row_id: str
    label: Label


def steps(random: Random, theme: Theme, count: int, seconds: float) -> Iterator[Step]:
    """So many of them, over that time, in bursts or one by one; most are of products and their infos."""
    kinds = THEMES[theme]
    tables = list(TABLES)
    weights = random.choice(([1, 1, 1, 1, 1, 6, 7], [0, 0, 0, 0, 0, 1, 1], [2, 2, 2, 2, 2, 3, 3]))
    bursts = [random.random() * seconds for _ in range(random.choice((1, 3, count)))]
    for at in sorted(random.choice(bursts) + random.random() ** 3 for _ in range(count)):
        table = random.choices(tables, weights)[0]
        kind = random.choices(list(kinds), list(kinds.values()))[0]
        yield Step(round(at, 3), table, random.randrange(3), kind, random.randrange(3))


class Database:
    """The rows of the seven tables, and the events that their changes are in the log."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self._large: set[tuple[str, str]] = set()
        self._indexed: set[tuple[str, str]] = set()
        self._lengths = dict.fromkeys(PARTITIONS, 0)
        self.written: list[Written] = []

    def run(self, step: Step) -> list[Written]:
        """Make the change; the events that it writes."""
        before = len(self.written)
        table = step.table if step.kind not in ("move", "reinsert") else "ProductInfo"
        row_id = id_of(table, step.row)
        exists = (table, row_id) in self.rows
        match step.kind:
            case "put" | "large" | "refused" if not exists:
                self._insert(table, row_id, step.version, is_large=step.kind == "large")
            case "put":
                self._update(table, row_id, **changed(table, step.version))
            case "large" if exists:
                self._large.add((table, row_id))
                self._update(table, row_id, sees=True, **{LARGE[table]: large(table, step.version)})
            case "soft delete" if exists:
                self._update(table, row_id, deleted_at=CREATED_US)
            case "undelete" if exists and self.rows[table, row_id]["deleted_at"] is not None:
                self._update(table, row_id, deleted_at=None)
            case "delete" if exists:
                self._delete(table, row_id)
            case "replace" if exists:
                self._delete(table, row_id)
                self._insert(table, row_id, step.version, is_large=False)
            case "key" if exists and (table, f"{row_id}x") not in self.rows:
                self._change_key(table, row_id, f"{row_id}x")
            case "move" if exists:
                self._move(row_id, id_of("Product", step.version))
            case "reinsert" if exists:
                self._reinsert(row_id, f"{row_id}r", step.version)
            case "garbage" | "unmappable" | "refused" | "explodes" if exists:
                self._poison(table, row_id, step.kind)
        return self.written[before:]

    # Changes ---------------------------------------------------------------------------------------

    def _insert(self, table: str, row_id: str, version: int, *, is_large: bool, **given: object) -> None:
        values = row(table, id=row_id, **changed(table, version))
        if is_large:
            values[LARGE[table]] = large(table, version)
            self._large.add((table, row_id))
        if table == "ProductInfo":
            values["product_id"] = given.get("product_id") or self._product_without_info(version)
        self.rows[table, row_id] = values
        self._indexed.add((table, row_id))
        self._write(table, row_id, "c", values, Label.GOOD)

    def _update(self, table: str, row_id: str, *, sees: bool = False, **values: object) -> None:
        key = table, row_id
        current = self.rows[key] = {**self.rows[key], **values}
        unseen = key in self._large and not sees
        self._write(table, row_id, "u", self._seen(key, unseen), self._label(key, current, unseen))

    def _label(self, key: tuple[str, str], current: Row, unseen: bool) -> Label:
        """Whether the event can have its effect, and whether the row is in the index after it."""
        if current["deleted_at"] is not None and key[0] != "ProductInfo":
            self._indexed.discard(key)
            return Label.GOOD
        if unseen and key not in self._indexed:
            return Label.INCOMPLETE
        self._indexed.add(key)
        return Label.GOOD

    def _delete(self, table: str, row_id: str) -> None:
        key = table, row_id
        del self.rows[key]
        self._large.discard(key)
        self._indexed.discard(key)
        self._write(table, row_id, "d", {"id": row_id}, Label.GOOD)
        self._append(table, row_id, None, Label.GOOD)

    def _change_key(self, table: str, old: str, new: str) -> None:
        values = {**self.rows[table, old], "id": new}
        is_large = (table, old) in self._large
        self._delete(table, old)
        self.rows[table, new] = values
        if is_large:
            self._large.add((table, new))
        gone = values["deleted_at"] is not None and table != "ProductInfo"
        if is_large and not gone:
            self._write(table, new, "c", self._seen((table, new), True), Label.POISON)
            return
        if not gone:
            self._indexed.add((table, new))
        self._write(table, new, "c", self._seen((table, new), is_large), Label.GOOD)

    def _move(self, row_id: str, product: str) -> None:
        if all(
            r.get("product_id") != product for (table, _), r in self.rows.items() if table == "ProductInfo"
        ):
            self._update("ProductInfo", row_id, product_id=product)

    def _reinsert(self, old: str, new: str, version: int) -> None:
        if ("ProductInfo", new) not in self.rows:
            product = self.rows["ProductInfo", old]["product_id"]
            self._delete("ProductInfo", old)
            self._insert("ProductInfo", new, version, is_large=False, product_id=product)

    def _poison(self, table: str, row_id: str, kind: Kind) -> None:
        """An event that no document can hold; the next change of the row puts it right."""
        key = table, row_id
        if self.rows[key]["deleted_at"] is not None or key not in self._indexed:
            return
        if kind == "garbage":
            self._append(table, row_id, b"garbage", Label.POISON)
            return
        seen = self._seen(key, key in self._large)
        if kind == "unmappable" or table == "ProductInfo":
            self._write(table, row_id, "u", {**seen, "modified_at": "yesterday"}, Label.POISON)
        else:
            self._write(table, row_id, "u", {**seen, "status": kind}, Label.REFUSED)

    def _product_without_info(self, version: int) -> str:
        taken = {r["product_id"] for (table, _), r in self.rows.items() if table == "ProductInfo"}
        for number in (version, 0, 1, 2):
            if id_of("Product", number) not in taken:
                return id_of("Product", number)
        return f"nobody{len(self.written)}"

    def _seen(self, key: tuple[str, str], unseen: bool) -> Row:
        """The row as the log has it."""
        current = self.rows[key]
        if not unseen:
            return current
        name = LARGE[key[0]]
        return {**current, name: [PLACEHOLDER] if name == "tags" else PLACEHOLDER}

    # The log ---------------------------------------------------------------------------------------

    def _write(self, table: str, row_id: str, op: str, values: Row, label: Label) -> None:
        after = None if op == "d" else values
        self._append(table, row_id, value_bytes(table, op, after, source_ts_ms=1), label)

    def _append(self, table: str, row_id: str, value: bytes | None, label: Label) -> None:
        topic = f"{PREFIX}.{table}"
        count = 2 if Partition(topic, 1) in self._lengths else 1
        partition = Partition(topic, zlib.crc32(row_id.encode()) % count)
        offset = self._lengths[partition]
        self._lengths[partition] += 1
        key = key_bytes({"id": row_id})
        made = record(table, key, value, partition=partition.number, offset=offset)
        self.written.append(Written(made, table, row_id, label))


def id_of(table: str, number: int) -> str:
    """Ids of few rows; one of them cannot stand in a filter or a path as it is."""
    return ("a", "b", "c/d")[number] if table != "ProductInfo" else f"i{number}"


def changed(table: str, version: int) -> Row:
    """What an ordinary update changes: few values, so that a row may return to what it was."""
    small = "sku" if "sku" in TABLES[table] else "status" if "status" in TABLES[table] else "name"
    text = json.dumps({"en": f"v{version}"}) if small == "name" else f"v{version}"
    return {small: text, "modified_at": CREATED_US + version * 1000}


def large(table: str, version: int) -> object:
    """A large value; that it is short here makes no difference."""
    text = f"large {version}"
    kind = TABLES[table][LARGE[table]].kind
    if kind == "text[]":
        return [text]
    return text if kind == "text" else json.dumps({"en": text})
