"""In front of the corridor: a record enters once the Avro schemas that it names are here.

Schemas are fetched on a thread of their own, which asks until the registry answers, so the polling thread
waits for a new one half a second at most, and not at all while the registry is away. Meanwhile the topics
that need it are held, in their order, and read no further; the others go on, and so does a topic whose
schemas are known. What is held is in no span: it is neither counted nor committed, and after a revocation
its next owner reads it. An id that the registry does not know is no reason to wait: the decoder says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from cdc_sync.errors import Abandoned, DecodeError, FatalError, TransientError
from cdc_sync.framing import HEAD_BYTES, schema_id
from cdc_sync.model import Partition, Record
from cdc_sync.protocols import Schemas

__all__ = ["AdmitAll", "AdmitKnown"]

PATIENCE_S: Final = 0.5
"""How long a poll waits for a schema: a registry that is well answers in milliseconds."""
MAX_BACKOFF_S: Final = 10.0
REFUSED_FOR_S: Final = 5.0
"""How long an unknown id is not asked for again; the registry has its own word on that, too."""

Found = Sequence[str] | DecodeError


class AdmitAll:
    """Where there is no registry, nothing waits for one."""

    holds: Collection[str] = ()

    def admit(self, records: Sequence[Record]) -> Sequence[Record]:
        """All of them."""
        return records

    def is_known(self, record: Record) -> bool:
        """Always."""
        return True

    def disown(self, partitions: Collection[Partition]) -> None:
        """Nothing is held."""


class AdmitKnown:
    """Admits what can be decoded, and holds the rest. `admit`, `disown` and `find` by the polling thread.

    `find` is that of the protocol `Schemas`, for the decoder: it knows the schemas of all that was
    admitted or `is_known`, and never waits. The thread calls `on_trouble(error, is_new)` at every failed
    try, and `on_recovery()` when the registry answers again.
    """

    def __init__(
        self,
        registry: Schemas,
        *,
        patience_s: float = PATIENCE_S,
        max_backoff_s: float = MAX_BACKOFF_S,
        on_trouble: Callable[[TransientError, bool], None] = lambda *_: None,
        on_recovery: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.holds: Collection[str] = ()
        self.trouble: TransientError | None = None
        self._crash: Exception | None = None
        self._registry = registry
        self._patience_s = patience_s
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._clock = clock
        self._held: list[Record] = []
        self._found: dict[bytes, Found] = {}
        self._refused: dict[bytes, float] = {}
        self._wanted: dict[bytes, None] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_random_exponential(multiplier=0.2, max=max_backoff_s),
            sleep=self._sleep,
            before_sleep=self._report_trouble,
            reraise=True,
        )
        self._thread = threading.Thread(target=self._run, name="schemas", daemon=True)

    # Called by the polling thread ------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread that fetches."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; a request that takes longer is left behind."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def held_records(self) -> int:
        """How many records wait."""
        return len(self._held)

    def admit(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of these, and of what was held, whose schemas are known; by topic nothing overtakes.

        Raises `FatalError` when the thread has broken.
        """
        if self._crash is not None:
            raise FatalError(f"fetching schemas broke: {self._crash!r}") from self._crash
        self._forget_refused()
        unknown = self._unknown(records)
        if not unknown and not self._held:
            return records
        waiting = [*self._held, *records]
        self._fetch(unknown | self._unknown(self._held))
        admitted: list[Record] = []
        held: list[Record] = []
        topics: set[str] = set()
        for record in waiting:
            if record.partition.topic in topics or self._unknown([record]):
                topics.add(record.partition.topic)
                held.append(record)
            else:
                admitted.append(record)
        self._held, self.holds = held, frozenset(topics)
        return admitted

    def is_known(self, record: Record) -> bool:
        """Whether this record would be admitted now; else its schemas are asked for, and not waited for."""
        unknown = self._unknown([record])
        if unknown:
            self._want(unknown)
        return not unknown

    def disown(self, partitions: Collection[Partition]) -> None:
        """Drop what is held of these."""
        self._held = [record for record in self._held if record.partition not in partitions]
        self.holds = frozenset(record.partition.topic for record in self._held)

    def find(self, schema_id: int) -> Sequence[str]:
        """The schemas of an admitted record. Raises `DecodeError` for an id that the registry refuses."""
        found = self._found.get(b"\x00" + schema_id.to_bytes(HEAD_BYTES - 1, "big"))
        if found is None:
            raise DecodeError(f"the schema {schema_id} was not asked for")  # no admitted record names it
        if isinstance(found, DecodeError):
            raise found
        return found

    def _unknown(self, records: Iterable[Record]) -> set[bytes]:
        """The heads of keys and values whose schemas are not here. 0.2 µs a record that has both."""
        heads = {raw[:HEAD_BYTES] for r in records if (raw := r.value) and not raw[0]}
        heads |= {raw[:HEAD_BYTES] for r in records if (raw := r.key) and not raw[0]}
        return {head for head in heads - self._found.keys() if is_asked_for(head)}

    def _fetch(self, heads: Collection[bytes]) -> None:
        """Have these fetched, and wait for them a moment unless the registry is known to be away."""
        self._want(heads)
        with self._changed:
            self._changed.wait_for(
                lambda: self.trouble is not None or self._wanted.keys().isdisjoint(heads), self._patience_s
            )

    def _want(self, heads: Collection[bytes]) -> None:
        with self._changed:
            self._wanted.update(dict.fromkeys(heads))
            self._changed.notify_all()

    def _forget_refused(self) -> None:
        """An id that was unknown may have come to be."""
        if not self._refused:
            return
        with self._changed:
            for head in [head for head, until in self._refused.items() if self._clock() >= until]:
                del self._refused[head], self._found[head]

    # The thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Abandoned:
            return
        except Exception as error:  # a bug: the polling thread raises it, and the process ends
            self._crash = error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopping.is_set())
                head = next(iter(self._wanted), b"")
            found = self._retrying.copy()(self._ask, schema_id(head))
            with self._changed:
                self._found[head] = found
                if isinstance(found, DecodeError):
                    self._refused[head] = self._clock() + REFUSED_FOR_S
                self._wanted.pop(head, None)
                recovered, self.trouble = self.trouble is not None, None
                self._changed.notify_all()
            if recovered:
                self._on_recovery()

    def _ask(self, schema_id: int) -> Found:
        if self._stopping.is_set():
            raise Abandoned("schemas")
        try:
            return self._registry.find(schema_id)
        except DecodeError as error:
            return error

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(self._stopping.is_set, seconds)

    def _report_trouble(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, TransientError):
            with self._changed:
                known, self.trouble = self.trouble, error
                self._changed.notify_all()
            self._on_trouble(error, type(known) is not type(error))


def is_asked_for(head: bytes) -> bool:
    """Whether a head names a schema that a registry may have: a whole id that is not 0."""
    return len(head) == HEAD_BYTES and any(head)
