"""Dead letters applied: what `cdc-sync dlq replay` does.

1. The wanted letters are read, without those that have an outcome already.
2. Their fates are judged: the log is searched from each letter's own record on, for a later event of its row.
3. The owners of the partitions are asked, through the control topic, to apply the others; they look at what
   came since, and answer there. So nobody but the owner of a partition ever writes what comes from it, and
   an asker that is killed leaves nothing half done: what it asked for stands in the topic.

All outcomes stand in the control topic, so a second run repeats nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from cdc_sync.control.errands import Errand, Fate, Replay, Replayed, encoded
from cdc_sync.control.search import Evidence, Identity, Search
from cdc_sync.control.tail import Tail
from cdc_sync.dlq.browse import LetterLine, Letters, Place, line_of
from cdc_sync.dlq.letter import DeadLetter
from cdc_sync.errors import CdcSyncError, RecordError
from cdc_sync.model import DocumentChange, Partition, Record, Skip
from cdc_sync.outbox import Outbox

__all__ = ["Candidate", "Judged", "Replayer", "candidates", "is_settled", "judged"]

MAX_ASKED: Final = 500
"""Letters that are asked for and not answered yet; their bytes stand in the control topic meanwhile."""

Entry = Errand | Replayed | None


class Candidate(Struct, frozen=True):
    """A letter that may be replayed. `failure` is why its record still cannot become a document, if so."""

    line: LetterLine
    row: Identity | None
    failure: str = ""


class Judged(NamedTuple):
    """A letter's fate, and why. `searched_to` is the end of what was searched of its partition."""

    line: LetterLine
    fate: Fate
    reason: str
    searched_to: int = 0


def is_settled(entry: Entry, *, for_good: bool = False) -> bool:
    """Whether a letter has an outcome that no replay repeats; `for_good`: and nobody need look at it."""
    if not isinstance(entry, Replayed):
        return False
    return entry.fate in (Fate.REPLAYED, Fate.SUPERSEDED) or (entry.fate is Fate.FAILED and not for_good)


def candidates(
    letters: Iterable[DeadLetter],
    is_wanted: Callable[[LetterLine, Identity | None], bool],
    identity_of: Callable[[Record], Identity | None],
    change_of: Callable[[Record], DocumentChange | Skip],
) -> Iterator[Candidate]:
    """The wanted letters, tried out: without Typesense, whose refusals are not known here."""
    for letter in letters:
        line = line_of(letter)
        row = identity_of(letter.record)
        if not is_wanted(line, row):
            continue
        failure = ""
        try:
            change_of(letter.record)
        except RecordError as error:
            failure = str(error)
        yield Candidate(line, row, failure)


def judged(
    wanted: Iterable[Candidate], search: Callable[[Search], Evidence], *, trust_what_is_left: bool = False
) -> Iterator[Judged]:
    """The fate of each letter, partition by partition; one search a partition.

    `trust_what_is_left`: where retention has removed a part of the log behind a letter, the rest decides.
    """
    partitions: dict[Partition, list[Candidate]] = {}
    for candidate in wanted:
        partitions.setdefault(candidate.line.origin, []).append(candidate)
    for partition, of in sorted(partitions.items()):
        newest = newest_of_each_row(of)
        start = min(candidate.line.origin_offset for candidate in of)
        after = {row: candidate.line.origin_offset for row, candidate in newest.items()}
        evidence = search(Search(partition, start, None, after))
        for candidate in sorted(of, key=lambda c: (c.line.origin_offset, c.line.place)):
            last = candidate if candidate.row is None else newest[candidate.row]
            yield fate_of(candidate, last, evidence, trust_what_is_left=trust_what_is_left)


def newest_of_each_row(of: Iterable[Candidate]) -> dict[Identity, Candidate]:
    """The letter with the latest record; of one record, the latest letter."""
    newest: dict[Identity, Candidate] = {}
    for candidate in sorted(of, key=lambda c: (c.line.origin_offset, c.line.stored_at_ms, c.line.place)):
        if candidate.row is not None:
            newest[candidate.row] = candidate
    return newest


