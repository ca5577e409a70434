"""What happens in a world: the steps of the workload and the faults, as a value that can be shortened."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple, get_args

from tests.model.typesense import Fault, RequestFault
from tests.model.workload import Step, Theme, steps

__all__ = ["Plan", "ReplicaFault", "WorldFault", "plan_of"]


class ReplicaFault(NamedTuple):
    """A replica is killed, suspended or stopped in order, at its n-th step; it is back after `seconds`."""

    kind: Literal["kill", "suspend", "stop"]
    slot: int
    step: int
    seconds: float


class WorldFault(NamedTuple):
    """Something happens to all, at a time."""

    kind: Literal["reassign", "restart typesense", "mend", "replay", "kill the next who rewinds"]
    at_s: float
    choice: int = 0


class Plan(NamedTuple):
    """A whole world: the same plan has the same story, whatever machine it runs on.

    `schedule` is another order of the same events, for one that was shortened.
    """

    seed: int
    schedule: int
    replicas: int
    steps: tuple[Step, ...]
    replica_faults: tuple[ReplicaFault, ...]
    world_faults: tuple[WorldFault, ...]
    request_faults: tuple[tuple[int, RequestFault], ...]
    refused_commits: tuple[int, ...]


SUSPENSIONS = (0.3, 1.5, 4.0, 8.0, 8.0, 12.0)
SLOW = (0.5, 2.0, 6.0, 10.0, 15.0)


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    seconds = random.choice((2.0, 8.0, 20.0))
    replicas = random.choice((1, 2, 2, 3))
    wildness = random.choice((0.0, 0.5, 1.0, 2.0))
    theme: Theme = random.choice(get_args(Theme))

    def some(most: int) -> range:
        return range(int(random.random() * (most + 1) * wildness))

    return Plan(
        seed,
        0,
        replicas,
        tuple(steps(random, theme, random.randint(4, 36), seconds)),
        tuple(replica_fault(random, replicas) for _ in some(3)),
        (
            *(world_fault(random, seconds) for _ in range(random.randint(0, 3) + len(some(3)))),
            *(mended_and_replayed(random, seconds) if theme == "letters" else ()),
        ),
        tuple(request_faults(random, len(some(6)))),
        tuple(random.randint(1, 60) for _ in some(3)),
    )


def replica_fault(random: Random, replicas: int) -> ReplicaFault:
    """Something that happens to one of them."""
    kind = random.choices(("kill", "suspend", "stop"), (4, 5, 2))[0]
    seconds = random.choice(SUSPENSIONS) if kind == "suspend" else random.random() * 4
    return ReplicaFault(kind, random.randrange(replicas), random.randint(1, 250), seconds)  # type: ignore[arg-type]


def world_fault(random: Random, seconds: float) -> WorldFault:
    """Something that happens to all."""
    kinds = ("reassign", "restart typesense", "mend", "replay", "kill the next who rewinds")
    kind = random.choices(kinds, (4, 1, 3, 8, 1))[0]
    late = 8.0 if kind in ("replay", "mend") else 2.0
    return WorldFault(kind, random.random() * (seconds + late), random.randrange(1000))  # type: ignore[arg-type]


def mended_and_replayed(random: Random, seconds: float) -> Iterator[WorldFault]:
    """What was refused is taken from some time on, and letters are replayed after that."""
    mended_at = (0.2 + random.random()) * seconds
    yield WorldFault("mend", mended_at)
    for _ in range(random.randint(1, 6)):
        replayed_at = mended_at + random.random() * (seconds * 0.2 + 6.0)
        yield WorldFault("replay", replayed_at, random.randrange(1000))


def request_faults(random: Random, count: int) -> Iterator[tuple[int, RequestFault]]:
    """So many of them, by the number of the request; often one comes soon after another."""
    number = 0
    for _ in range(count):
        soon = number and random.random() < 0.5
        number = number + random.randint(1, 4) if soon else random.randint(1, 70)
        yield number, request_fault(random)


def request_fault(random: Random) -> RequestFault:
    """Something that happens to one request."""
    kind: Fault = random.choice([kind for kind in get_args(Fault) if kind != "sleep and death"])
    if "sleep" in kind:
        return RequestFault(kind, random.choice(SUSPENSIONS))
    return RequestFault(kind, random.choice(SLOW) if "slow" in kind or kind == "death after" else 0.0)
