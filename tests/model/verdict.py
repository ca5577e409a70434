"""What must be true of a world when it is quiet."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cdc_sync.control.errands import Fate, Replayed, decoded
from tests import fold
from tests.factories import TABLES
from tests.model.plan import Plan
from tests.model.workload import Label, Written
from tests.model.world import World, metrics_of

__all__ = ["faults_of", "judged"]

TABLE_OF = {collection: table for table, collection in fold.COLLECTIONS.items()}
COUNTED = ("cdc_sync_events_consumed_total", "cdc_sync_events_total", "cdc_sync_accounting_errors_total")
EFFECTIVE = (Label.GOOD, Label.REFUSED)


def judged(plan: Plan, *, has_story: bool = False) -> tuple[list[str], list[str]]:
    """What is wrong after this plan, and its story where that is wanted."""
    world = World(plan, has_story=has_story)
    world.run()
    return list(faults_of(world)), world.hub.story or []


def faults_of(world: World) -> Iterator[str]:
    """Everything that is not as promised."""
    for who, error in world.hub.errors:
        place = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{who} ended: {type(error).__name__}: {error} ({place.name}, line {place.lineno})"
    if world.hub.errors:
        return
    yield from world.server.violations
    if not world.is_quiet:
        yield f"not quiet: committed {world.broker.committed}"
        return
    yield from differences(world)
    yield from wrong_letters(world)
    yield from wrong_accounts(world)
    yield from wrong_replays(world)


# Documents ---------------------------------------------------------------------------------------------


def differences(world: World) -> Iterator[str]:
    """Documents that are not the function of the log (promise 1)."""
    written = world.database.written
    decides = {(w.table, w.row_id): w for w in written if w.label in EFFECTIVE}
    for collection, documents in expected(w for w in written if w.label is Label.GOOD).items():
        found = world.server.index.collections[f"{collection}_1"]
        table = TABLE_OF[collection]
        for row_id in sorted(documents.keys() | found.keys()):
            last = decides.get((table, row_id))
            may = [documents.get(row_id)]
            if last is not None and last.label is Label.REFUSED:
                may = outcomes_of_refusals(world, last, may)
            if found.get(row_id) not in may:
                yield f"{collection} {row_id} is {shown(found.get(row_id), may[0])}"
    infos = rows_of("ProductInfo", [w for w in written if w.label is Label.GOOD])
    rows = world.server.index.collections["product-infos_1"]
    if rows.keys() != infos.keys():
        yield f"product-infos has {sorted(rows)}, not {sorted(infos)}"
    yield from (f"product-infos {i} owes {row['_owed']}" for i, row in rows.items() if "_owed" in row)


def outcomes_of_refusals(world: World, last: Written, without: list[Any]) -> list[Any]:
    """What the document may be where the newest changes of its row were refused, or taken later."""
    written = world.database.written
    mine = [w for w in written if (w.table, w.row_id) == (last.table, last.row_id) and w.label in EFFECTIVE]
    documents = []
    for refused in reversed(mine):
        if refused.label is Label.GOOD:
            break
        some = expected(w for w in written if w.label is Label.GOOD or w is refused)
        documents.append(some[fold.COLLECTIONS[last.table]].get(last.row_id))
    is_taken = is_replayed(world, last) or not is_lettered(world, last)
    return documents[:1] if is_taken else [*without, *documents]


def expected(written: Iterable[Written]) -> dict[str, dict[str, Any]]:
    """The documents that these events make, by the reference."""
    events = list(written)
    return fold.expected_documents({table: rows_of(table, events) for table in TABLES})


def rows_of(table: str, written: Iterable[Written]) -> dict[str, Any]:
    """The rows that these events leave."""
    events = (w.record for w in written if w.table == table)
    return fold.fold_rows(table, [fold.Raw(record.key, record.value) for record in events])


def shown(found: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> str:
    """What differs between two documents."""
    if found is None or wanted is None:
        return "missing" if found is None else "there, and should not be"
    names = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    return ", ".join(f"{n}={found.get(n)!r} instead of {wanted.get(n)!r}" for n in names)


# Dead letters ------------------------------------------------------------------------------------------


def wrong_letters(world: World) -> Iterator[str]:
    """Letters that should not be, and some that should (promises 4 and 5)."""
    last = {(w.table, w.row_id): w for w in world.database.written}
    for written in world.database.written:
        is_last = last[written.table, written.row_id] is written
        lettered = is_lettered(world, written)
        if lettered and written.label is Label.GOOD:
            yield f"{named(written)} is healthy, and a dead letter"
        elif lettered and written.label is Label.INCOMPLETE and not was_newest(world, written):
            yield f"{named(written)} is a dead letter, though its row had a later event"
        elif lettered or written.label is Label.GOOD:
            continue
        elif written.label is Label.POISON or (written.label is Label.INCOMPLETE and is_last):
            yield f"{named(written)} is {written.label.value}, and no dead letter"
        elif is_last and b'"explodes"' in (written.record.value or b""):
            yield f"{named(written)} fails its whole batch, and is no dead letter"


def is_lettered(world: World, written: Written) -> bool:
    """Whether the event is a dead letter."""
    return any(letter.record is written.record for letter in world.broker.letters)


def was_newest(world: World, written: Written) -> bool:
    """Whether the event was ever read while its row had no later one."""
    return (written.record.partition, written.record.offset) in world.broker.read_as_newest


def named(written: Written) -> str:
    """An event as a fault names it."""
    where = written.record
    return f"{written.table}[{where.partition.number}]/{where.offset} ({written.row_id})"


# Accounts and replays ----------------------------------------------------------------------------------


def wrong_accounts(world: World) -> Iterator[str]:
    """Events that were not counted once (promise 10), by the metrics of every process."""
    for replica in world.replicas:
        sums = dict.fromkeys(COUNTED, 0.0)
        for family in replica.metrics.registry.restricted_registry(COUNTED).collect():
            for sample in family.samples:
                if sample.name in sums:
                    sums[sample.name] += sample.value
        consumed, counted, wrong = sums.values()
        if consumed != counted or wrong:
            metrics_of.cache_clear()
            yield f"{replica.process.name} does not add up: {sums}"


def wrong_replays(world: World) -> Iterator[str]:
    """Replays without an outcome, or with more than faults can explain (promise 7)."""
    table = world.broker.control_table
    plan = world.plan
    again = len(plan.replica_faults)
    again += sum("sleep" in fault.kind or "death" in fault.kind for _, fault in plan.request_faults)
    again += sum(fault.kind in ("reassign", "kill the next who rewinds") for fault in plan.world_faults)
    for key in world.asked:
        outcomes = [v for k, v in world.broker.control if k == key and v is not None]
        replayed = [v for v in outcomes if isinstance(decoded(v), Replayed)]
        if len(replayed) > 1 + again:
            yield f"{key} has {len(replayed)} outcomes"
        if not isinstance(decoded(table[key]), Replayed):
            yield f"{key} has no outcome"


def is_replayed(world: World, written: Written) -> bool:
    """Whether a letter of this event was applied after all."""
    for key, asked in world.asked.items():
        if asked.origin == written.record.partition and asked.offset == written.record.offset:
            outcome = decoded(world.broker.control_table[key])
            if isinstance(outcome, Replayed) and outcome.fate is Fate.REPLAYED:
                return True
    return False
