"""The desk: where the polling thread hears what the owner of a partition is asked for, and asks others.

Its clerk reads and writes the control topic and searches the log, on a thread of its own. Everything here
runs on the polling thread, between two polls, so what it hands out is in order with what was polled: a
replay is handed out only when its row has no later event up to the very last record that was polled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from msgspec import Struct

from cdc_sync.control.errands import Errand, Fate, Replay, Replayed, Rewind, encoded
from cdc_sync.control.search import Evidence, Identity, Search
from cdc_sync.model import Partition, Record

__all__ = ["Clerk", "Desk"]

AT_ONCE: Final = 200
"""So many replays are looked into at the same time."""

STALE_MS: Final = 3_600_000
"""What was found in the log an hour ago says nothing any more: compaction removes deletes after a while."""


class Clerk(Protocol):
    """Does what takes time. Every answer is a call that `deliver` makes, on the thread that calls it."""

    def search(self, search: Search, on_evidence: Callable[[Evidence], None]) -> None:
        """Look in the log, and again until the broker answers."""

    def put(self, key: str, value: bytes | None) -> None:
        """Write to the control topic, and again until it is stored."""

    def deliver(self, on_entry: Callable[[str, Errand | Replayed | None], None]) -> None:
        """Make the calls that are due; `on_entry` is told of what is new in the control topic."""


class Watched(Struct, eq=False):
    """A replay while it is looked into. `seen` is a later event of its row that was polled meanwhile."""

    replay: Replay
    row: Identity
    seen: int | None = None


class Desk:
    """`serve` says what is to be done now, `done` that it was. `member` names this process.

    `is_known` tells whether a record can be read now; a replay waits until it can. `on_replayed(topic,
    fate)` counts replays.
    """

    def __init__(
        self,
        clerk: Clerk,
        identity_of: Callable[[Record], Identity | None],
        *,
        member: str,
        now_ms: Callable[[], int],
        is_known: Callable[[Record], bool] = lambda _: True,
        on_replayed: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._is_known = is_known
        self._on_replayed = on_replayed
        self._clerk = clerk
        self._identity_of = identity_of
        self._member = member
        self._now_ms = now_ms
        self._open: dict[str, Errand] = {}
        self._begun: set[str] = set()
        self._watched: dict[str, Watched] = {}
        self._ready: list[Errand] = []
        self.looking = 0

    # What others ask of us -------------------------------------------------------------------------

    def serve(
        self, owned: Collection[Partition], next_offset: Callable[[Partition], int | None]
    ) -> Sequence[Errand]:
        """The errands of owned partitions that are to be done now; each is handed out once."""
        self._clerk.deliver(self._on_entry)
        if not self._open:
            return ()
        for key, errand in list(self._open.items()):
            if key in self._begun or errand.origin not in owned:
                continue
            if isinstance(errand, Rewind):
                self._begun.add(key)
                self._ready.append(errand)
            elif len(self._watched) < AT_ONCE and self._is_known(errand.record):
                self._look_into(errand, next_offset(errand.origin))
        ready, self._ready = self._ready, []
        return ready

    def passed(self, records: Sequence[Record]) -> None:
        """These were polled; one of them may be a later event of a row that is looked into."""
        if not self._watched:
            return
        wanted: dict[tuple[Partition, Identity], list[Watched]] = {}
        for watched in self._watched.values():
            wanted.setdefault((watched.replay.origin, watched.row), []).append(watched)
        partitions = {partition for partition, _ in wanted}
        for record in records:
            if record.partition not in partitions:
                continue
            for watched in wanted.get((record.partition, self._identity_of(record) or b""), ()):
                if record.offset > watched.replay.offset:
                    watched.seen = record.offset

    def done(self, errand: Errand, fate: Fate | None = None, reason: str = "") -> None:
        """The errand is done with: a replay with this fate."""
        self._forget(errand.key)
        self._open.pop(errand.key, None)
        if isinstance(errand, Replay) and fate is not None:
            self._on_replayed(errand.topic, fate.value)
            outcome = Replayed(errand.letter, fate, reason, self._now_ms())
            self._clerk.put(errand.key, encoded(outcome))
        else:
            self._clerk.put(errand.key, None)

    def again(self, errand: Errand) -> None:
        """It could not be done now: hand it out once more."""
        self._forget(errand.key)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """These are not ours any more: who owns them now does what is asked for."""
        for key in [key for key in self._begun if self._open[key].origin in partitions]:
            self._forget(key)
        self._ready = [errand for errand in self._ready if errand.origin not in partitions]

    # What we ask of others -------------------------------------------------------------------------

    def ask_rewind(self, partition: Partition, offset: int) -> None:
        """Ask whoever owns the partition to read it again from this offset."""
        rewind = Rewind(partition.topic, partition.number, offset, self._member, self._now_ms())
        self._clerk.put(rewind.key, encoded(rewind))

    def look(self, record: Record, on_answer: Callable[[bool], None]) -> None:
        """Is there a later event of the record's row in the log? Answered from `serve`."""
        row = self._identity_of(record)
        if row is None:
            on_answer(False)
            return
        self.looking += 1

        def answer(evidence: Evidence) -> None:
            self.looking -= 1
            on_answer(evidence.is_superseded(row, record.offset))

        self._clerk.search(Search(record.partition, record.offset, None, {row: record.offset}), answer)

    # Looking into a replay -------------------------------------------------------------------------

    def _look_into(self, replay: Replay, next_offset: int | None) -> None:
        row = self._identity_of(replay.record)
        is_stale = self._now_ms() - replay.asked_at_ms > STALE_MS
        if row is None or is_stale:
            why = "it was asked for over an hour ago" if is_stale else "it has no key that tells its row"
            self.done(replay, Fate.UNPROVEN, why)
            return
        if next_offset is None or replay.offset >= next_offset:
            return  # not known now; or a rewind is under way, and the record itself will come by
        self._begun.add(replay.key)
        watched = self._watched[replay.key] = Watched(replay, row)
        if replay.searched_to >= next_offset:
            self._judge(watched, None)
            return
        search = Search(replay.origin, replay.searched_to, next_offset, {row: replay.offset})
        self._clerk.search(search, lambda evidence: self._judge(watched, evidence))

    def _judge(self, watched: Watched, evidence: Evidence | None) -> None:
        replay, row = watched.replay, watched.row
        if self._watched.get(replay.key) is not watched:
            return  # the partition went away meanwhile
        del self._watched[replay.key]
        later = watched.seen if evidence is None else evidence.later.get(row, watched.seen)
        if later is not None:
            place = f"{replay.topic}/{replay.partition}/{later}"
            self.done(replay, Fate.SUPERSEDED, f"its row has a later event, {place}")
        elif evidence is not None and evidence.low > replay.searched_to:
            self.done(replay, Fate.UNPROVEN, "the log does not reach back far enough any more")
        else:
            self._ready.append(replay)

    def _forget(self, key: str) -> None:
        self._begun.discard(key)
        self._watched.pop(key, None)

    def _on_entry(self, key: str, entry: Errand | Replayed | None) -> None:
        if isinstance(entry, Rewind | Replay):
            self._open[key] = entry
        elif key in self._open:
            self._forget(key)
            del self._open[key]
