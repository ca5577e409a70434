"""What is known before anything is judged: plain values, so that checks need no servers.

A fact that could not be had is None, or its `problem` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cdc_sync.model import Partition

__all__ = [
    "BrokerFacts",
    "CollectionFacts",
    "GroupFacts",
    "KeyFacts",
    "Member",
    "NodeFacts",
    "ServerFacts",
    "TopicFacts",
]


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic: the range of offsets of each partition, and its settings (None: the broker did not say)."""

    name: str
    ranges: Mapping[int, tuple[int, int]]
    leaderless: tuple[int, ...] = ()
    settings: Mapping[str, str] | None = None

    @property
    def records(self) -> int:
        """Offsets between start and end: an upper bound of the records."""
        return sum(end - start for start, end in self.ranges.values())


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group, and how many partitions it has."""

    client_id: str
    host: str
    partitions: int


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """The daemon's consumer group; `committed` are the next offsets to read."""

    group_id: str
    state: str = ""
    members: tuple[Member, ...] = ()
    committed: Mapping[Partition, int] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """A Kafka cluster, or why none answered. `topics` are those that matter; `other_topics` are names."""

    address: str
    problem: str = ""
    brokers: int = 0
    settings: Mapping[str, str] | None = None
    topics: Mapping[str, TopicFacts] = field(default_factory=dict)
    other_topics: tuple[str, ...] = ()
    group: GroupFacts | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One Typesense node: `problem` says why it cannot be used, `version` and `is_leader` are None untold."""

    url: str
    problem: str = ""
    resource_error: str = ""
    version: str | None = None
    is_leader: bool | None = None


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the key may do: `actions` as the server lists them, None where it does not list keys to it."""

    actions: frozenset[str] | None = None
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """What a Typesense has under a collection's name.

    `real` is what the alias names, None without an alias. `used` is what the daemon would write to: the
    alias's collection or, without an alias, the first version; `found` is its own description. `in_place`
    says that a real collection has the alias's name. `denied` are the actions that the key was refused.
    """

    name: str
    used: str
    real: str | None = None
    found: Mapping[str, Any] | None = None
    in_place: bool = False
    denied: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A Typesense: its nodes, and what the one that was asked has; nothing where none could be asked."""

    nodes: tuple[NodeFacts, ...]
    key: KeyFacts = KeyFacts()
    collections: tuple[CollectionFacts, ...] = ()
