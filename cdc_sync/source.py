"""librdkafka behind `Source`: subscribe, poll in batches, pause, commit, and tell of rebalances.

At-least-once: offsets are committed only when asked. Rebalance callbacks run inside `poll` and `close`, on
the thread that calls them, so the listener may settle and commit before partitions go.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from cdc_sync.errors import FatalError
from cdc_sync.model import Headers, Partition, Record
from cdc_sync.protocols import RebalanceListener

__all__ = ["KafkaSource", "Report"]

Report = Callable[[str, Mapping[str, Any]], None]
"""Told of what happens at the broker: a lower-case event and its facts."""

QUIET_ERRORS: Final = frozenset({KafkaError._PARTITION_EOF})
ASK_S: Final = 2.0
"""How long the polling thread waits for a word of the broker."""
CLOSE_S: Final = 3.0
"""How long leaving the group may take."""
WAITED_FOR: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


class KafkaSource:
    """A member of a consumer group. `config` is librdkafka's; topics that do not exist yet are waited for.

    Asked for the group protocol of KIP-848 (`group.protocol=consumer`) on a broker that does not know it,
    it falls back to the classic one. `clock` is the lease's.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Sequence[str],
        listener: RebalanceListener,
        report: Report = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = dict(config)
        self._topics = list(topics)
        self._listener = listener
        self._report = report
        self._clock = clock
        self._asked_at: deque[float] = deque()
        self._asked_for: dict[Partition, int] = {}
        self._owned: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._back: set[Partition] = set()  # librdkafka may have kept a pause over their absence
        self._taken_away: set[Partition] = set()
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._consumer = self._subscribed()

    @property
    def owned(self) -> frozenset[Partition]:
        """The partitions that are ours now."""
        return frozenset(self._owned)

    def poll(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Wait for a first record, then take what is already there: no batch waits to be filled."""
        first = self._consumer.consume(1, timeout_s)
        self._taken_away.clear()
        rest = self._consumer.consume(max_records - 1, 0) if first and max_records > 1 else []
        records = [record for m in first + rest if (record := self._record(m)) is not None]
        if self._taken_away:  # in the middle of this poll; what is new of these comes in the next one
            records = [record for record in records if record.partition not in self._taken_away]
        return records

    def commit(self, offsets: Mapping[Partition, int], wait: bool = False) -> bool:
        """Commit these next offsets; failures are reported, since what is not committed is read again."""
        if not offsets:
            return True
        positions = [TopicPartition(p.topic, p.number, offset) for p, offset in offsets.items()]
        self._asked_for |= {p: offset for p, offset in offsets.items() if p in self._owned}
        asked_at = self._clock()
        try:
            if wait:
                stored = self._consumer.commit(offsets=positions, asynchronous=False)
                return self._on_answer(None, stored, asked_at)
            self._consumer.commit(offsets=positions, asynchronous=True)
            self._asked_at.append(asked_at)
        except KafkaException as error:
            self._on_answer(error.args[0], positions, asked_at)
        return False

    def renew(self, wait: bool = False) -> None:
        """Commit again what is committed; the answer tells whether we are still a member.

        That is what was asked for last, unless it failed: its answer may be on the way yet, and a commit of
        what was stored before would take it back.
        """
        if not self._owned:
            return
        known = self._owned & self._asked_for.keys()
        try:
            partition = min(known or self._owned)
            if partition not in self._asked_for:
                self._asked_for[partition] = self._committed(partition)
        except KafkaException as error:
            self._report("broker trouble", {"error": error.args[0].str()})
            return
        self.commit({partition: self._asked_for[partition]}, wait)

    def next_offset(self, partition: Partition) -> int | None:
        """Every record before it was delivered; None where the broker does not say now."""
        try:
            (position,) = self._consumer.position([TopicPartition(*partition)])
            return position.offset if position.offset >= 0 else self._committed(partition)
        except KafkaException as error:
            self._report("broker trouble", {"error": error.args[0].str()})
            return None

    def seek(self, partition: Partition, offset: int) -> None:
        """Deliver an owned partition from this offset on."""
        self._consumer.seek(TopicPartition(partition.topic, partition.number, offset))

    def pause(self, topics: Collection[str], partitions: Collection[Partition] = ()) -> None:
        """Deliver nothing from exactly these topics and partitions, and from all the others again."""
        wanted = {p for p in self._owned if p.topic in topics or p in partitions}
        if held := wanted - self._paused:
            self._consumer.pause([TopicPartition(*p) for p in held])
        if freed := (self._paused | self._back) - wanted:
            self._consumer.resume([TopicPartition(*p) for p in freed])
        self._paused = wanted
        self._back.clear()

    def lag(self) -> dict[Partition, int]:
        """Records behind the end of each owned partition, from what the client knows already."""
        lags = {}
        owned = sorted(self._owned)
        for position in self._consumer.position([TopicPartition(*p) for p in owned]):
            _, high = self._consumer.get_watermark_offsets(position, cached=True) or (0, -1)
            if high >= 0 and position.offset >= 0:
                lags[Partition(position.topic, position.partition)] = max(0, high - position.offset)
        return lags

    def _committed(self, partition: Partition) -> int:
        """Where reading begins: what is committed, or the first record that there is."""
        (found,) = self._consumer.committed([TopicPartition(*partition)], timeout=ASK_S)
        if found.offset >= 0:
            return found.offset
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=ASK_S)
        return low

    def close(self) -> None:
        """Leave the group; the listener hears of the revocation.

        On a thread of its own, which is left behind when it does not end: the broker then gives us up by
        itself, after the session.
        """
        closing = threading.Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            self._report("the group was not left", {"waited_s": CLOSE_S})

    def _subscribed(self) -> Consumer:
        consumer = Consumer({**self._config, "on_commit": self._on_commit, "error_cb": self._on_error})
        consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return consumer

    def _record(self, message: Message) -> Record | None:
        error = message.error()
        if error is not None:
            self._on_message_error(error, message)
            return None
        key = (message.topic() or "", message.partition() or 0)
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = Partition(*key)
        return Record(
            partition,
            message.offset() or 0,
            message.key(),
            message.value(),
            message.timestamp,
            cast("Callable[[], Headers | None]", message.headers),
        )

    def _on_message_error(self, error: KafkaError, message: Message) -> None:
        if error.code() in QUIET_ERRORS:
            return
        if error.code() in WAITED_FOR:
            self._report("topic does not exist yet", {"topic": message.topic()})
        elif error.fatal() or error.code() == KafkaError._FATAL:
            self._on_fatal(error)
        else:
            self._report("kafka error", {"error": error.str(), "topic": message.topic()})

    def _on_fatal(self, error: KafkaError) -> None:
        """Fall back to the classic protocol where that is the cure; else this member is done for."""
        asked = self._config.get("group.protocol") == "consumer"
        if asked and "ConsumerGroupHeartbeat" in error.str() and "not supported" in error.str():
            self._fall_back(error)
        else:
            raise FatalError(f"the consumer cannot go on: {error.str()}")

    def _fall_back(self, error: KafkaError) -> None:
        """The broker does not know KIP-848: go on with the classic protocol."""
        self._report("the broker knows only the classic group protocol", {"error": error.str()})
        self._consumer.close()
        self._config["group.protocol"] = "classic"
        self._config.pop("group.remote.assignor", None)
        self._config.setdefault("partition.assignment.strategy", "cooperative-sticky")
        self._asked_at.clear()
        self._consumer = self._subscribed()

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        assigned = as_partitions(partitions)
        self._owned |= assigned
        self._paused -= assigned
        self._back |= assigned
        self._listener.on_assigned(assigned)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = as_partitions(partitions)
        self._listener.on_revoked(revoked, lost=False)
        self._forget(revoked)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        lost = as_partitions(partitions)
        self._listener.on_revoked(lost, lost=True)
        self._forget(lost)

    def _forget(self, partitions: set[Partition]) -> None:
        self._owned -= partitions
        self._paused -= partitions
        self._back -= partitions
        self._asked_for = {p: offset for p, offset in self._asked_for.items() if p not in partitions}
        self._taken_away |= partitions

    def _on_commit(self, error: KafkaError | None, positions: list[TopicPartition]) -> None:
        # Answers come in the order of the questions, and of this consumer's only.
        asked_at = self._asked_at.popleft() if self._asked_at else float("-inf")
        self._on_answer(error, positions, asked_at)

    def _on_answer(self, error: KafkaError | None, positions: list[TopicPartition], asked_at: float) -> bool:
        stored = {
            Partition(p.topic, p.partition): p.offset for p in positions if error is None and p.error is None
        }
        if stored:
            self._listener.on_committed(stored, asked_at)
        for p in positions:
            partition = Partition(p.topic, p.partition)
            if partition not in stored and self._asked_for.get(partition) == p.offset:
                del self._asked_for[partition]
        reason = error or next((p.error for p in positions if p.error is not None), None)
        if reason is not None and reason.code() != KafkaError._NO_OFFSET:
            self._report("commit failed", {"error": reason.str()})
        return len(stored) == len(positions)

    def _on_error(self, error: KafkaError) -> None:
        self._report("broker trouble", {"error": error.str()})


def as_partitions(found: Collection[TopicPartition]) -> set[Partition]:
    """confluent-kafka's partitions as ours."""
    return {Partition(p.topic, p.partition) for p in found}
