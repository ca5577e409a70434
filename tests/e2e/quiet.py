"""Waiting until nothing is under way: the source is read, and the daemons have settled all of it.

Both steps are facts, no sleeps: the replication slot has confirmed a position written after the
last change (Debezium confirms what Kafka has acknowledged), and the group's committed offsets equal
the ends of all change topics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

from tools.stack import Topics

__all__ = ["NotQuiet", "wait_settled", "wait_streamed"]

_NOTHING_COMMITTED: Final = -1001
_MARK_AGAIN_S: Final = 2.0


class NotQuiet(Exception):
    """Something is still under way at the deadline; the text says what."""


def wait_streamed(conninfo: str, slot: str, *, deadline_s: float = 60.0) -> None:
    """Return when everything committed to the database so far is in Kafka. Raises: NotQuiet."""
    deadline = time.monotonic() + deadline_s
    with psycopg.connect(conninfo, autocommit=True) as connection:
        target = _emit_marker(connection)
        marked_at = time.monotonic()
        confirmed: object = None
        while time.monotonic() < deadline:
            confirmed = connection.execute(
                "SELECT confirmed_flush_lsn >= %s::pg_lsn, confirmed_flush_lsn::text, active "
                "FROM pg_replication_slots WHERE slot_name = %s",
                [target, slot],
            ).fetchone()
            if isinstance(confirmed, tuple) and confirmed[0]:
                return
            if time.monotonic() - marked_at > _MARK_AGAIN_S:
                # A connector that snapshots anew begins behind the marker and would confirm
                # nothing.
                _emit_marker(connection)
                marked_at = time.monotonic()
            time.sleep(0.05)
    raise NotQuiet(f"slot {slot} has confirmed {confirmed}, not {target}, after {deadline_s:.0f} s")


def _emit_marker(connection: psycopg.Connection[Any]) -> str:
    """Write a message to the log.

    Its event goes to `<prefix>.message`, after every earlier commit's.
    """
    row = connection.execute("SELECT pg_logical_emit_message(true, 'quiet', '')::text").fetchone()
    assert row is not None
    return str(row[0])


def wait_settled(
    topics: Topics,
    group: str,
    names: Sequence[str],
    *,
    deadline_s: float = 60.0,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Return when the group has committed the end of every partition that ever had a record.

    `check` is called between looks and may raise (a daemon that died settles nothing more).

    Raises:
        NotQuiet: with the partitions that lag.
    """
    ends = {place: end for place, (_, end) in topics.end_offsets(names).items() if end > 0}
    deadline = time.monotonic() + deadline_s
    lagging: dict[tuple[str, int], tuple[int, int]] = {}
    while time.monotonic() < deadline:
        committed = topics.committed(group, names)
        lagging = {
            place: (committed.get(place, _NOTHING_COMMITTED), end)
            for place, end in ends.items()
            if committed.get(place, _NOTHING_COMMITTED) < end
        }
        if not lagging:
            return
        check()
        time.sleep(0.1)
    raise NotQuiet(f"not settled after {deadline_s:.0f} s (committed, end): {lagging}")
