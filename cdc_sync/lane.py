"""A lane: one ordered stream of writes, on a thread of its own.

The thread that polls adds changes; the lane's thread takes whatever waits, writes it, and puts a
`Settlement` down to be collected. While it writes, the next batch grows and is compacted, so an idle lane
writes at once and a busy one writes better batches, up to what its `Pace` allows. There is never more than
one batch in flight, and a batch is held, not dropped, while the sink is away.

A rejected document that several records were folded into is written again record by record, so that only
the record at fault becomes a dead letter and the others have their effect.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from tenacity.wait import wait_base

from cdc_sync.compaction import Asked, Batch
from cdc_sync.errors import (
    Abandoned,
    IncompleteError,
    LeaseExpired,
    RecordError,
    TransientError,
)
from cdc_sync.model import DocumentChange, Partition, Record, Rejection, Skip
from cdc_sync.offsets import Span
from cdc_sync.pace import Pace
from cdc_sync.protocols import Sink
from cdc_sync.settlement import Poison, Settlement, refusal

__all__ = ["Lane", "Threads"]

T = TypeVar("T")

ABORT_S: Final = 2.0
"""How long an aborted request may take to raise."""

LEASE_LOOK_S: Final = 0.02
LEASE_LOOKS: Final = 100
"""After so many looks at the lease, two seconds, its absence is a trouble that is told."""


class Threads(NamedTuple):
    """What a lane runs on, waits on and measures by; a simulation has threads and a clock of its own."""

    condition: Callable[[], threading.Condition] = threading.Condition
    thread: Callable[..., threading.Thread] = threading.Thread
    clock: Callable[[], float] = time.monotonic


THREADS: Final = Threads()


class Lane:
    """One ordered stream of writes into some collections. `add`, `collect`, `revoke` by the polling thread.

    `change_of` maps a record again, when a folded change has to be taken apart. `may_write` is whether what
    was read is certainly still ours to write (`lease.py`), `pace` says how much of what waits is written at
    once. The lane's thread calls `on_trouble(lane, error, is_new)` at every failed try, and
    `on_recovery(lane)` when it can write again. `crash` is an error that nobody expected: the lane has
    ended, and so should the process.
    """

    def __init__(
        self,
        name: str,
        collections: Sequence[str],
        sink: Sink,
        change_of: Callable[[Record], DocumentChange | Skip],
        *,
        max_waiting_bytes: int,
        max_waiting_documents: int,
        max_backoff_s: float = 30.0,
        may_write: Callable[[], bool] = lambda: True,
        pace: Pace | None = None,
        on_trouble: Callable[[Lane, TransientError, bool], None] = lambda *_: None,
        on_recovery: Callable[[Lane], None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        threads: Threads = THREADS,
    ) -> None:
        self.name = name
        self.collections = tuple(collections)
        self.trouble: TransientError | None = None
        self.crash: Exception | None = None
        self._sink = sink
        self._change_of = change_of
        self._max_waiting_bytes = max_waiting_bytes
        self._max_waiting_documents = max_waiting_documents
        self._may_write = may_write
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._now_ms = now_ms
        self._clock = threads.clock
        self._pace = pace or Pace()
        self._changed = threads.condition()
        self._waiting = Batch()
        self._in_flight: Batch | None = None
        self._revoked: set[Partition] = set()
        self._is_doubtful = False
        self._stopping = threading.Event()
        self._settled: deque[Settlement] = deque()
        self._retrying = self._retries(max_backoff_s)
        self._thread = threads.thread(target=self._run, name=f"lane-{name}", daemon=True)

    def _retries(self, max_backoff_s: float) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_by_error(wait_random_exponential(multiplier=0.2, max=max_backoff_s)),
            sleep=self._sleep,
            before_sleep=self._report_trouble,
            reraise=True,
        )

    # Called by the polling thread ------------------------------------------------------------------

    def start(self) -> None:
        """Start the lane's thread."""
        self._thread.start()

    def add(self, changes: Mapping[Span, Sequence[Asked]]) -> list[Poison]:
        """Let changes wait here, folded; their spans are held until they are settled.

        Returns the records that could not be folded.
        """
        poison: list[Poison] = []
        with self._changed:
            batch = self._waiting
            for span, of_span in changes.items():
                refused = len(poison)
                for asked in of_span:
                    try:
                        batch.add(asked)
                    except IncompleteError as error:
                        poison.append((asked.record, error))
                count = len(of_span) - (len(poison) - refused)
                if count:
                    span.hold()
                    batch.spans.append(span)
                    batch.asked[span] = count
            self._changed.notify_all()
        return poison

    def collect(self) -> list[Settlement]:
        """What has been settled since the last call."""
        settled = []
        while self._settled:
            settled.append(self._settled.popleft())
        return settled

    @property
    def is_full(self) -> bool:
        """Whether as much waits here as is allowed."""
        return (
            self._waiting.size_bytes >= self._max_waiting_bytes
            or len(self._waiting) >= self._max_waiting_documents
        )

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the records that wait, folded ones included."""
        return self._waiting.size_bytes

    @property
    def waiting_documents(self) -> int:
        """Documents that wait."""
        return len(self._waiting)

    @property
    def batch_limit(self) -> int:
        """Documents that the next batch may have."""
        return self._pace.limit

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is in flight."""
        with self._changed:
            return self._in_flight is None and not self._waiting.spans

    @property
    def in_flight_documents(self) -> int:
        """Documents that are being written, or held while the sink is away."""
        in_flight = self._in_flight
        return 0 if in_flight is None else len(in_flight)

    def doubt(self) -> None:
        """Somebody before us may have sent what is not applied yet: begin the next batch after that."""
        self._is_doubtful = True

    def disown(self, partitions: Collection[Partition]) -> None:
        """Drop what came from these partitions, and begin no request with any of it."""
        with self._changed:
            self._waiting = self._waiting.without(set(partitions))
            self._revoked = set(partitions)
            self._changed.notify_all()

    def wait_disowned(self, timeout_s: float) -> bool:
        """Wait for what is in flight, if it has anything of what was disowned; whether that has ended."""
        with self._changed:
            if not self._changed.wait_for(self._has_disowned, timeout_s):
                return False
            self._revoked = set()
            return True

    def give_up_disowned(self) -> None:
        """Wait no longer: end the request in flight."""
        self._sink.abort()
        if not self.wait_disowned(ABORT_S):
            self._revoked = set()

    def ask_to_stop(self) -> None:
        """Begin no other request."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def stop(self, timeout_s: float) -> None:
        """Let the request in flight end, or give it up; drop the rest; end the thread."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._sink.abort()
            self._thread.join(ABORT_S)

    def _has_disowned(self) -> bool:
        batch = self._in_flight
        return batch is None or not any(span.partition in self._revoked for span in batch.spans)

    # The lane's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # a bug: the polling thread raises it, and the process ends
            self.crash = error
            with self._changed:
                self._in_flight = None
                self._changed.notify_all()

    def _work(self) -> None:
        try:
            self._insist(self._sink.open, ())
        except Abandoned:
            return
        batch = self._take()
        while batch is not None:
            try:
                poison, apart = self._write(batch)
            except Abandoned:
                batch = self._narrowed(batch)
                continue
            with self._changed:
                self._settled.append(Settlement(batch, poison, apart, self._now_ms()))
                self._in_flight = None
                self._changed.notify_all()
            batch = self._take()

    def _narrowed(self, batch: Batch) -> Batch | None:
        """What is left of a batch in flight after a revocation; None when the lane stops."""
        with self._changed:
            rest = None if self._stopping.is_set() else batch.without(self._revoked)
            self._in_flight = rest
            self._changed.notify_all()
            return rest

    def _take(self) -> Batch | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting.spans or self._stopping.is_set())
            if self._stopping.is_set():
                return None
            if len(self._waiting) > self._pace.limit:
                self._in_flight = self._waiting.take(self._pace.limit)
            else:
                self._in_flight, self._waiting = self._waiting, Batch()
            return self._in_flight

    def _resolve_doubt(self, batch: Batch) -> None:
        """Open the sink anew. A doubt that comes meanwhile is about what comes after this batch."""
        if not self._is_doubtful:
            return
        self._is_doubtful = False
        try:
            self._insist(self._sink.open, batch.spans)
        except Abandoned:
            self._is_doubtful = True
            raise

    def _write(self, batch: Batch) -> tuple[list[Poison], list[Asked]]:
        self._resolve_doubt(batch)
        poison: list[Poison] = []
        apart: list[Asked] = []
        rejections = self._attempt(batch) if len(batch) else ()
        for rejection in rejections:
            asked = batch.changes[rejection.key.collection][rejection.key.id]
            if not asked.later:
                poison.append((asked.record, refusal(rejection)))
            else:
                poison += self._write_apart(asked.records, batch.spans)
                apart.append(asked)
        return poison, apart

    def _write_apart(self, records: Sequence[Record], spans: list[Span]) -> list[Poison]:
        """Records that were folded into one refused change, each by itself, in their order."""
        poison: list[Poison] = []
        for record in records:
            try:
                change = self._change_of(record)
            except RecordError as error:
                poison.append((record, error))
                continue
            if isinstance(change, Skip):
                continue
            alone = Batch()
            alone.spans = spans
            alone.add(Asked(record, change))
            poison += [(record, refusal(rejection)) for rejection in self._attempt(alone)]
        return poison

    def _attempt(self, batch: Batch) -> Sequence[Rejection]:
        def write() -> Sequence[Rejection]:
            began = self._clock()
            rejections = self._sink.write(batch)
            self._pace.answered(len(batch), self._clock() - began)
            return rejections

        return self._insist(write, batch.spans)

    def _insist(self, call: Callable[[], T], spans: Iterable[Span]) -> T:
        """Call until the sink does it. Raises `Abandoned` when the work is not ours any more."""
        partitions = {span.partition for span in spans}

        def check() -> None:
            if self._stopping.is_set() or not partitions.isdisjoint(self._revoked):
                raise Abandoned(self.name)

        def attempt() -> T:
            check()
            if partitions:
                self._await_lease(check)
            return call()

        done = self._retrying.copy()(attempt)
        if self.trouble is not None:
            self.trouble = None
            self._on_recovery(self)
        return done

    def _await_lease(self, check: Callable[[], None]) -> None:
        """Wait for the broker's word that we may write: it is asked when partitions come, and ever again."""
        for _ in range(LEASE_LOOKS):
            if self._may_write():
                return
            self._sleep(LEASE_LOOK_S)
            check()
        raise LeaseExpired

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or bool(self._revoked), seconds)

    def _report_trouble(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, TransientError):
            if not isinstance(error, LeaseExpired):
                self._pace.refused()
            known, self.trouble = self.trouble, error
            self._on_trouble(self, error, type(known) is not type(error))


def wait_by_error(backoff: wait_base) -> Callable[[RetryCallState], float]:
    """Back off from a sink that is away; a lease that comes back is to be seen at once."""

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        return LEASE_LOOK_S if isinstance(error, LeaseExpired) else backoff(state)

    return wait
