"""Whether the tour ended as it should, and what happened, in numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from cdc_sync.demo.index import Index
from cdc_sync.demo.recording import Recording, digest
from cdc_sync.demo.screen import Screen, duration
from cdc_sync.demo.stage import OUTCOMES, Totals
from cdc_sync.demo.trickle import Arrival
from cdc_sync.dlq.browse import LetterLine

__all__ = ["Outcome", "differences", "show_summary", "tell_letter"]

NAMED: Final = 5


class Outcome(NamedTuple):
    """What a tour has seen when it ends."""

    totals: Totals
    letters: Sequence[LetterLine]
    arrivals: Sequence[Arrival]

    @property
    def durations(self) -> list[float]:
        """Seconds from commit to searchable, in order of size."""
        return sorted(a.seconds for a in self.arrivals if a.seconds is not None and not a.is_lost)


def differences(index: Index, recording: Recording, outcome: Outcome) -> list[str]:
    """What is not as expected after the whole day, a line each: every document is looked at."""
    found = []
    for collection, wanted in recording.digests.items():
        documents = index.documents(collection)
        if len(documents) != len(wanted):
            found.append(f"{collection}: {len(documents)} documents, expected {len(wanted)}")
        different = [
            identity
            for identity in sorted(wanted.keys() | documents.keys())
            if identity not in documents or digest(documents[identity]) != wanted.get(identity)
        ]
        if different:
            found.append(f"{collection}: different {', '.join(different[:NAMED])} ({len(different)} in all)")
    found += [f"not searchable in time: {a.step.kind}, {a.step.what}" for a in outcome.arrivals if a.is_lost]
    return found + bookkeeping(recording, outcome)


def bookkeeping(recording: Recording, outcome: Outcome) -> list[str]:
    """Whether every event has one outcome, and the right ones are dead letters."""
    found = []
    totals = outcome.totals
    accounted = sum(totals[name] for name in OUTCOMES)
    if totals["consumed"] != accounted:
        found.append(f"{totals['consumed']} events consumed, {accounted} accounted for")
    if totals["dead_lettered"] != len(outcome.letters):
        found.append(f"{totals['dead_lettered']} events dead-lettered, {len(outcome.letters)} letters")
    tables = sorted(letter.table for letter in outcome.letters)
    wanted = sorted(table for table, _ in recording.poison)
    if tables != wanted:
        found.append(f"dead letters of {tables}, expected {wanted}")
    return found


def show_summary(screen: Screen, outcome: Outcome) -> None:
    """What the daemon did."""
    totals = outcome.totals
    screen.title("What the daemon did")
    screen.fact("consumed", f"{totals['consumed']} events")
    for name in OUTCOMES:
        screen.fact(f"  {name.replace('_', '-')}", f"{totals[name]}{MEANING[name]}")
    for letter in outcome.letters:
        screen.line(f"      {tell_letter(letter)}")
    durations = outcome.durations
    if durations:
        p50, p99 = (duration(durations[int(len(durations) * q)]) for q in (0.5, 0.99))
        screen.fact("freshness", f"p50 {p50}, p99 {p99} from commit to searchable ({len(durations)} changes)")


MEANING: Final = {
    "written": "",
    "coalesced": "  (folded into a later event of the same row)",
    "skipped": "",
    "dead_lettered": "",
}


def tell_letter(letter: LetterLine) -> str:
    """A dead letter in a line."""
    place = f"{letter.origin.topic}/{letter.origin.number}/{letter.origin_offset}"
    return f"{place}: {letter.error_class}: {json.dumps(letter.reason, ensure_ascii=False)[1:-1]}"
