"""A world that runs a plan until it is quiet: broker, Typesense, replicas, and who replays letters."""

from __future__ import annotations

import random as global_random
from functools import cache, partial
from random import Random
from typing import Literal

from cdc_sync.control.errands import Fate, Replay, Replayed, Rewind, decoded, encoded
from cdc_sync.control.search import Search
from cdc_sync.errors import RejectedError
from cdc_sync.metrics import Metrics
from tests.model.broker import SESSION_S, Broker
from tests.model.hub import Hub, Process
from tests.model.plan import Plan, ReplicaFault, WorldFault
from tests.model.replica import Replica, decoder
from tests.model.source import searched
from tests.model.typesense import RequestFault, Server
from tests.model.workload import PARTITIONS, Database, Step

__all__ = ["World"]

QUIET_AFTER_S = 150.0
"""Whatever happened, so long after the last step and fault everything is done."""

MEMBER = "operator"


@cache
def metrics_of(number: int) -> Metrics:
    """Of the so many-th process of any world: what adds up in each adds up in all, and making one is slow."""
    return Metrics("model")


class World:
    """`run` it once, then look at `broker`, `server`, `database`, `replicas`."""

    def __init__(self, plan: Plan, *, has_story: bool = False) -> None:
        self.plan = plan
        global_random.seed(plan.seed)  # tenacity's jitter
        self.hub = Hub(Random(f"{plan.seed}/{plan.schedule}"))
        if has_story:
            self.hub.story = []
        self.broker = Broker(self.hub, PARTITIONS)
        self.broker.refused_commits = frozenset(plan.refused_commits)
        self.server = Server(self.hub, dict(plan.request_faults))
        self.database = Database()
        self.replicas: list[Replica] = []
        self.asked: dict[str, Replay] = {}
        self.withheld = 0
        self._operator = Process(MEMBER, -1)
        self._slots: dict[int, Replica] = {}
        self._faults: dict[tuple[int, int], ReplicaFault] = {(f.slot, f.step): f for f in plan.replica_faults}
        self._steps_of_slot = dict.fromkeys(range(plan.replicas), 0)
        self._busy_until = max([0.0, *(s.at_s for s in plan.steps), *(f.at_s for f in plan.world_faults)])
        self.is_quiet = False
        self._kills_rewinder = False
        self.broker.on_rewind = self._on_rewind
        self.hub.on_step = self._on_step
        self.server.on_sender = self._on_sender

    def run(self) -> None:
        """Until it is quiet, or has not become so in time."""
        plan, hub = self.plan, self.hub
        for slot in range(plan.replicas):
            hub.at(hub.delay(), partial(self._start, slot))
        for step in plan.steps:
            hub.at(step.at_s, partial(self._change, step))
        for fault in plan.world_faults:
            hub.at(fault.at_s, partial(self._happen, fault))
        now = 0.0
        while not hub.errors and not self.is_quiet and now < self._busy_until + QUIET_AFTER_S:
            now += 1.0
            hub.run(now)
            self.is_quiet = now > self._busy_until and self._is_done()
        hub.close()

    def _is_done(self) -> bool:
        replicas = [self._slots.get(slot) for slot in range(self.plan.replicas)]
        entries = (decoded(value) for value in self.broker.control_table.values())
        return (
            self.broker.is_committed
            and self.server.is_idle
            and all(r is not None and r.process.asleep_until <= self.hub.now and r.is_quiet for r in replicas)
            and not any(isinstance(entry, Replay | Rewind) for entry in entries)
        )

    # Replicas --------------------------------------------------------------------------------------

    def _start(self, slot: int) -> None:
        name = f"r{slot}" if slot not in self._slots else f"{self._slots[slot].process.name}'"
        process = Process(name, slot)
        self.hub.tell("{} starts", name)
        metrics = metrics_of(len(self.replicas))
        replica = self._slots[slot] = Replica(self.hub, self.broker, self.server, process, metrics)
        self.replicas.append(replica)

    def _on_step(self, process: Process) -> None:
        slot = process.slot
        if slot < 0:
            return
        self._steps_of_slot[slot] += 1
        fault = self._faults.get((slot, self._steps_of_slot[slot]))
        if fault is not None:
            self._strike(self._slots[slot], fault)

    def _on_sender(self, process: Process, fault: RequestFault) -> None:
        replica = self._slots[process.slot]
        if replica.process is process:
            kind: Literal["kill", "suspend"] = "kill" if "death" in fault.kind else "suspend"
            at_once = fault.kind == "sleep and death"
            self._strike(replica, ReplicaFault(kind, process.slot, 0, fault.seconds), at_once=at_once)

    def _on_rewind(self, process: Process) -> None:
        if self._kills_rewinder:
            self._kills_rewinder = False
            fault = ReplicaFault("kill", process.slot, 0, self.hub.random.random() * 3)
            soon = self.hub.now + self.hub.delay() * self.hub.random.choice((1, 30))
            self.hub.at(soon, partial(self._strike, self._slots[process.slot], fault))

    def _strike(self, replica: Replica, fault: ReplicaFault, *, at_once: bool = False) -> None:
        """Unless `at_once`, nobody dies who has lost partitions and has not asked for a rewind yet."""
        process, hub = replica.process, self.hub
        if replica.process.is_dead or replica.is_stopping:
            return
        if fault.kind == "kill" and replica.owes_rewinds and not at_once:
            hub.tell("{} does not die: it has lost partitions, and has not said so", process.name)
            return
        back = hub.now + fault.seconds
        self._busy_until = max(self._busy_until, back)
        hub.tell("{} of {} for {:.1f} s", fault.kind, process.name, fault.seconds)
        member = replica.source.member if replica.source is not None else None
        if fault.kind == "stop":
            replica.is_stopping = True
            hub.at(back, partial(self._start_again, fault.slot))
            return
        if fault.kind == "suspend":
            process.asleep_until = back
        else:
            process.is_dead = True
            hub.at(back, partial(self._start, fault.slot))
        if member is not None and (process.is_dead or fault.seconds > SESSION_S - 1.0):
            self.broker.silence(member)

    def _start_again(self, slot: int) -> None:
        """After a stop in order, which may take its time."""
        if not self._slots[slot].process.is_dead:
            self.hub.at(self.hub.now + 0.5, partial(self._start_again, slot))
            return
        self._start(slot)

    # The world -------------------------------------------------------------------------------------

    def _change(self, step: Step) -> None:
        for written in self.database.run(step):
            where = f"{written.table}[{written.record.partition.number}]/{written.record.offset}"
            self.hub.tell("{} {} {} v{} → {} {}", step.kind, step.table, written.row_id, step.version, where,
                          written.label.value)  # fmt: skip
            self.broker.append(written.record)

    def _happen(self, fault: WorldFault) -> None:
        match fault.kind:
            case "reassign":
                self.broker.shuffle()
            case "restart typesense":
                self.server.restart()
            case "mend":
                self.hub.tell("the schema is mended: what was refused is taken from now on")
                self.server.is_mended = True
            case "kill the next who rewinds":
                self._kills_rewinder = True
            case "replay":
                self.hub.spawn(self._operator, "replay", partial(self._replay, fault.choice))

    def _replay(self, choice: int) -> None:
        """What `cdc-sync dlq replay` does with one letter."""
        letters, hub = self.broker.letters, self.hub
        if not letters:
            return
        mendable = [n for n, letter in enumerate(letters) if letter.error == RejectedError.__name__]
        places = mendable if mendable and choice % 4 else range(len(letters))
        place = places[choice % len(places)]
        record = letters[place].record
        key = f"replay/dlq/0/{place}"
        if key in self.broker.control_table:
            return
        row = decoder().identity(record)
        assert row is not None
        search = Search(record.partition, record.offset, None, {row: record.offset})
        evidence = searched(self.broker, search, decoder().identity)
        hub.sleep(hub.delay() * hub.random.choice((1, 10, 100)))
        if key in self.broker.control_table:
            return
        replay = Replay(
            f"dlq/0/{place}", *record.partition, record.offset, record.key, record.value, [], 0,
            evidence.to, int(hub.now * 1000),
        )  # fmt: skip
        if evidence.is_superseded(row, record.offset):
            outcome = Replayed(replay.letter, Fate.SUPERSEDED, "by the operator", 0)
            self.broker.write_control(key, encoded(outcome))
            return
        hub.tell("asks for a replay of {}[{}]/{}", *record.partition, record.offset)
        self.asked[key] = replay
        self.broker.write_control(key, encoded(replay))
