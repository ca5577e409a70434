"""What the corridor expects of each room with a door to the outside: one to three methods each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from cdc_sync.compaction import Batch
from cdc_sync.errors import RecordError
from cdc_sync.model import ChangeEvent, DocumentChange, Partition, Record, Rejection, Skip
from cdc_sync.schema import Collection as TypesenseCollection

__all__ = [
    "Admission",
    "DeadLetterQueue",
    "Decoder",
    "Mapper",
    "Read",
    "Reads",
    "RebalanceListener",
    "Schemas",
    "Sink",
    "Source",
]


class RebalanceListener(Protocol):
    """Told by the source, inside its `poll` or `close`, on the thread that called them."""

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """These partitions are ours from now on."""

    def on_revoked(self, partitions: Collection[Partition], lost: bool) -> None:
        """These are not ours any more; unless `lost`, what is settled may still be committed."""

    def on_committed(self, offsets: Mapping[Partition, int], asked_at: float) -> None:
        """The broker has these next offsets; so we were a member after `asked_at`, by the lease's clock."""


class Source(Protocol):
    """Where records come from."""

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to so many records, as soon as there are some; offsets of a partition ascend."""

    def commit(self, offsets: Mapping[Partition, int], wait: bool = False) -> bool:
        """These are the next offsets to read; the listener hears when the broker has them.

        Without `wait` that is in a later `poll`, or never: a failed commit is made again by the next one.
        With it, the answer is whether the broker has all of them.
        """

    def renew(self, wait: bool = False) -> None:
        """Ask the broker whether we are still a member, by a commit that changes nothing.

        The listener hears by `on_committed`; without `wait` in a later `poll`.
        """

    @property
    def owned(self) -> frozenset[Partition]:
        """The partitions that are ours now."""

    def next_offset(self, partition: Partition) -> int | None:
        """Of an owned partition: every record before it was delivered, to us or to an owner before us.

        None where that is not known now.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """Deliver an owned partition from this offset on."""

    def pause(self, topics: Collection[str]) -> None:
        """Deliver nothing from exactly these topics (and from all others again), membership kept."""

    def close(self) -> None:
        """Leave the group."""


class Admission(Protocol):
    """What may enter the corridor; the rest is held in front of it, in its order."""

    @property
    def holds(self) -> Collection[str]:
        """The topics whose records are held: nothing more is to be read from them."""

    def admit(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of these, and of what was held, that may go on; never waits for long."""

    def is_known(self, record: Record) -> bool:
        """Whether a record from elsewhere (a replay) may go on now; it is asked again later."""

    def disown(self, partitions: Collection[Partition]) -> None:
        """Drop what is held of these: their next owner reads it."""


class Reads(NamedTuple):
    """What a decoder is asked for of a table: these columns, in this order, and which of them are the key."""

    columns: tuple[str, ...]
    key: tuple[str, ...]


Read = Callable[[Record], ChangeEvent | Skip]
"""The record's event, or why it has none. Raises `DecodeError`."""


class Decoder(Protocol):
    """Bytes to an event."""

    def identity(self, record: Record) -> bytes | None:
        """The row that a record is about, the same in every wire format; None where its key does not tell."""

    def reader(self, topic: str) -> Read:
        """The function that decodes the records of one topic."""


class Schemas(Protocol):
    """Avro schemas by the ids that a registry gave them."""

    def find(self, schema_id: int) -> Sequence[str]:
        """The schema as text, last, after those that it refers to.

        Raises `DecodeError` for an id that the registry does not know, `TransientError` while it cannot be
        asked.
        """


class Mapper(Protocol):
    """A table's rows as documents; pure."""

    table: str
    collection: TypesenseCollection
    key: tuple[str, ...]
    """The columns of the primary key, which an event always has."""
    reads: tuple[str, ...]
    """The columns to decode; `ChangeEvent.after` has their values in this order."""

    @property
    def owns(self) -> tuple[str, ...]:
        """The document fields that this mapper fills (`name_*` for every locale)."""

    def map(self, event: ChangeEvent) -> DocumentChange | Skip:
        """The change that the event asks for. Raises `MappingError`."""


class Sink(Protocol):
    """Where a lane's documents go. Used by one thread, one call at a time."""

    def open(self) -> None:
        """Make ready, anew: collections exist, and what follows comes after all that anybody has sent before.

        Raises `TransientError`.
        """

    def write(self, batch: Batch) -> Sequence[Rejection]:
        """Apply the batch; what could never be applied comes back, all else is in the index.

        Raises `TransientError` when the call as a whole has to be made again.
        """

    def abort(self) -> None:
        """Give up the request in flight, from another thread: its `write` raises."""


class DeadLetterQueue(Protocol):
    """Where records go that can never succeed."""

    def put(self, record: Record, error: RecordError, on_stored: Callable[[], None]) -> None:
        """Store a letter; `on_stored` is called from `serve` once the broker has acknowledged it."""

    def serve(self) -> None:
        """Do what is due: send, retry, call back."""

    @property
    def waiting(self) -> int:
        """Letters that no broker has acknowledged yet."""

    @property
    def is_full(self) -> bool:
        """Whether as many of them, or as large ones, wait as memory allows."""