def fate_of(
    candidate: Candidate, newest: Candidate, evidence: Evidence, *, trust_what_is_left: bool
) -> Judged:
    """What would become of a letter whose row has `newest` as its latest letter."""
    line, row = candidate.line, candidate.row
    offset, to = line.origin_offset, evidence.to

    def fate(fate: Fate, reason: str = "") -> Judged:
        return Judged(line, fate, reason, to)

    def place(later: int) -> str:
        return f"{line.origin.topic}/{line.origin.number}/{later}"

    if row is None:
        return fate(Fate.UNPROVEN, "it has no key that tells its row")
    if offset >= to:
        return fate(Fate.UNPROVEN, f"its partition ends at {to}: the topic was made anew")
    if newest.line.origin_offset > offset:
        return fate(Fate.SUPERSEDED, f"its row has a later event, {place(newest.line.origin_offset)}")
    if newest is not candidate:
        return fate(Fate.SUPERSEDED, f"the same event has a newer letter, {newest.line.place}")
    if row in evidence.later:
        return fate(Fate.SUPERSEDED, f"its row has a later event, {place(evidence.later[row])}")
    if evidence.is_superseded(row, offset):
        return fate(Fate.SUPERSEDED, "it was compacted away, so its row had a later event")
    if offset < evidence.low and not trust_what_is_left:
        return fate(
            Fate.UNPROVEN,
            f"retention has removed its partition up to {evidence.low}, and perhaps later events of its row",
        )
    if candidate.failure:
        return fate(Fate.FAILED, candidate.failure)
    return fate(Fate.REPLAYED)


class Replayer:
    """Asks for replays and hears the answers. Used by one thread.

    `told` is called for every letter that has come to an end; `patience_s` is how long to wait for an answer.
    """

    def __init__(
        self,
        tail: Tail,
        outbox: Outbox,
        told: Callable[[Judged], None],
        *,
        now_ms: Callable[[], int],
        patience_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tail = tail
        self._outbox = outbox
        self._told = told
        self._now_ms = now_ms
        self._patience_s = patience_s
        self._clock = clock
        self._asked: dict[str, LetterLine] = {}
        self._heard_at = clock()

    def record(self, fates: Iterable[Judged]) -> None:
        """Write down what needs nobody's work, so that no second run looks at it again."""
        for judged in fates:
            outcome = Replayed(str(judged.line.place), judged.fate, judged.reason, self._now_ms())
            if is_settled(outcome):
                self._outbox.put(outcome.key.encode(), encoded(outcome), (), lambda: None)
            self._told(judged)

    def ask(self, letters: Letters, wanted: Iterable[Judged]) -> None:
        """Ask for these letters, some at a time, and wait for all answers.

        Raises `CdcSyncError` when no answer comes any more.
        """
        by_place = {judged.line.place: judged for judged in wanted}
        self._heard_at = self._clock()
        for letter in letters.between(by_place.keys()) if by_place else ():
            judged = by_place.get(Place(letter.position.partition, letter.position.offset))
            if judged is None:
                continue
            errand = self._errand(letter, judged)
            self._asked[errand.key] = judged.line
            self._outbox.put(errand.key.encode(), encoded(errand), (), lambda: None)
            self._hear(MAX_ASKED)
        self._hear(0)
        self._outbox.flush(self._patience_s)

    def withdraw(self) -> None:
        """Ask no longer for what was not answered yet."""
        for key in self._asked:
            self._outbox.put(key.encode(), None, (), lambda: None)
        self._outbox.flush(5.0)

    def _errand(self, letter: DeadLetter, judged: Judged) -> Replay:
        record = letter.record
        return Replay(
            str(judged.line.place),
            record.partition.topic,
            record.partition.number,
            record.offset,
            record.key,
            record.value,
            list(record.headers),
            record.timestamp_ms,
            judged.searched_to,
            self._now_ms(),
        )

    def _hear(self, most: int) -> None:
        """Hear answers until at most so many are missing."""
        while len(self._asked) > most:
            self._outbox.serve()
            for key, entry in self._tail.read(0.1):
                line = self._asked.get(key)
                if line is not None and isinstance(entry, Replayed):
                    del self._asked[key]
                    self._heard_at = self._clock()
                    self._told(Judged(line, entry.fate, entry.reason))
            if self._asked and self._clock() - self._heard_at > self._patience_s:
                self._give_up()

    def _give_up(self) -> None:
        waiting = sorted({f"{line.origin.topic}/{line.origin.number}" for line in self._asked.values()})
        raise CdcSyncError(
            f"no answer for {self._patience_s:.0f} s about {len(self._asked)} letters of "
            f"{', '.join(waiting)}: does a daemon of this version own them, and read the same "
            "CDC_SYNC_KAFKA__CONTROL_TOPIC? They stay asked for, for an hour"
        )


def entries_of(tail: Tail, timeout_s: float = 10.0) -> Mapping[str, Entry]:
    """What stands in the control topic now, by key; nothing where it does not exist."""
    return dict(tail.wait_end(timeout_s) or ())
