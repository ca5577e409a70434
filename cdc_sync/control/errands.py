"""What stands in the control topic: a compacted table of errands, and of what became of replays.

Only the owner of a partition writes what comes from it, so whoever wants more written asks the owner.
A key names the errand; its newest value counts. A rewind that is done is removed (a null value); a replay
that is done leaves its outcome, so that no second run repeats it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct

from cdc_sync.model import Headers, Partition, Record

__all__ = ["Errand", "Fate", "Replay", "Replayed", "Rewind", "decoded", "encoded", "replay_key"]


def replay_key(letter: str) -> str:
    """Under which the replay of a letter, and what became of it, stand."""
    return f"replay/{letter}"


class Fate(str, Enum):
    """What became, or would become, of a dead letter that is replayed."""

    REPLAYED = "replayed"
    """It was applied. (Before that: it would be.)"""
    SUPERSEDED = "superseded"
    """Its row has a later event, which has decided or will decide; nothing was written."""
    FAILED = "failed"
    """It still cannot become a document."""
    UNPROVEN = "unproven"
    """Whether its row has a later event cannot be told any more; nothing was written."""


class Rewind(Struct, frozen=True, tag="rewind"):
    """Read a partition again from `offset`: `member` may have written after it had lost the partition."""

    topic: str
    partition: int
    offset: int
    member: str
    asked_at_ms: int

    @property
    def key(self) -> str:
        """Which errand this is."""
        return f"rewind/{self.topic}/{self.partition}/{self.member}"

    @property
    def origin(self) -> Partition:
        """The partition whose owner is asked."""
        return Partition(self.topic, self.partition)


class Replay(Struct, frozen=True, tag="replay"):
    """Apply a dead letter, unless its row has a later event.

    `letter` is where it lies (`topic/partition/offset` in the dead letter topic); topic, partition and
    offset are the record's own. `searched_to`: who asks has found no later event of the row below this
    offset of the record's partition.
    """

    letter: str
    topic: str
    partition: int
    offset: int
    message_key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp_ms: int
    searched_to: int
    asked_at_ms: int

    @property
    def key(self) -> str:
        """Which errand this is."""
        return replay_key(self.letter)

    @property
    def origin(self) -> Partition:
        """The partition whose owner is asked."""
        return Partition(self.topic, self.partition)

    @property
    def record(self) -> Record:
        """The record that the letter is about, as it was read."""
        timestamp = (1, self.timestamp_ms)
        headers: Headers = self.headers
        return Record(
            self.origin, self.offset, self.message_key, self.value, lambda: timestamp, lambda: headers
        )


class Replayed(Struct, frozen=True, tag="replayed"):
    """What became of a replay, and why; it stands where the errand stood."""

    letter: str
    fate: Fate
    reason: str
    at_ms: int

    @property
    def key(self) -> str:
        """Which errand this answers."""
        return replay_key(self.letter)


Errand = Rewind | Replay

encoder: Final = msgspec.json.Encoder()
decoder: Final[msgspec.json.Decoder[Rewind | Replay | Replayed]] = msgspec.json.Decoder(
    Rewind | Replay | Replayed
)


def encoded(entry: Errand | Replayed) -> bytes:
    """The entry as the value of its key."""
    return encoder.encode(entry)


def decoded(value: bytes) -> Errand | Replayed | None:
    """The entry of a value; None for one that another version may know."""
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
