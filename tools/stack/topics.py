"""Topics of the broker: create, list, look at, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

__all__ = ["Topics"]

_TIMEOUT_S = 15.0


class Topics:
    """The topics of one broker. Keeps a connection open."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        # Without a log: a broker that is killed on purpose would be told of every second.
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def create(
        self,
        names: Sequence[str],
        *,
        partitions: int = 3,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create topics that are not there yet; returns when the broker has made them."""
        missing = sorted(set(names) - set(self.names()))
        new = [NewTopic(name, partitions, 1, config=dict(config or {})) for name in missing]
        if new:
            for future in self._admin.create_topics(new).values():
                future.result(_TIMEOUT_S)

    def names(self, prefix: str = "") -> list[str]:
        """The names that begin with `prefix`."""
        found = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        return sorted(name for name in found if name.startswith(prefix))

    def delete(self, names: Sequence[str]) -> None:
        """Delete topics that exist."""
        there = sorted(set(names) & set(self.names()))
        if there:
            for future in self._admin.delete_topics(there).values():
                future.result(_TIMEOUT_S)

    def config(self, name: str) -> dict[str, str]:
        """The configuration of a topic as the broker holds it."""
        resource = ConfigResource(ResourceType.TOPIC, name)
        entries = self._admin.describe_configs([resource])[resource].result(_TIMEOUT_S)
        return {key: str(entry.value) for key, entry in entries.items()}

    def end_offsets(self, names: Sequence[str]) -> dict[tuple[str, int], tuple[int, int]]:
        """The first and the next offset of each partition of topics that exist."""
        consumer = self._consumer()
        try:
            return {
                (name, number): consumer.get_watermark_offsets(
                    TopicPartition(name, number), timeout=_TIMEOUT_S, cached=False
                )
                for name, number in self._partitions(names)
            }
        finally:
            consumer.close()

    def committed(self, group: str, names: Sequence[str]) -> dict[tuple[str, int], int]:
        """What a group has committed for each partition; -1001 where it has not."""
        consumer = self._consumer(group)
        try:
            asked = [TopicPartition(name, number) for name, number in self._partitions(names)]
            found = consumer.committed(asked, timeout=_TIMEOUT_S) if asked else []
            return {(place.topic, place.partition): place.offset for place in found}
        finally:
            consumer.close()

    def read(self, names: Sequence[str]) -> list[Message]:
        """Every message that topics hold now, by topic and partition, each in order of offset."""
        ends = self.end_offsets(names)
        messages: list[Message] = []
        for (name, number), (first, after) in ends.items():
            consumer = self._consumer()
            consumer.assign([TopicPartition(name, number, first)])
            position = first
            while position < after:
                message = consumer.poll(_TIMEOUT_S)
                if message is None:
                    break
                failure = message.error()
                if failure is not None:
                    # The end of a partition is where a compacted or aborted tail ends the reading.
                    break
                messages.append(message)
                position = (message.offset() or 0) + 1
            consumer.close()
        return messages

    def _partitions(self, names: Sequence[str]) -> list[tuple[str, int]]:
        found = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        return [
            (name, number) for name in names if name in found for number in sorted(found[name].partitions)
        ]

    def _consumer(self, group: str = "cdc-sync-test-reader") -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
