"""The live changes: fed one after the other, and each timed from outside until it can be found.

"Searchable" is asked of the search server itself, every few milliseconds, as any other client would see it.
The time begins when the message is fed: `source.ts_ms`, the commit in the database, says that moment.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from cdc_sync.demo.broker import EmbeddedBroker
from cdc_sync.demo.index import Index
from cdc_sync.demo.recording import Message, Recording, Step, made_current
from cdc_sync.errors import CdcSyncError

__all__ = ["COLLECTIONS", "Arrival", "Trickle"]

COLLECTIONS: Final[Mapping[str, str]] = {
    "Organizer": "organizers",
    "Merchant": "merchants",
    "Category": "categories",
    "Device": "devices",
    "SaleChannel": "sale-channels",
    "Product": "products",
}
LOOK_EVERY_S: Final = 0.004
GIVE_UP_AFTER_S: Final = 15.0
REMEMBERED: Final = 5_000


class Arrival(NamedTuple):
    """A step that was fed. `seconds` from commit to searchable; None when it changed nothing to wait for.

    `is_lost`: not seen in the index within a long time.
    """

    number: int
    step: Step
    seconds: float | None
    is_lost: bool = False


class Trickle:
    """Feeds the day's steps; over and over, with `forever`, and until `stop` is set.

    Without `forever` the closing step is left out. `is_complete` says that the day is over, `failure` why it
    ended before that.
    """

    def __init__(
        self,
        broker: EmbeddedBroker,
        index: Index,
        recording: Recording,
        *,
        every_s: float,
        forever: bool,
    ) -> None:
        self._broker = broker
        self._index = index
        self._recording = recording
        self._every_s = every_s
        self._forever = forever
        self.failure: CdcSyncError | None = None
        self.is_complete = False
        self._arrivals: deque[Arrival] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trickle", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Feed no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def is_running(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()

    def arrivals(self, after: int = 0) -> list[Arrival]:
        """Those that have a higher number, as far as they are remembered."""
        return [arrival for arrival in self._arrivals.copy() if arrival.number > after]

    def _run(self) -> None:
        try:
            self._play_all()
        except CdcSyncError as error:
            if not self._stop.is_set():
                self.failure = error

    def _play_all(self) -> None:
        steps: Sequence[Step] = self._recording.day
        while not self._stop.is_set():
            for step in steps:
                if self._stop.wait(self._every_s):
                    return
                self._play(step)
            if not self._forever:
                self.is_complete = True
                return
            steps = (self._recording.closing, *self._recording.day)

    def _play(self, step: Step) -> None:
        """Feed a step and wait until every document that it touches is what it says."""
        wanted = last_of_each(step)
        awaited = [message for message in wanted if not self._shows(message)]
        began = time.time_ns()
        now_ms = began // 1_000_000
        self._broker.feed(m._replace(value=made_current(m.value, now_ms)) for m in step.messages)
        deadline_ns = began + int(GIVE_UP_AFTER_S * 1e9)
        seconds: float | None = None
        remaining = awaited
        while remaining and time.time_ns() < deadline_ns and not self._stop.is_set():
            remaining = [message for message in remaining if not self._shows(message)]
            seconds = (time.time_ns() - began) / 1e9
            if remaining:
                time.sleep(LOOK_EVERY_S)
        if remaining and self._stop.is_set():
            return
        self._count += 1
        self._arrivals.append(Arrival(self._count, step, seconds, is_lost=bool(remaining)))

    def _shows(self, message: Message) -> bool:
        """Whether the index holds what this message says."""
        row = row_of(message)
        if message.table in COLLECTIONS:
            document = self._index.document(COLLECTIONS[message.table], key_of(message))
            return is_as_of(document, "modifiedAt", row)
        if row is None:
            return self._index.document("product-infos", key_of(message)) is None
        product = self._index.document("products", row["product_id"])
        if product is None:  # the texts wait beside it
            side = self._index.document("product-infos", row["id"])
            return is_as_of(side, "infoModifiedAt", row, is_side=True)
        if row["deleted_at"] is not None:
            return "infoId" not in product
        return is_as_of(product, "infoModifiedAt", row)


def last_of_each(step: Step) -> list[Message]:
    """The last message about each row."""
    return list({(message.topic, message.key): message for message in step.messages}.values())


def key_of(message: Message) -> str:
    """The row's id."""
    return str(json.loads(message.key or b"{}")["id"])


def row_of(message: Message) -> dict[str, Any] | None:
    """The row after the change; None when it is gone."""
    row: dict[str, Any] | None = json.loads(message.value)["after"] if message.value else None
    return row


def is_as_of(
    document: Mapping[str, Any] | None, field: str, row: Mapping[str, Any] | None, *, is_side: bool = False
) -> bool:
    """Whether the document is of this version of the row; a row that is gone, or hidden, has none."""
    if row is None or (row["deleted_at"] is not None and not is_side):
        return document is None
    at = datetime.fromisoformat(row["modified_at"])
    return document is not None and document.get(field) == int(at.timestamp() * 1000)
