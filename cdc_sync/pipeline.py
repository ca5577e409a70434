"""The corridor: poll → admit → decode → route → map → compact → write → commit.

Delivery is at least once, and converges: what is committed was applied, skipped on purpose, or stored as a
dead letter before; after a crash the rest is read and written again, in the same order for every document.

Writing happens beside polling, on the lanes' threads, so that the next records are decoded while Typesense
works, and the group keeps its member while Typesense is away. Everything else happens here, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final

from cdc_sync.admission import AdmitAll
from cdc_sync.compaction import Asked
from cdc_sync.control.desk import Desk
from cdc_sync.control.errands import Fate, Replay, Rewind
from cdc_sync.corridor import Corridor
from cdc_sync.dlq.limit import DeadLetterLimit
from cdc_sync.errors import FatalError, IncompleteError, RecordError
from cdc_sync.lane import Lane
from cdc_sync.lease import Lease
from cdc_sync.metrics import Metrics
from cdc_sync.model import Partition, Record, Skip
from cdc_sync.offsets import OffsetTracker, Outcome, Span
from cdc_sync.protocols import Admission, DeadLetterQueue, Source
from cdc_sync.settlement import Settlement

__all__ = ["Pipeline"]

Changes = dict[Lane, dict[Span, list[Asked]]]
Spans = Mapping[Partition, Span]

partition_of = attrgetter("partition")

LEASE_EVERY_S: Final = 0.1
"""How often the lease is looked at while a revocation waits for a lane."""

MAX_LOOKING: Final = 1_000
"""So many records may wait for a look into the log before nothing more is read."""


class Pipeline:
    """Moves records through the corridor until it is stopped.

    `lanes` and `topics_of` (what feeds it) by collection. `admission` holds what cannot be decoded yet.
    `on_truncate(topic)` is told of a TRUNCATE, which is skipped. When the dead letter limit breaks, nothing
    more is taken from the source (`is_stopped`), but the member stays in its group and what was taken is
    finished.
    """

    def __init__(
        self,
        corridor: Corridor,
        lanes: Mapping[str, Lane],
        topics_of: Mapping[str, Collection[str]],
        dead_letters: DeadLetterQueue,
        limit: DeadLetterLimit,
        lease: Lease,
        desk: Desk,
        metrics: Metrics,
        *,
        admission: Admission | None = None,
        max_records: int = 1000,
        poll_timeout_s: float = 0.1,
        commit_every_s: float = 1.0,
        revoke_timeout_s: float = 120.0,
        on_truncate: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._on_truncate = on_truncate
        self._sleep = sleep
        self._corridor = corridor
        self._admission = admission or AdmitAll()
        self._lane_of = lanes
        self._lanes = tuple(dict.fromkeys(lanes.values()))
        self._dead_letters = dead_letters
        self.limit = limit
        self._lease = lease
        self._desk = desk
        self._replays: dict[Span, Replay] = {}
        self._metrics = metrics
        self._max_records = max_records
        self._poll_timeout_s = poll_timeout_s
        self._commit_every_s = commit_every_s
        self._revoke_timeout_s = revoke_timeout_s
        self._clock = clock
        self._offsets = OffsetTracker()
        self._topics_of: dict[Lane, set[str]] = {lane: set() for lane in self._lanes}
        for collection, lane in lanes.items():
            self._topics_of[lane].update(topics_of[collection])
        self._letters = 0
        self._newest: dict[str, Record] = {}
        self._committed_at = float("-inf")
        self._source: Source | None = None
        self._is_ending = False
        self.has_joined = False

    # The corridor ----------------------------------------------------------------------------------

    def run_once(self, source: Source) -> None:
        """Move one poll's worth of records through the corridor."""
        self._source = source
        source.pause(self._full_topics())
        polled = source.poll(self._max_records, self._poll_timeout_s)  # poll
        records = self._admission.admit(polled)
        spans = self._offsets.open(records)
        self._newest.update({span.partition.topic: span.newest for span in spans.values()})
        changes = self._changes_of(records, spans)  # decode → route → map
        for lane, asked in changes.items():  # compact; the lane writes
            for record, error in lane.add(asked):
                self._bury(record, error, spans[record.partition])
        self._run_errands(source, records)
        self._settle()
        self._dead_letters.serve()
        self.limit.count(len(records), self._letters)
        self._letters = 0
        if self._clock() - self._committed_at >= self._commit_every_s:  # commit
            self._commit()
        self._keep_lease()

    def _changes_of(self, records: Sequence[Record], spans: Spans) -> Changes:
        """What the records ask for, by lane and span. A topic feeds one lane."""
        changes: Changes = {}
        for partition, run in groupby(records, partition_of):
            span = spans[partition]
            asked = self._asked_by(run, span)
            if asked:
                lane = self._lane_of[asked[0].change.collection]
                changes.setdefault(lane, {}).setdefault(span, []).extend(asked)
        return changes

    def _asked_by(self, records: Iterable[Record], span: Span) -> list[Asked]:
        """What records of one span ask for. Poison is buried, the rest without a change is skipped."""
        found: list[Asked] = []
        ask = self._corridor.way(span.partition.topic)
        for record in records:
            try:
                asked = ask(record)
            except RecordError as error:
                self._bury(record, error, span)
                continue
            if isinstance(asked, Skip):
                self._skip(asked, span)
            else:
                found.append(asked)
        return found

    def _skip(self, skip: Skip, span: Span) -> None:
        topic = span.partition.topic
        span.outcomes[Outcome.SKIPPED] += 1
        self._metrics.skipped(topic, skip.reason)
        if skip.reason == "truncate":
            self._on_truncate(topic)

    def _settle(self) -> None:
        """Account for what the lanes are done with, bury what Typesense refused, release the offsets."""
        for lane in self._lanes:
            if lane.crash is not None:
                raise FatalError(f"the lane {lane.name} broke: {lane.crash!r}") from lane.crash
            for settlement in lane.collect():
                self._settle_one(lane, settlement)
        for span in self._offsets.settle():
            self._metrics.accounted(span)

    def _settle_one(self, lane: Lane, settlement: Settlement) -> None:
        settlement.account()
        span_of = settlement.batch.find_spans()
        for record, error in settlement.poison:
            self._bury(record, error, span_of(record))
        for span in settlement.batch.settles:
            span.release()
            if span in self._replays:
                self._end_replay(span, Fate.REPLAYED)
        self._metrics.wrote(lane.name, settlement)

    def _bury(self, record: Record, error: RecordError, span: Span) -> None:
        """Write a dead letter; the record is settled when the broker has it.

        What lacks values that are not in the log is no poison where a later event decides its row.
        """
        if span in self._replays:
            self._end_replay(span, Fate.FAILED, str(error))
            return
        span.hold()
        if isinstance(error, IncompleteError):
            self._desk.look(record, partial(self._judge, record, error, span))
        else:
            self._judge(record, error, span, is_superseded=False)

    def _judge(self, record: Record, error: RecordError, span: Span, is_superseded: bool) -> None:
        if span.is_dropped:
            return
        if is_superseded:
            span.outcomes[Outcome.COALESCED] += 1
            span.release()
            return
        span.outcomes[Outcome.DEAD_LETTERED] += 1
        self._letters += 1
        self._metrics.dead_lettered(record.partition.topic, error)
        self._dead_letters.put(record, error, span.release)

    def _commit(self, wait: bool = False) -> None:
        offsets = self._offsets.committable()
        if offsets and self._source is not None:
            self._source.commit(offsets, wait)
        self._committed_at = self._clock()

    # What the owner of a partition is asked for besides its stream ------------------------------------

    def _run_errands(self, source: Source, records: Sequence[Record]) -> None:
        """Between two polls, so that a replay is in order with everything that was read."""
        self._desk.passed(records)
        for errand in self._desk.serve(source.owned, source.next_offset):
            if isinstance(errand, Rewind):
                self._rewind(source, errand)
            else:
                self._replay(source, errand)

    def _rewind(self, source: Source, rewind: Rewind) -> None:
        """Read a partition again: a former owner may have written after us without knowing of us.

        The commit goes back first, so that whoever owns it after us begins there, too.
        """
        next_offset = source.next_offset(rewind.origin)
        if next_offset is None or not source.commit({rewind.origin: rewind.offset}, wait=True):
            self._desk.again(rewind)
            return
        if next_offset > rewind.offset:
            self._drop({rewind.origin})
            source.seek(rewind.origin, rewind.offset)
        self._desk.done(rewind)

    def _replay(self, source: Source, replay: Replay) -> None:
        """Apply a dead letter's record like one that was read now, but for commits and the account."""
        record = replay.record
        next_offset = source.next_offset(replay.origin)
        is_passed = next_offset is not None and replay.offset < next_offset
        if not is_passed or not self._admission.is_known(record):  # a rewind came in between, or no schema
            self._desk.again(replay)
            return
        span = Span(record, is_replay=True)
        try:
            asked = self._corridor.way(record.partition.topic)(record)
        except RecordError as error:
            self._desk.done(replay, Fate.FAILED, str(error))
            return
        if isinstance(asked, Skip):
            self._desk.done(replay, Fate.REPLAYED, f"nothing to do: {asked.reason}")
            return
        self._replays[span] = replay
        lane = self._lane_of[asked.change.collection]
        for _, refusal in lane.add({span: [Asked(record, asked.change)]}):
            self._end_replay(span, Fate.FAILED, str(refusal))

    def _end_replay(self, span: Span, fate: Fate, reason: str = "") -> None:
        self._desk.done(self._replays.pop(span), fate, reason)

    # Back-pressure ---------------------------------------------------------------------------------

    def _full_topics(self) -> Collection[str]:
        """The topics to read nothing from for now: held for a schema, or enough of them waits already."""
        if self.is_stopped or self._dead_letters.is_full or self._desk.looking >= MAX_LOOKING:
            return set().union(*self._topics_of.values())
        full = (self._topics_of[lane] for lane in self._lanes if lane.is_full)
        return set(self._admission.holds).union(*full)

    @property
    def is_stopped(self) -> bool:
        """Whether a flood of dead letters has stopped the line."""
        return self.limit.is_broken

    @property
    def is_quiet(self) -> bool:
        """Nothing is under way: all that was read is settled and committed."""
        return all(lane.is_idle for lane in self._lanes) and not self._offsets.open_spans

    def set_gauges(self) -> None:
        """Bring the gauges of what is under way up to date."""
        self._metrics.set("lease_held", self._lease.is_held)
        self._metrics.set("open_spans", self._offsets.open_spans)
        for lane in self._lanes:
            self._metrics.set("lane_waiting", lane.trouble is not None, lane.name)
            self._metrics.set("batch_limit_documents", lane.batch_limit, lane.name)
            self._metrics.set("in_flight_documents", lane.in_flight_documents, lane.name)
            self._metrics.set("waiting_bytes", lane.waiting_bytes, lane.name)
            self._metrics.set("waiting_documents", lane.waiting_documents, lane.name)

    def set_lag_seconds(self, behind: Collection[str]) -> None:
        """Age of the newest record taken from each topic that has more; 0 for the others."""
        now_ms = time.time_ns() // 1_000_000
        for topic, newest in self._newest.items():
            lag_s = max(0, now_ms - newest.timestamp_ms) / 1000 if topic in behind else 0.0
            self._metrics.set("lag_seconds", lag_s, topic.rpartition(".")[2])

    # Rebalances (inside `poll` and `close`) ----------------------------------------------------------

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """These are ours; their offsets begin at what was committed.

        Who owned them before may be dead, with requests that are received and not applied yet. Ours come
        after those, but our reads would not see them.
        """
        self.has_joined = True
        topics = {partition.topic for partition in partitions}
        for lane in self._lanes:
            if not topics.isdisjoint(self._topics_of[lane]):
                lane.doubt()
        self._metrics.rebalanced("assigned")

    def on_committed(self, offsets: Mapping[Partition, int], asked_at: float) -> None:
        """The broker has these, so it calls us a member."""
        self._lease.renew(asked_at)
        self._offsets.committed(offsets)

    def on_revoked(self, partitions: Collection[Partition], lost: bool) -> None:
        """Finish or drop the work on these, commit what is settled, forget them.

        When they were lost, somebody else may have read them from what was committed, and written, before
        our last request was applied. Whoever that is shall read them once more, and after that request has
        ended. They may also be lost while we give them up: then the lease has run out meanwhile.
        """
        self._metrics.rebalanced("lost" if lost else "revoked")
        if lost:
            self._lease.end()
        begins = self._offsets.uncommitted(partitions)
        self._drop(partitions, commit=not lost)
        if lost or not self._lease.is_held:
            for partition, offset in begins.items():
                self._desk.ask_rewind(partition, offset)
        self._desk.revoked(partitions)

    def _drop(self, partitions: Collection[Partition], *, commit: bool = False) -> None:
        """Have no work on these any more: finished, or given up."""
        self._admission.disown(partitions)
        for lane in self._lanes:
            lane.disown(partitions)
        deadline = self._clock() + self._revoke_timeout_s
        for lane in self._lanes:
            while not lane.wait_disowned(LEASE_EVERY_S):
                if self._clock() >= deadline:
                    lane.give_up_disowned()
                    break
                self._keep_lease(wait=True)
        self._settle()
        # In the end, `finish` has committed; a commit that waits while the consumer closes may never return
        # (librdkafka gives an assignment up that it is about to make, and forgets who waits).
        if commit and not self._is_ending:
            self._commit(wait=True)
        self._offsets.revoke(partitions)
        for span in [span for span in self._replays if span.partition in partitions]:
            self._desk.again(self._replays.pop(span))

    def _keep_lease(self, *, wait: bool = False) -> None:
        if self._source is not None and self._lease.is_due():
            self._source.renew(wait)

    # The end ---------------------------------------------------------------------------------------

    def finish(self, timeout_s: float) -> bool:
        """Write and commit what was read, without reading more; whether all of it came through in time.

        A lane whose sink is away is not waited for: what it holds is not committed, so it is read again.
        """
        deadline = self._clock() + timeout_s
        while self._clock() < deadline:
            self._desk.serve((), lambda _: None)
            self._settle()
            self._dead_letters.serve()
            if self._offsets.committable():
                self._commit(wait=True)
            self._keep_lease(wait=True)
            if self.is_quiet or self._has_no_hope:
                break
            self._sleep(0.02)
        self._is_ending = True
        return self.is_quiet

    @property
    def _has_no_hope(self) -> bool:
        """Nothing is under way but what waits for a sink that is away."""
        waits_for_broker = self._dead_letters.waiting or self._desk.looking
        return not waits_for_broker and all(lane.is_idle or lane.trouble for lane in self._lanes)
