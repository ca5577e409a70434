"""What is done to a world, and when: a pure function of the seed and of the length.

Four tracks run beside each other and beside the workload: replicas, servers, the network, and what is
written past the application (poison, snapshots). Each deals its kinds from a deck, so that none comes a
third time before all have come twice. Times are seconds since the start, by a clock of each track's
own, which stands while a server or a replica takes its time: what is between two steps is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from .proxy import Fault, FaultKind

__all__ = ["KINDS", "MAX_REPLICAS", "Deed", "Plan", "Step", "Track", "make_plan"]

MAX_REPLICAS: Final = 3
_TABLES: Final = ("Organizer", "Merchant", "Category", "Device", "SaleChannel", "Product", "ProductInfo")


class Track(StrEnum):
    """What runs beside what."""

    REPLICAS = "replicas"
    SERVERS = "servers"
    NETWORK = "network"
    DATABASE = "database"


class Deed(StrEnum):
    """What is done to a replica or a server, or past the application."""

    START = "start"
    KILL = "SIGKILL"
    TERMINATE = "SIGTERM"
    SUSPEND = "SIGSTOP"
    RESUME = "SIGCONT"
    ARM = "arm"
    POISON = "poison"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `kind` is what it counts as; empty for the second half of something."""

    at_s: float
    track: Track
    deed: Deed
    target: str
    kind: str = ""
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.track:8}  {self.deed} {self.fault or self.target}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A seed's run: the world as it begins, and the steps by time."""

    seed: int
    length_s: float
    is_full: bool
    replicas: int
    rows: int
    pace_s: float
    steps: tuple[Step, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind of fault that comes up."""
        return frozenset(step.kind for step in self.steps if step.kind)

    def __str__(self) -> str:
        identity = "FULL" if self.is_full else "DEFAULT"
        begin = (
            f"seed {self.seed}, {self.length_s:.0f} s: REPLICA IDENTITY {identity}, "
            f"{self.replicas} replicas, {self.rows} rows a table, "
            f"a transaction every {self.pace_s * 1000:.0f} ms"
        )
        return "\n".join([begin, *map(str, self.steps)])


def make_plan(seed: int, length_s: float) -> Plan:
    """The plan of a seed: the same for the same arguments, on every machine."""
    random = Random(seed)
    replicas = random.randrange(1, MAX_REPLICAS + 1)
    is_full = random.random() < 0.4
    rows = random.choice([3, 10, 30])
    pace_s = random.choice([0.01, 0.02, 0.04])
    # One source of randomness a track, so that one may be changed without changing the others.
    tracks = (_replicas, _servers, _network, _database)
    steps: list[Step] = []
    for make in tracks:
        steps += make(Random(random.random()), length_s, replicas)
    steps.sort(key=lambda step: step.at_s)
    return Plan(seed, length_s, is_full, replicas, rows, pace_s, tuple(steps))


class _Deck:
    """Deals kinds: each once, shuffled, before any comes again."""

    def __init__(self, random: Random, kinds: Sequence[str]) -> None:
        self._random = random
        self._kinds = kinds
        self._left: list[str] = []

    def deal(self, is_possible: Callable[[str], bool] = lambda _: True) -> str:
        """The next kind that is possible now; the others keep their place."""
        if not any(map(is_possible, self._left)):
            self._left += self._random.sample(self._kinds, len(self._kinds))
        kind = next(filter(is_possible, self._left))
        self._left.remove(kind)
        return kind


_KILL, _TERMINATE = "replica killed", "replica terminated"
_LONG_STOP, _SHORT_STOP = "replica stopped past its session", "replica stopped for a moment"
_UP, _DOWN = "scaled up", "scaled down"
_REPLICA_KINDS: Final = (_KILL, _KILL, _TERMINATE, _LONG_STOP, _SHORT_STOP, _UP, _DOWN)


def _replicas(random: Random, length_s: float, replicas: int) -> Iterable[Step]:
    """Replicas are numbered from 1. One that is down or stopped is left alone until it is back."""
    deck = _Deck(random, _REPLICA_KINDS)
    back_at = dict.fromkeys(range(1, replicas + 1), 0.0)
    at_s = random.uniform(1, 4)
    while at_s < length_s:
        free = [number for number, when in back_at.items() if when <= at_s]
        if not free:
            at_s = min(back_at.values())
            continue
        possible = {_UP: len(back_at) < MAX_REPLICAS, _DOWN: len(back_at) > 1}
        kind = deck.deal(lambda kind, possible=possible: possible.get(kind, True))  # type: ignore[misc]
        if kind == _UP:
            number = min(set(range(1, MAX_REPLICAS + 1)) - back_at.keys())
            back_at[number] = at_s
            yield Step(at_s, Track.REPLICAS, Deed.START, f"replica {number}", kind)
        elif kind == _DOWN:
            number = random.choice(free)
            del back_at[number]
            yield Step(at_s, Track.REPLICAS, Deed.TERMINATE, f"replica {number}", kind)
        else:
            number = random.choice(free)
            first, second, away_s = _absence(random, kind)
            back_at[number] = at_s + away_s
            yield Step(at_s, Track.REPLICAS, first, f"replica {number}", kind)
            yield Step(at_s + away_s, Track.REPLICAS, second, f"replica {number}")
        at_s += random.uniform(0.5, 5)


def _absence(random: Random, kind: str) -> tuple[Deed, Deed, float]:
    """How a replica goes, how it comes back, and after how many seconds."""
    match kind:
        case "replica killed":  # also for longer than its session, which lasts 6 s
            return Deed.KILL, Deed.START, random.choice([0.1, 1.0, 3.0, 9.0])
        case "replica terminated":
            return Deed.TERMINATE, Deed.START, random.choice([0.1, 2.0])
        case "replica stopped past its session":
            return Deed.SUSPEND, Deed.RESUME, random.uniform(7.5, 12)
        case _:
            return Deed.SUSPEND, Deed.RESUME, random.uniform(0.05, 4)


_SERVERS: Final = ("broker", "connect", "typesense")
_SERVER_KINDS: Final = tuple(f"{server} {how}" for server in _SERVERS for how in ("killed", "terminated"))


def _servers(random: Random, length_s: float, _: int) -> Iterable[Step]:
    deck = _Deck(random, _SERVER_KINDS)
    at_s = random.uniform(2, 6)
    while at_s < length_s:
        kind = deck.deal()
        server, how = kind.split()
        away_s = random.choice([0.1, 1.0, 4.0])
        yield Step(at_s, Track.SERVERS, Deed.KILL if how == "killed" else Deed.TERMINATE, server, kind)
        yield Step(at_s + away_s, Track.SERVERS, Deed.START, server)
        at_s += away_s + random.uniform(4, 14)


_COUNTED: Final = (
    FaultKind.RESET_BEFORE,
    FaultKind.RESET_AFTER,
    FaultKind.TRUNCATE,
)
_BURSTS: Final = (FaultKind.OVERLOADED, FaultKind.RATE_LIMIT, FaultKind.UNREACHABLE)
_SECONDS: Final = {
    FaultKind.DELAY: (0.05, 1.5),
    # The client's time-out is 5 s.
    FaultKind.HANG: (5.5, 9.0),
    FaultKind.HOLD: (5.5, 9.0),
    FaultKind.SLOW_UPLOAD: (0.5, 9.0),
}


def _network(random: Random, length_s: float, replicas: int) -> Iterable[Step]:
    deck = _Deck(random, tuple(FaultKind))
    at_s = random.uniform(0.5, 3)
    while at_s < length_s:
        kind = FaultKind(deck.deal())
        yield Step(at_s, Track.NETWORK, Deed.ARM, "", kind, _fault(random, kind, replicas))
        at_s += random.uniform(0.5, 4)


def _fault(random: Random, kind: FaultKind, replicas: int) -> Fault:
    port = random.choice([None, random.randrange(1, replicas + 1)])
    seed = random.randrange(2**32)
    if kind in _BURSTS:
        return Fault(kind, for_s=random.uniform(0.3, 4), port=port, seed=seed)
    seconds = random.uniform(*_SECONDS[kind]) if kind in _SECONDS else 0.0
    return Fault(
        kind,
        for_s=random.uniform(1, 6),
        count=random.randrange(1, 9 if kind in _COUNTED else 4),
        seconds=seconds,
        port=port,
        writes_only=random.random() < 0.6,
        seed=seed,
    )


_DATABASE_KINDS: Final = ("poison", "poison", "snapshot")


def _database(random: Random, length_s: float, _: int) -> Iterable[Step]:
    deck = _Deck(random, _DATABASE_KINDS)
    at_s = random.uniform(1, 5)
    while at_s < length_s:
        kind = deck.deal()
        deed = Deed.POISON if kind == "poison" else Deed.SNAPSHOT
        yield Step(at_s, Track.DATABASE, deed, random.choice(_TABLES), kind)
        at_s += random.uniform(2, 10)


KINDS: Final = frozenset({*_REPLICA_KINDS, *_SERVER_KINDS, *FaultKind, *_DATABASE_KINDS})
"""Every kind that a plan may have."""
