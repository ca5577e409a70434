"""The desk's clerk: reads and writes the control topic and searches the log, on a thread of its own.

The control topic is made by the first who writes to it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from cdc_sync.control.errands import Errand, Replayed
from cdc_sync.control.search import Evidence, Identity, Search, found
from cdc_sync.control.tail import Tail
from cdc_sync.errors import CdcSyncError, FatalError
from cdc_sync.model import Partition, Record
from cdc_sync.outbox import Outbox, OwnTopic
from cdc_sync.reader import Range, TopicReader

__all__ = ["KafkaClerk", "control_topic", "searched"]

WAIT_S: Final = 0.1
AGAIN_S: Final = 1.0
MAX_CONTROL_BYTES: Final = 31_457_280
"""A dead letter of 20 MiB in base64, and something around it."""

OnEvidence = Callable[[Evidence], None]
Identify = Callable[[Record], Identity | None]


def control_topic(name: str, replication_factor: int) -> OwnTopic:
    """The control topic as it is made: one partition, so that its entries have one order."""
    config = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_CONTROL_BYTES)}
    return OwnTopic(name, 1, replication_factor, config)


class Asked(NamedTuple):
    """A search, and who waits for it."""

    search: Search
    on_evidence: OnEvidence


class KafkaClerk:
    """`start`, then `search` and `put` from one thread, which also calls `deliver`; `stop` at the end.

    `config` is librdkafka's for any client, `outbox` is used by the clerk's thread alone.
    `on_trouble(event, reason)` is told of what the broker does not do.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        outbox: Callable[[], Outbox],
        identity_of: Identify,
        *,
        on_trouble: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._config = config
        self._topic = topic
        self._make_outbox = outbox
        self._identity_of = identity_of
        self._on_trouble = on_trouble
        self._crash: Exception | None = None
        self._searches: deque[Asked] = deque()
        self._puts: deque[tuple[str, bytes | None]] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._entries: deque[tuple[str, Errand | Replayed | None]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)

    # Called by the desk ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Write what is to be written, if that is possible in time; end the thread."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def search(self, search: Search, on_evidence: OnEvidence) -> None:
        """Look in the log, and again until the broker answers."""
        self._searches.append(Asked(search, on_evidence))

    def put(self, key: str, value: bytes | None) -> None:
        """Write to the control topic, and again until it is stored."""
        self._puts.append((key, value))

    def deliver(self, on_entry: Callable[[str, Errand | Replayed | None], None]) -> None:
        """Make the calls that are due. Raises `FatalError` when the clerk broke."""
        if self._crash is not None:
            raise FatalError(f"the clerk of the control topic broke: {self._crash!r}") from self._crash
        while self._entries:
            on_entry(*self._entries.popleft())
        while self._calls:
            self._calls.popleft()()

    # The clerk's thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # a bug: the polling thread raises it, and the process ends
            self._crash = error

    def _work(self) -> None:
        outbox = self._make_outbox()
        tail = Tail(self._config, self._topic)
        with TopicReader(self._config) as reader:
            while not self._stopping.is_set():
                self._entries.extend(tail.read(WAIT_S))
                self._write(outbox)
                self._search(reader)
        self._write(outbox)
        outbox.flush(AGAIN_S)
        tail.close()

    def _write(self, outbox: Outbox) -> None:
        while self._puts:
            key, value = self._puts.popleft()
            outbox.put(key.encode(), value, (), lambda: None)
        outbox.serve()

    def _search(self, reader: TopicReader) -> None:
        """Make the searches that wait, those of one partition together."""
        waiting = [self._searches.popleft() for _ in range(len(self._searches))]
        for group in together(waiting):
            if self._stopping.is_set():
                return
            try:
                evidence = searched(reader, merged([asked.search for asked in group]), self._identity_of)
            except CdcSyncError as error:
                self._on_trouble("the log cannot be searched", str(error))
                self._searches.extend(group)
                self._stopping.wait(AGAIN_S)
                continue
            for asked in group:
                self._calls.append(lambda asked=asked, e=evidence: asked.on_evidence(e))  # type: ignore[misc]  # those of now


def searched(reader: TopicReader, search: Search, identity_of: Identify) -> Evidence:
    """What the log says, read now. Raises `CdcSyncError` where the broker does not answer."""
    held = reader.ranges([search.partition])[search.partition]
    to = held.end if search.end is None else min(search.end, held.end)
    records = reader.read({search.partition: Range(max(search.start, held.start), to)})
    return found(records, search, held.start, to, identity_of)


def together(waiting: list[Asked]) -> list[list[Asked]]:
    """Searches that can be made as one: of one partition, as far as no row is asked about twice."""
    groups: dict[tuple[Partition, bool], list[list[Asked]]] = {}
    for asked in waiting:
        of = groups.setdefault((asked.search.partition, asked.search.end is None), [])
        if not of or any(asked.search.after.keys() & other.search.after.keys() for other in of[-1]):
            of.append([])
        of[-1].append(asked)
    return [group for of in groups.values() for group in of]


def merged(searches: list[Search]) -> Search:
    """One search that finds what all of them would."""
    first = searches[0]
    ends = [search.end for search in searches if search.end is not None]
    after = {row: offset for search in searches for row, offset in search.after.items()}
    return Search(first.partition, min(s.start for s in searches), max(ends, default=None), after)
