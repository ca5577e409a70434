"""The judgement at quiet: every collection, every letter, every count. All that is wrong, not the first."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Message

from tests.e2e.compare import Allowed, Differences, compare_all
from tests.e2e.daemon import Daemon
from tests.e2e.oracle import COLLECTIONS, expected_collections
from tests.e2e.world import World, describe, letter_header

from .poison import Injected

__all__ = ["judge", "write_story"]

_SHOWN = 12


class Origin(NamedTuple):
    """Where the record of a letter lies."""

    topic: str
    partition: int
    offset: int


def judge(
    world: World,
    replicas: Mapping[int, Daemon],
    injected: Sequence[Injected],
    may_be_dead_lettered: set[tuple[str, str]],
    folder: Path,
) -> list[str]:
    """Everything that is wrong, for a world that is settled."""
    letters = defaultdict(list)
    for letter in world.letters():
        letters[_origin(letter)].append(letter)
    poison = {Origin(i.topic, i.partition, i.offset): i for i in injected}
    healthy = [found for origin, found in letters.items() if origin not in poison]
    problems = [
        problem for origin, record in poison.items() for problem in _letter_problems(record, letters[origin])
    ]
    named = {world.row_of(found[0]) for found in healthy}
    unexpected = [found[0] for found in healthy if world.row_of(found[0]) not in may_be_dead_lettered]
    problems += _unexpected(world, unexpected)
    differences = compare_all(world.server, expected_collections(world.conninfo), Allowed(frozenset(named)))
    problems += map(str, differences)
    for number, daemon in replicas.items():
        problems += [f"replica {number}: {text}" for text in world.account(daemon)]
    if unexpected or differences:
        write_story(world, differences, unexpected, folder / "story.txt")
    return problems


def _origin(letter: Message) -> Origin:
    names = ("topic", "partition", "offset")
    topic, partition, offset = (letter_header(letter, f"__connect.errors.{name}") for name in names)
    return Origin(topic, int(partition), int(offset))


def _letter_problems(record: Injected, letters: Sequence[Message]) -> Iterable[str]:
    """A letter may be there twice after a crash; each must be the record, byte for byte."""
    where = f"poison {record.topic}/{record.partition}@{record.offset}"
    if not letters:
        yield f"{where} has no letter"
    for letter in letters:
        if (letter.key(), letter.value()) != (record.key, record.value):
            yield f"{where}: the letter has other bytes: {letter.key()!r} {letter.value()!r}"
        if not set(record.headers) <= set(letter.headers() or []):
            yield f"{where}: the letter has lost the record's own headers"


def _unexpected(world: World, letters: Sequence[Message]) -> Iterable[str]:
    """Letters of healthy records, with what came after them."""
    if not letters:
        return
    later = _by_key(world)
    for letter in letters[:_SHOWN]:
        origin = _origin(letter)
        newer = [m for m in later[origin.topic, letter.key()] if (m.offset() or 0) > origin.offset]
        deletes = [str(m.offset()) for m in newer if _operation(m) in ("d", "tombstone")]
        what = f"{len(newer)} newer events of its key; deletes at {', '.join(deletes) or 'none'}"
        yield f"healthy record dead-lettered: {origin}: {describe(letter)} ({what})"
    if len(letters) > _SHOWN:
        yield f"and {len(letters) - _SHOWN} more healthy records dead-lettered"


def _by_key(world: World) -> dict[tuple[str, bytes | None], list[Message]]:
    found = defaultdict(list)
    for message in world.topics.read(world.table_topics):
        found[message.topic() or "", message.key()].append(message)
    return found


def _operation(message: Message) -> str:
    value = message.value()
    if value is None:
        return "tombstone"
    try:
        return str(json.loads(value)["op"])
    except (ValueError, KeyError, TypeError, RecursionError):  # poison
        return "?"


def write_story(
    world: World, differences: Sequence[Differences], letters: Sequence[Message], path: Path
) -> None:
    """Every event of the rows that are wrong, in the order of their topics, to find the cause."""
    rows = {world.row_of(letter) for letter in letters}
    tables = {collection: table for table, collection in COLLECTIONS.items()}
    for difference in differences:
        ids = [*difference.missing, *difference.extra, *difference.twice, *difference.different]
        rows |= {(tables[difference.collection], identity) for identity in ids}
    with path.open("w") as story:
        for message in world.topics.read(world.table_topics):
            table = (message.topic() or "").rpartition(".")[2]
            if _concerns(rows, table, message):
                value = (message.value() or b"(tombstone)").decode(errors="replace")
                place = f"{table}/{message.partition()}@{message.offset()}"
                story.write(f"{place} {message.timestamp()[1]} {message.key()!r} {value[:3000]}\n")


def _concerns(rows: set[tuple[str, str]], table: str, message: Message) -> bool:
    try:
        identity = json.loads(message.key() or b"")["id"]
        event: Any = json.loads(message.value() or b"{}")
    except (ValueError, KeyError, TypeError, RecursionError):  # poison
        return False
    if not isinstance(event, dict):
        return False
    after = event.get("after") or {}
    return (table, identity) in rows or (
        table == "ProductInfo" and ("Product", after.get("product_id")) in rows
    )
