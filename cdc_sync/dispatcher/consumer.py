"""A member of a consumer group: polls on a thread, hands records to lanes on the event loop, commits.

At least once. A lane is a partition: its events are handled one after the other, so those of a key are in
order. An offset is committed when everything below it is handled or stored as a dead letter. The thread
never waits for a handler, so the member stays in its group; a lane that has enough is not read for a while.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cdc_sync.dispatcher.handling import Turn
from cdc_sync.dispatcher.metrics import Meters
from cdc_sync.dlq import DeadLetterLimit, KafkaDeadLetterQueue
from cdc_sync.errors import Abandoned, FatalError, RecordError
from cdc_sync.model import Partition, Record
from cdc_sync.offsets import OffsetTracker, Outcome, Span
from cdc_sync.source import KafkaSource

__all__ = ["GroupMember", "Lane", "Limits"]

Handle = Callable[[Record, Turn], Awaitable[None]]
"""Handles an event. Raises `RecordError` when that can never be, `Abandoned` when it was taken away."""

YIELD_EVERY: Final = 50
"""Events after which a lane lets others go first, where its handlers never wait."""
GAUGES_EVERY_S: Final = 1.0
COMMIT_WITHIN_S: Final = 5.0
WORDS: Final = {Outcome.WRITTEN: "handled", Outcome.DEAD_LETTERED: "dead_lettered"}
"""What an outcome is called here."""


class Item(NamedTuple):
    """A record in its lane, and who must hear that it is done."""

    record: Record
    span: Span


class Ended(NamedTuple):
    """What became of an item: done, or why it can never be."""

    item: Item
    error: RecordError | None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a member holds, and how long it waits."""

    max_poll: int = 500
    lane_records: int = 5_000
    lane_bytes: int = 8_388_608
    commit_every_s: float = 0.5
    drain_s: float = 10.0
    deadline_s: float = 30.0


