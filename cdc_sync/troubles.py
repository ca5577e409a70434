"""What goes wrong outside, said once: one log line when it begins, one when it is over."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final

from cdc_sync.errors import LeaseExpired, TransientError
from cdc_sync.lane import Lane
from cdc_sync.log import get_logger
from cdc_sync.metrics import Metrics
from cdc_sync.schema import Collection

__all__ = ["Notices", "Troubles"]

REPEAT_AFTER_S: Final = 60.0
NUMBER: Final = re.compile(r"\d+")


class Notices:
    """Warnings that are said once, and again after a minute while they are true."""

    def __init__(self, room: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = get_logger(room)
        self._clock = clock
        self._said: dict[str, float] = {}

    def say(self, event: str, facts: Mapping[str, Any]) -> None:
        """The same is no news; nor do durations in a text, which librdkafka's have, make any."""
        text = NUMBER.sub("#", f"{event} {sorted(facts.items())}")
        now = self._clock()
        if now - self._said.get(text, float("-inf")) >= REPEAT_AFTER_S:
            self._said = {t: at for t, at in self._said.items() if now - at < REPEAT_AFTER_S} | {text: now}
            self._log.warning(event, **facts)


class Troubles:
    """Says once that something is wrong, and once that it is right again; repeats the same after a minute."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._log = get_logger("sink")
        self._kafka = get_logger("kafka")
        self._notices = Notices("kafka", clock)
        self._registry = get_logger("registry")
        self._away: dict[str, type[TransientError]] = {}
        self._lock = Lock()

    def sink_away(self, lane: Lane, error: TransientError, is_new: bool) -> None:
        """A lane's try has failed; the first of a kind is said, by the first lane that meets it."""
        self._metrics.retried(lane.name, error)
        if not is_new:
            return
        with self._lock:
            known = type(error) in self._away.values()
            self._away[lane.name] = type(error)
        if not known:
            self._log.warning(f"waiting for {waited_for(type(error))}", lane=lane.name, reason=str(error))

    def sink_back(self, lane: Lane) -> None:
        """A lane goes on; said when the last one does."""
        with self._lock:
            kind = self._away.pop(lane.name, TransientError)
            all_back = not self._away
        if all_back:
            self._log.info(f"{waited_for(kind)} is back", lane=lane.name)

    def registry_away(self, error: TransientError, is_new: bool) -> None:
        """A schema could not be fetched; the first try that fails is said."""
        if is_new:
            self._registry.warning("waiting for the schema registry", reason=str(error))

    def registry_back(self) -> None:
        """It answers again."""
        self._registry.info("the schema registry is back")

    def kafka_said(self, event: str, facts: Mapping[str, Any]) -> None:
        """Something at the broker."""
        self._notices.say(event, facts)

    def truncated(self, topic: str) -> None:
        """A TRUNCATE has no key and no order against other partitions, so nothing is done about it."""
        self._kafka.warning(
            "truncate skipped",
            topic=topic,
            cure="make its collection anew, and read the table again by incremental snapshot",
        )

    def letters(self, event: str, reason: str) -> None:
        """The dead letter topic is not there, or does not take a letter."""
        self.kafka_said(event, {"reason": reason})

    def schema_differs(self, collection: Collection, real: str, differences: list[str]) -> None:
        """A collection is not what its mapper declares; it is used as it is."""
        self._metrics.set("schema_differences", len(differences), collection.name)
        if differences:
            self._log.warning(
                "collection differs from its mapper",
                collection=real,
                differences=differences,
                cure=f"cdc-sync reindex {collection.name}",
            )


def waited_for(kind: type[TransientError]) -> str:
    """Whose word a lane waits for."""
    return "the broker" if issubclass(kind, LeaseExpired) else "typesense"
