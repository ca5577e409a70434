"""The doors to Kafka of one replica: its source, its dead letter queue, its clerk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from cdc_sync.control.errands import Errand, Replayed, decoded
from cdc_sync.control.search import Evidence, Search, found
from cdc_sync.errors import RecordError
from cdc_sync.model import Partition, Record
from cdc_sync.protocols import RebalanceListener
from tests.model.broker import Broker, Letter, Member
from tests.model.hub import Hub, Process, Signal

__all__ = ["SimClerk", "SimLetters", "SimSource"]

Entry = tuple[str, Errand | Replayed | None]


class Question(NamedTuple):
    """A commit: who asked for it, and when."""

    member: Member
    offsets: dict[Partition, int]
    asked_at: float


class SimSource:
    """What `KafkaSource` is, with the moments at which a broker may answer drawn from the seed."""

    def __init__(self, hub: Hub, broker: Broker, process: Process, listener: RebalanceListener) -> None:
        self._hub = hub
        self._broker = broker
        self._process = process
        self._listener = listener
        self.member: Member = broker.join(process)
        self._positions: dict[Partition, int] = {}
        self._asked_for: dict[Partition, int] = {}
        self._paused: Collection[str] = ()
        self._sent: deque[Question] = deque()
        self._heard: deque[tuple[Question, bool]] = deque()

    @property
    def owned(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    @property
    def is_member(self) -> bool:
        """Whether the broker thinks so, too."""
        return self.member in self._broker.members

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        hub = self._hub
        hub.pause()
        self._rebalance()
        self._answer()
        if not self._has_news():
            hub.wait(self.member.news, timeout_s)
            self._rebalance()
            self._answer()
        return self._fetched(max_records)

    def commit(self, offsets: Mapping[Partition, int], wait: bool = False) -> bool:
        """Without `wait` it may reach the broker now, or at the next word with it; we hear in a poll."""
        if not offsets:
            return True
        self._asked_for |= {p: offset for p, offset in offsets.items() if p in self._positions}
        question = Question(self.member, dict(offsets), self._hub.now)
        self._sent.append(question)
        if not wait:
            if self._hub.random.random() < 0.5:
                self._hub.pause()
                self._reach()
            return False
        self._hub.pause()
        self._reach()
        _, is_stored = self._heard.pop()  # what was asked before is still heard of in a poll
        self._hub.pause()
        self._hear(question, is_stored)
        return is_stored

    def renew(self, wait: bool = False) -> None:
        if self._positions:
            partition = min(self._asked_for.keys() & self._positions.keys() or self._positions)
            offset = self._asked_for.setdefault(partition, self._broker.committed.get(partition, 0))
            self.commit({partition: offset}, wait)

    def next_offset(self, partition: Partition) -> int | None:
        if self._hub.random.random() < 0.05:
            return None
        return self._positions.get(partition)

    def seek(self, partition: Partition, offset: int) -> None:
        self._hub.tell("seeks {}[{}] to {}", *partition, offset)
        self._positions[partition] = offset
        self._broker.on_rewind(self._process)

    def pause(self, topics: Collection[str]) -> None:
        self._paused = topics

    def close(self) -> None:
        """Leave the group, after a last word on what is still ours."""
        self._give_up(list(self._positions), lost=self.member not in self._broker.members)
        self._hub.pause()
        self._broker.leave(self.member)

    # What happens inside a poll ------------------------------------------------------------------------

    def _rebalance(self) -> None:
        if self.member not in self._broker.members:
            self._give_up(list(self._positions), lost=True)
            self.member = self._broker.join(self._process)
        if gone := self._broker.to_revoke(self.member):
            self._give_up(gone, lost=False)
        if new := self._broker.to_assign(self.member):
            self._broker.assigned(self.member, new)
            self._positions.update({p: self._broker.committed.get(p, 0) for p in new})
            self._hub.tell("gets {}", places(new))
            self._listener.on_assigned(new)

    def _give_up(self, partitions: list[Partition], lost: bool) -> None:
        member = self.member
        self._hub.tell("{} {}", "has lost" if lost else "gives up", places(partitions))
        self._listener.on_revoked(partitions, lost)
        for partition in partitions:
            self._positions.pop(partition, None)
            self._asked_for.pop(partition, None)
        self._hub.pause()
        self._broker.revoked(member, partitions)

    def _answer(self) -> None:
        self._reach()
        if self._heard:
            self._hub.pause()
        while self._heard:
            self._hear(*self._heard.popleft())

    def _reach(self) -> None:
        """The broker decides on all that was asked, in that order."""
        while self._sent:
            question = self._sent.popleft()
            self._heard.append((question, self._broker.commit(question.member, question.offsets)))

    def _hear(self, question: Question, is_stored: bool) -> None:
        _, offsets, asked_at = question
        if is_stored:
            self.member.asked_at = max(self.member.asked_at, asked_at)
            self._listener.on_committed(offsets, asked_at)
            return
        for partition, offset in offsets.items():
            if self._asked_for.get(partition) == offset:
                del self._asked_for[partition]

    def _has_news(self) -> bool:
        return any(
            position < len(self._broker.log[partition]) and partition.topic not in self._paused
            for partition, position in self._positions.items()
        )

    def _fetched(self, max_records: int) -> list[Record]:
        """A run of some partitions, some of it, in any order of partitions."""
        random = self._hub.random
        records: list[Record] = []
        partitions = list(self._positions)
        random.shuffle(partitions)
        for partition in partitions:
            start = self._positions[partition]
            end = len(self._broker.log[partition])
            if partition.topic in self._paused or start >= end or random.random() < 0.2:
                continue
            count = min(random.randint(1, 6), max_records - len(records))
            taken = self._broker.read(partition, start, count)
            self._positions[partition] = start + len(taken)
            records += taken
        return records


class SimLetters:
    """The dead letter queue: a letter is stored after a while, and acknowledged after another."""

    def __init__(self, hub: Hub, broker: Broker, process: Process) -> None:
        self._hub = hub
        self._broker = broker
        self._process = process
        self._acknowledged: deque[Callable[[], None]] = deque()
        self.waiting = 0

    def put(self, record: Record, error: RecordError, on_stored: Callable[[], None]) -> None:
        self.waiting += 1
        letter = Letter(record, type(error).__name__, str(error))
        slowly = self._hub.random.choice((1, 1, 1, 10, 100))
        self._hub.at(self._hub.now + self._hub.delay() * slowly, partial(self._store, letter, on_stored))

    def serve(self) -> None:
        while self._acknowledged:
            self.waiting -= 1
            self._acknowledged.popleft()()

    @property
    def is_full(self) -> bool:
        return self.waiting >= 10

    def _store(self, letter: Letter, on_stored: Callable[[], None]) -> None:
        """A process that is suspended or dies meanwhile has sent it, or has not."""
        process, hub = self._process, self._hub
        if process.is_dead and hub.random.random() < 0.5:
            return
        if process.asleep_until > hub.now and hub.random.random() < 0.5:
            hub.at(process.asleep_until, partial(self._store, letter, on_stored))
            return
        topic, number = letter.record.partition
        hub.tell("dead letter of {}: {}[{}]/{}", process.name, topic, number, letter.record.offset)
        self._broker.letters.append(letter)
        hub.at(hub.now + hub.delay(), lambda: self._acknowledged.append(on_stored))


class SimClerk:
    """Reads and writes the control topic and searches the log, on a thread of its own."""

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        process: Process,
        identity_of: Callable[[Record], bytes | None],
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._identity_of = identity_of
        self._work = Signal()
        self._puts: deque[tuple[str, bytes | None]] = deque()
        self._searches: deque[tuple[Search, Callable[[Evidence], None]]] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._entries: deque[Entry] = deque()
        self._read_to = 0
        hub.spawn(process, "clerk", self._run)
        hub.spawn(process, "tail", self._follow)

    @property
    def has_written(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._puts

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not (self._puts or self._searches or self._calls or self._entries)

    def search(self, search: Search, on_evidence: Callable[[Evidence], None]) -> None:
        self._searches.append((search, on_evidence))
        self._hub.give(self._work)

    def put(self, key: str, value: bytes | None) -> None:
        self._puts.append((key, value))
        self._hub.give(self._work)

    def deliver(self, on_entry: Callable[[str, Errand | Replayed | None], None]) -> None:
        while self._entries:
            on_entry(*self._entries.popleft())
        while self._calls:
            self._calls.popleft()()

    def _run(self) -> None:
        while True:
            if not (self._puts or self._searches):
                self._hub.wait(self._work)
            while self._puts:
                self._hub.pause()
                key, value = self._puts.popleft()
                self._hub.tell("writes {} = {}", key, value)
                self._broker.write_control(key, value)
            if self._searches:
                self._hub.sleep(self._hub.delay() * self._hub.random.choice((1, 1, 20)))
                search, on_evidence = self._searches.popleft()
                evidence = searched(self._broker, search, self._identity_of)
                self._hub.pause()
                self._calls.append(partial(on_evidence, evidence))

    def _follow(self) -> None:
        """The topic from its start; the newest of each key since the last look."""
        while True:
            if self._read_to == len(self._broker.control):
                self._hub.wait(self._broker.control_news)
            self._hub.pause()
            news = self._broker.control[self._read_to :]
            self._read_to += len(news)
            for key, value in dict(news).items():
                self._entries.append((key, None if value is None else decoded(value)))


def searched(broker: Broker, search: Search, identity_of: Callable[[Record], bytes | None]) -> Evidence:
    """What the log says now."""
    log = broker.log[search.partition]
    to = len(log) if search.end is None else min(search.end, len(log))
    return found(log[search.start : to], search, 0, to, identity_of)


def places(partitions: Collection[Partition]) -> str:
    """Partitions as the story prints them."""
    return ", ".join(f"{topic.rpartition('.')[2]}[{number}]" for topic, number in partitions) or "nothing"
