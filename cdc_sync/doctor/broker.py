"""Asks the broker; reads only: joins no group, commits nothing, makes no topic."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public by its documentation
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    OffsetSpec,
)

from cdc_sync.doctor.facts import BrokerFacts, GroupFacts, Member, TopicFacts
from cdc_sync.doctor.samples import Sample, TopicSamples, Whole, look_at
from cdc_sync.errors import ConfigError
from cdc_sync.model import Partition
from cdc_sync.protocols import Decoder, Mapper
from cdc_sync.reader import Range, TopicReader

__all__ = ["ask_broker", "group_facts", "take_samples"]

SILENT: Final = (KafkaException, concurrent.futures.TimeoutError, TimeoutError)
"""What a question raises that a broker does not answer, or not to us."""


def ask_broker(
    config: Mapping[str, Any], topics: Iterable[str], group_id: str, *, timeout_s: float
) -> BrokerFacts:
    """What the cluster says of itself, of these topics (those that exist) and of the group."""
    address = str(config.get("bootstrap.servers", ""))
    troubles: list[KafkaError] = []
    try:
        properties: dict[str, Any] = {**config, "error_cb": troubles.append}
        admin = AdminClient(properties)
    except KafkaException as error:
        raise ConfigError(f"CDC_SYNC_KAFKA__EXTRA: {error.args[0].str()}") from error
    try:
        # All topics, not ours by name: a broker may make a topic that it is asked about.
        cluster = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        admin.poll(0)
        reason = (troubles or error.args)[0].str()
        return BrokerFacts(address, problem=f"no broker answers at {address}: {reason}")
    present = [name for name in sorted(set(topics)) if name in cluster.topics]
    ranges = ask_ranges(admin, cluster, present, timeout_s)
    resources = ask_settings(admin, cluster, present, timeout_s)
    return BrokerFacts(
        address,
        brokers=len(cluster.brokers),
        settings=resources.get(""),
        topics={
            name: TopicFacts(
                name,
                ranges[name],
                tuple(n for n, p in cluster.topics[name].partitions.items() if p.leader < 0),
                resources.get(name),
            )
            for name in present
        },
        other_topics=tuple(sorted(cluster.topics.keys() - set(present))),
        group=ask_group(admin, group_id, timeout_s),
    )


def ask_ranges(
    admin: AdminClient, cluster: ClusterMetadata, topics: Sequence[str], timeout_s: float
) -> dict[str, dict[int, tuple[int, int]]]:
    """Topic → partition → (start, end); (0, 0) where a partition does not answer."""
    ranges = {name: dict.fromkeys(sorted(cluster.topics[name].partitions), (0, 0)) for name in topics}
    led = [
        TopicPartition(name, number)
        for name in topics
        for number, partition in cluster.topics[name].partitions.items()
        if partition.leader >= 0
    ]
    if not led:
        return ranges
    first: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    last: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    starts = admin.list_offsets(dict.fromkeys(led, first), request_timeout=timeout_s)
    ends = admin.list_offsets(dict.fromkeys(led, last), request_timeout=timeout_s)
    for partition, start in starts.items():
        with suppress(*SILENT):
            range_ = (start.result(timeout_s).offset, ends[partition].result(timeout_s).offset)
            ranges[partition.topic][partition.partition] = range_
    return ranges


def ask_settings(
    admin: AdminClient, cluster: ClusterMetadata, topics: Sequence[str], timeout_s: float
) -> dict[str, dict[str, str]]:
    """Topic → its settings, and the broker's own under ""; what is not told is missing."""
    resources = {ConfigResource(ConfigResource.Type.TOPIC, name): name for name in topics}
    if cluster.brokers:
        resources[ConfigResource(ConfigResource.Type.BROKER, str(min(cluster.brokers)))] = ""
    found = {}
    # One request for each: a request for several is refused as a whole where one may not be described.
    asked = {r: admin.describe_configs([r], request_timeout=timeout_s)[r] for r in resources}
    for resource, answer in asked.items():
        with suppress(*SILENT):
            entries = answer.result(timeout_s)
            found[resources[resource]] = {n: e.value for n, e in entries.items() if e.value is not None}
    return found


def group_facts(config: Mapping[str, Any], group_id: str, *, timeout_s: float) -> GroupFacts:
    """Only what the broker says of the group."""
    return ask_group(AdminClient(dict(config)), group_id, timeout_s)


def ask_group(admin: AdminClient, group_id: str, timeout_s: float) -> GroupFacts:
    """Members and committed offsets, asked from outside."""
    committed: dict[Partition, int] | None = None
    with suppress(*SILENT):
        asked = admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group_id)], request_timeout=timeout_s
        )
        positions = asked[group_id].result(timeout_s).topic_partitions or []
        committed = {Partition(p.topic, p.partition): p.offset for p in positions if p.offset >= 0}
    try:
        group = admin.describe_consumer_groups([group_id], request_timeout=timeout_s)[group_id]
        described = group.result(timeout_s)
    except SILENT as error:
        if isinstance(error, KafkaException):
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return GroupFacts(group_id, committed=committed)
            return GroupFacts(group_id, committed=committed, problem=error.args[0].str())
        return GroupFacts(group_id, committed=committed, problem="no answer")
    members = tuple(
        Member(m.client_id, m.host, len(m.assignment.topic_partitions if m.assignment else ()))
        for m in described.members
    )
    state = getattr(described.state, "name", str(described.state))
    return GroupFacts(group_id, state.lower().replace("_", " "), members, committed)


def take_samples(
    config: Mapping[str, Any],
    topics: Mapping[str, TopicFacts],
    mappers: Mapping[str, Mapper],
    decoder: Decoder,
    whole: Whole | None = None,
    *,
    each: int,
    timeout_s: float,
) -> dict[str, TopicSamples]:
    """What the newest messages of every partition tell, by topic; `mappers` are by topic, too.

    `whole` opens what is in Avro, where there is a registry.

    Messages are looked at one by one and not kept. Raises `CdcSyncError` where the broker falls silent.
    """
    taken: dict[str, list[Sample]] = {name: [] for name in mappers if name in topics}
    tails = {
        Partition(name, number): Range(max(start, end - each), end)
        for name in taken
        for number, (start, end) in topics[name].ranges.items()
        if number not in topics[name].leaderless
    }
    with TopicReader(config, timeout_s=timeout_s) as reader:
        for record in reader.read(tails):
            name = record.partition.topic
            taken[name].append(look_at(record, mappers[name], decoder, whole))
    return {name: TopicSamples(mappers[name].table, tuple(samples)) for name, samples in taken.items()}
