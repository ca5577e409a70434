"""Kafka in memory: the log, a group with sessions and cooperative rebalances, our two topics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from cdc_sync.model import Partition, Record
from tests.model.hub import Hub, Process, Signal

__all__ = ["SESSION_S", "Broker", "Letter", "Member"]

SESSION_S = 6.0
HEARTBEAT_S = 1.0
"""The broker heard of a member this long ago at most, when it falls silent."""


class Letter(NamedTuple):
    """What stands in the dead letter topic."""

    record: Record
    error: str
    reason: str


class Member:
    """A member of the group as the broker knows it; `news` wakes its poll.

    `asked_at` is when it asked the newest question whose answer it has: what its lease may be built on.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.news = Signal()
        self.asked_at = float("-inf")


class Broker:
    """Everything here happens at once; what takes time is with the callers."""

    def __init__(self, hub: Hub, partitions: Iterable[Partition]) -> None:
        self._hub = hub
        self.log: dict[Partition, list[Record]] = {partition: [] for partition in partitions}
        self.committed: dict[Partition, int] = {}
        self.owner: dict[Partition, Member] = {}
        self.target: dict[Partition, Member] = {}
        self.members: list[Member] = []
        self.letters: list[Letter] = []
        self.control: list[tuple[str, bytes | None]] = []
        self.control_news = Signal()
        self.on_rewind: Callable[[Process], None] = lambda _: None
        self.read_as_newest: set[tuple[Partition, int]] = set()
        self._newest: dict[tuple[Partition, bytes | None], int] = {}
        self.commits = 0
        self.refused_commits: Collection[int] = ()

    # The log ---------------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        """One more record at the end of its partition; its offset must say so."""
        records = self.log[record.partition]
        assert record.offset == len(records)
        records.append(record)
        self._newest[record.partition, record.key] = record.offset
        owner = self.owner.get(record.partition)
        if owner is not None:
            self._hub.give(owner.news)

    def read(self, partition: Partition, start: int, count: int) -> list[Record]:
        """Some records; those without a later event of their row are noted in `read_as_newest`."""
        records = self.log[partition][start : start + count]
        for record in records:
            if self._newest[partition, record.key] == record.offset:
                self.read_as_newest.add((partition, record.offset))
        return records

    @property
    def is_committed(self) -> bool:
        """Whether all of the log is."""
        return all(self.committed.get(p, 0) == len(records) for p, records in self.log.items())

    def write_control(self, key: str, value: bytes | None) -> None:
        """One more entry of the control topic."""
        self.control.append((key, value))
        self._hub.give(self.control_news)

    @property
    def control_table(self) -> dict[str, bytes]:
        """What compaction leaves of the control topic."""
        return {key: value for key, value in dict(self.control).items() if value is not None}

    # The group -------------------------------------------------------------------------------------

    def join(self, process: Process) -> Member:
        """A new member; partitions move."""
        member = Member(process)
        self.members.append(member)
        self._hub.tell("{} joins the group", process.name)
        self.balance()
        return member

    def leave(self, member: Member) -> None:
        """It is no member any more; what it owned is free."""
        if member in self.members:
            self.members.remove(member)
            self.owner = {p: owner for p, owner in self.owner.items() if owner is not member}
            self.balance()

    def silence(self, member: Member) -> None:
        """It sends no heartbeats from now on; the session ends unless it comes back in time."""
        heard_s = self._hub.random.random() * HEARTBEAT_S

        def expire() -> None:
            process = member.process
            if member in self.members and (process.is_dead or process.asleep_until > self._hub.now):
                self._hub.tell("the session of {} expires", process.name)
                self.leave(member)

        self._hub.at(self._hub.now + SESSION_S - heard_s, expire)

    def balance(self) -> None:
        """Everybody gets about as many; who has one keeps it if that is fair."""
        if not self.members:
            self.target = {}
            return
        fair = -(-len(self.log) // len(self.members))
        loads = dict.fromkeys(self.members, 0)
        target = {}
        for partition in self.log:
            owner = self.owner.get(partition)
            if owner in loads and loads[owner] < fair:
                target[partition] = owner
                loads[owner] += 1
        for partition in self.log:
            if partition not in target:
                least = min(self.members, key=loads.__getitem__)
                target[partition] = least
                loads[least] += 1
        self._retarget(target)

    def shuffle(self) -> None:
        """Somebody changed the assignor's mind: any partition may move."""
        if self.members:
            self._hub.tell("the group is reassigned")
            self._retarget({p: self._hub.random.choice(self.members) for p in self.log})

    def _retarget(self, target: dict[Partition, Member]) -> None:
        self.target = target
        for member in self.members:
            self._hub.give(member.news)

    def to_revoke(self, member: Member) -> list[Partition]:
        """What the member has to give up."""
        return [p for p, owner in self.owner.items() if owner is member and self.target.get(p) is not member]

    def to_assign(self, member: Member) -> list[Partition]:
        """What is free, and for the member."""
        return [p for p, target in self.target.items() if target is member and p not in self.owner]

    def revoked(self, member: Member, partitions: Collection[Partition]) -> None:
        """The member gave these up."""
        for partition in partitions:
            if self.owner.get(partition) is member:
                del self.owner[partition]
                target = self.target.get(partition)
                if target is not None:
                    self._hub.give(target.news)

    def assigned(self, member: Member, partitions: Collection[Partition]) -> None:
        """The member has these from now on."""
        self.owner.update(dict.fromkeys(partitions, member))

    def commit(self, member: Member, offsets: Mapping[Partition, int]) -> bool:
        """Whether the broker took the commit."""
        self.commits += 1
        is_ours = member in self.members and all(self.owner.get(p) is member for p in offsets)
        if not is_ours or self.commits in self.refused_commits:
            self._hub.tell("the broker refuses a commit of {}", member.process.name)
            return False
        self.committed.update(offsets)
        if self._hub.story is not None:
            text = ", ".join(f"{p.topic.rpartition('.')[2]}[{p.number}]={o}" for p, o in offsets.items())
            self._hub.tell("committed {}", text)
        return True