class Lane:
    """The events of one partition, one after the other, on the event loop; counts are read from anywhere."""

    def __init__(self, handle: Handle, ended: Callable[[Ended], None], limits: Limits) -> None:
        self._handle = handle
        self._ended = ended
        self._limits = limits
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._abandoned = asyncio.Event()
        self._is_full = False
        self._begun_at: float | None = None
        self.crash: BaseException | None = None
        self.trouble: str | None = None

    def add(self, items: Sequence[Item]) -> None:
        """Handle these after what waits already."""
        self._waiting.extend(items)
        self._bytes += sum(item.record.size_bytes for item in items)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    @property
    def is_full(self) -> bool:
        """Whether it has enough; then it is full until half of that is done."""
        share = max(len(self._waiting) / self._limits.lane_records, self._bytes / self._limits.lane_bytes)
        self._is_full = share >= 1 or (self._is_full and share > 1 / 2)
        return self._is_full

    @property
    def waiting(self) -> int:
        """Events that are not begun."""
        return len(self._waiting)

    def problems(self, now: float) -> list[str]:
        """Why it does not get on."""
        if self.trouble is not None:
            return [self.trouble]
        if self._begun_at is not None and now - self._begun_at > 2 * self._limits.deadline_s:
            return [f"a handler has been at work for {now - self._begun_at:.0f} s"]
        return []

    async def wait(self, seconds: float, why: str) -> None:
        """As `Turn.wait`."""
        self.trouble = why
        try:
            await asyncio.wait_for(self._abandoned.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self.trouble = None
        raise Abandoned(why)

    async def drain(self, timeout_s: float) -> bool:
        """Begin nothing more; whether what was begun came to its end in time."""
        self._waiting.clear()
        self._abandoned.set()
        if self._task is None:
            return True
        _, left = await asyncio.wait({self._task}, timeout=timeout_s)
        for task in left:
            task.cancel()
        return not left

    async def _run(self) -> None:
        handled = 0
        while self._waiting:
            item = self._waiting.popleft()
            self._bytes -= item.record.size_bytes
            self._begun_at = time.monotonic()
            try:
                await self._handle(item.record, self)
            except RecordError as error:
                self._ended(Ended(item, error))
            except Abandoned:
                return
            except Exception as error:  # ours, not a handler's: the process must not go on without this lane
                self.crash = error
                return
            else:
                self._ended(Ended(item, None))
            finally:
                self._begun_at = None
            handled += 1
            if handled % YIELD_EVERY == 0:
                await asyncio.sleep(0)


class GroupMember:
    """One member of a group, as `client_id`, from `start` until `stop`.

    `handle` runs on `loop`. Dead letters, offsets and rebalances belong to the polling thread.
    """

    def __init__(
        self,
        service: str,
        client_id: str,
        make_source: Callable[[GroupMember], KafkaSource],
        dead_letters: KafkaDeadLetterQueue,
        limit: DeadLetterLimit,
        handle: Handle,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        meters: Meters,
    ) -> None:
        self.client_id = client_id
        self._service = service
        self._make_source = make_source
        self._dead_letters = dead_letters
        self._limit = limit
        self._handle = handle
        self._loop = loop
        self._limits = limits
        self._meters = meters
        self._offsets = OffsetTracker()
        self._lanes: dict[Partition, Lane] = {}
        self._ended: deque[Ended] = deque()
        self._letters = 0
        self._source: KafkaSource | None = None
        self._committed_at = self._gauges_at = float("-inf")
        self._has_joined = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"group-{client_id}", daemon=True)
        self.crash: BaseException | None = None
        self.drained = True

    # From outside ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Read no more, finish what was begun, commit, leave."""
        self._stop.set()

    def stop(self, timeout_s: float) -> bool:
        """Wait for that; whether everything that was begun came to its end. Not on the event loop."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        return self.drained and not self._thread.is_alive()

    def problems(self) -> list[str]:
        """Why it is not handling events now."""
        problems = []
        if self.crash is not None:
            problems.append(f"{self.client_id} broke: {self.crash}")
        elif not self._has_joined:
            problems.append(f"{self.client_id} is not a member of its group yet")
        if self._limit.is_broken:
            problems.append(f"{self.client_id} stopped by a flood of dead letters: {self._limit}")
        now = time.monotonic()
        for partition, lane in list(self._lanes.items()):
            problems += [f"{partition.topic}[{partition.number}]: {p}" for p in lane.problems(now)]
        if self._dead_letters.waiting:
            problems.append(f"{self._dead_letters.waiting} dead letters are not stored yet")
        return problems

    # The polling thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            source = self._source = self._make_source(self)
            while not self._stop.is_set():
                self._turn(source)
            self._finish(source)
            source.close()
        except Exception as error:  # the thread's last word: the dispatcher ends with it
            self.crash = error

    def _turn(self, source: KafkaSource) -> None:
        """One poll's worth of records to their lanes; what lanes are done with settled and committed."""
        full = self._full()
        source.pause((), full)
        records = source.poll(self._limits.max_poll, 0.1)
        self._hand_over(records)
        self._settle()
        self._dead_letters.serve()
        self._limit.count(len(records), self._letters)
        self._letters = 0
        now = time.monotonic()
        if now - self._committed_at >= self._limits.commit_every_s:
            self._committed_at = now
            source.commit(self._offsets.committable())
        if now - self._gauges_at >= GAUGES_EVERY_S:
            self._gauges_at = now
            self._set_gauges(source, len(full))

    def _finish(self, source: KafkaSource) -> None:
        """Finish what was begun and commit it while we are still a member.

        In the middle of a rebalance a commit is refused; so it is made again until it is confirmed.
        """
        self._drain(list(self._lanes.values()))
        deadline = time.monotonic() + COMMIT_WITHIN_S
        while (offsets := self._offsets.committable()) and time.monotonic() < deadline:
            source.commit(offsets, wait=True)
            source.pause((), source.owned)
            source.poll(1, 0.05)

    def _drain(self, lanes: Sequence[Lane]) -> None:
        """Let these finish what they have begun, and store what letters that makes."""
        draining = asyncio.run_coroutine_threadsafe(drain(lanes, self._limits.drain_s), self._loop)
        try:
            self.drained &= draining.result(self._limits.drain_s + 5.0)
        except TimeoutError:
            self.drained = False
        self._settle()
        self._dead_letters.flush(2.0)
        self._settle()

    def _hand_over(self, records: Sequence[Record]) -> None:
        batches: dict[Partition, list[Item]] = {}
        for record in records:
            (span,) = self._offsets.open((record,)).values()  # a span a record: what is done is committed
            span.hold()
            batches.setdefault(record.partition, []).append(Item(record, span))
        for partition, items in batches.items():
            lane = self._lanes.get(partition)
            if lane is None:
                lane = self._lanes[partition] = Lane(self._handle, self._ended.append, self._limits)
            self._loop.call_soon_threadsafe(lane.add, items)

    def _settle(self) -> None:
        """Bury what can never be handled, release the rest, count what is settled."""
        for lane in self._lanes.values():
            if lane.crash is not None:
                raise FatalError(f"a lane of {self.client_id} broke: {lane.crash!r}") from lane.crash
        while self._ended:
            (record, span), error = self._ended.popleft()
            if error is None:
                span.outcomes[Outcome.WRITTEN] = 1
                span.release()
            else:
                span.outcomes[Outcome.DEAD_LETTERED] = 1
                self._bury(record, error, span)
        settled = Counter(
            (span.partition.topic, outcome) for span in self._offsets.settle() for outcome in span.outcomes
        )
        for (topic, outcome), count in settled.items():
            self._meters.count("events_consumed_total", self._service, topic, by=count)
            self._meters.count("events_total", self._service, topic, WORDS[outcome], by=count)

    def _bury(self, record: Record, error: RecordError, span: Span) -> None:
        topic = record.partition.topic
        self._letters += 1
        self._dead_letters.put(record, error, span.release)
        self._meters.count("dead_letters_total", self._service, topic, type(error).__name__)
        self._meters.trouble("dead letter", topic=topic, offset=record.offset, reason=str(error))

    def _full(self) -> Collection[Partition]:
        if self._limit.is_broken or self._dead_letters.is_full:
            return self._source.owned if self._source is not None else ()
        return [partition for partition, lane in self._lanes.items() if lane.is_full]

    def _set_gauges(self, source: KafkaSource, paused: int) -> None:
        waiting = sum(lane.waiting for lane in self._lanes.values())
        self._meters.set("waiting", waiting, self.client_id)
        self._meters.set("paused_partitions", paused, self.client_id)
        self._meters.set("assigned_partitions", len(source.owned), self.client_id)
        for (topic, number), records in source.lag().items():
            self._meters.set("lag_records", records, self._service, topic, str(number))

    # Rebalances, inside `poll` and `close` -------------------------------------------------------------

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """As `RebalanceListener`."""
        self._has_joined = True
        self._meters.count("rebalances_total", self.client_id, "assigned")

    def on_committed(self, offsets: Mapping[Partition, int], asked_at: float) -> None:
        """As `RebalanceListener`."""
        self._offsets.committed(offsets)

    def on_revoked(self, partitions: Collection[Partition], lost: bool) -> None:
        """Finish what was begun on these, commit unless they are lost, forget them."""
        self._meters.count("rebalances_total", self.client_id, "lost" if lost else "revoked")
        self._drain([lane for p in partitions if (lane := self._lanes.pop(p, None)) is not None])
        if not lost and self._source is not None:
            self._source.commit(self._offsets.committable(), wait=True)
        self._offsets.revoke(partitions)


async def drain(lanes: Sequence[Lane], timeout_s: float) -> bool:
    """Drain these at once; whether all did in time."""
    return all(await asyncio.gather(*(lane.drain(timeout_s) for lane in lanes)))
