"""Judgements about the broker, the topics and the consumer group; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from cdc_sync.doctor.facts import BrokerFacts, GroupFacts, TopicFacts
from cdc_sync.doctor.finding import Finding, error, ok, warning
from cdc_sync.model import Partition

__all__ = [
    "check_broker",
    "check_control",
    "check_dlq",
    "check_foreigners",
    "check_group",
    "check_topics",
]

KAFKA: Final = "kafka"
PROTOCOLS: Final = "group.coordinator.rebalance.protocols"
"""A broker's setting since Kafka 3.7; `consumer` is among its values where KIP-848 is on (default in 4.0)."""


def check_broker(facts: BrokerFacts, group_protocol: str) -> Iterator[Finding]:
    """Whether a broker answers, and which group protocol it knows."""
    if facts.problem:
        yield error(
            KAFKA,
            facts.problem,
            "check CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS, the network, and the listener's TLS and SASL in "
            "CDC_SYNC_KAFKA__EXTRA",
        )
        return
    yield ok(KAFKA, f"{counted(facts.brokers, 'broker')} at {facts.address}")
    if facts.settings is None:
        yield ok(KAFKA, "the broker does not tell its settings (no right, or no answer)")
        return
    knows = "consumer" in facts.settings.get(PROTOCOLS, "")
    if group_protocol == "consumer" and not knows:
        yield warning(
            KAFKA,
            "the broker does not know KIP-848: the daemon falls back to the classic group protocol",
            "set CDC_SYNC_KAFKA__GROUP_PROTOCOL=classic, or upgrade the broker to Kafka 4",
        )
    elif group_protocol == "classic" and knows:
        yield ok(
            KAFKA,
            "the broker knows KIP-848, which makes rebalances lighter",
            "CDC_SYNC_KAFKA__GROUP_PROTOCOL=consumer uses it",
        )


def check_topics(facts: BrokerFacts, prefix: str, tables: Sequence[str]) -> Iterator[Finding]:
    """Every mapped table's topic, and what lies beside them."""
    prefix = prefix.rstrip(".")
    wanted = {f"{prefix}.{table}" for table in tables}
    present = [facts.topics[name] for name in sorted(wanted & facts.topics.keys())]
    if not present:
        yield nothing_there(facts, prefix, tables)
        return
    for name in sorted(wanted - facts.topics.keys()):
        yield warning(
            f"topic {name}",
            "does not exist; the daemon waits for it",
            "Debezium makes it with the table's first row: is the table in the connector's "
            "`table.include.list`, and the connector running?",
        )
    for topic in present:
        yield from check_topic(topic)
    if len({len(topic.ranges) for topic in present}) > 1:
        yield ok("topics", "have different numbers of partitions: no harm, co-partitioning is not needed")
    unread = [name for name in facts.other_topics if name.startswith(f"{prefix}.") and name not in wanted]
    if unread:
        yield ok("topics", f"no mapper reads {listed(unread)}", "CDC_SYNC_MAPPERS adds mappers of your own")


def nothing_there(facts: BrokerFacts, prefix: str, tables: Sequence[str]) -> Finding:
    """No topic at all: a wrong prefix, or no connector yet."""
    elsewhere = {
        name.removesuffix(f".{table}")
        for table in tables
        for name in facts.other_topics
        if name.endswith(f".{table}")
    }
    if elsewhere:
        return error(
            "topics",
            f"none begins with {prefix}., but there are topics of these tables under {listed(elsewhere)}",
            f"set CDC_SYNC_KAFKA__TOPIC_PREFIX={min(elsewhere)}",
        )
    return warning(
        "topics",
        f"none begins with {prefix}.; the daemon waits for them",
        "register the connector (connect/debezium-config.json), or correct CDC_SYNC_KAFKA__TOPIC_PREFIX",
    )


def check_topic(topic: TopicFacts) -> Iterator[Finding]:
    """One change topic: leaders, and what its policy means for a rebuild."""
    subject = f"topic {topic.name}"
    if topic.leaderless:
        yield error(
            subject,
            f"partitions without a leader: {listed(map(str, topic.leaderless))}",
            "bring the brokers back that hold them; their changes wait until then",
        )
    size = f"{counted(len(topic.ranges), 'partition')}, up to {counted(topic.records, 'record')}"
    if topic.settings is None:
        yield ok(subject, f"{size}; its settings are not told (no right, or no answer)")
        return
    policy = topic.settings.get("cleanup.policy", "delete")
    if "delete" not in policy:
        yield ok(subject, f"{size}, cleanup.policy={policy}")
        return
    kept = kept_for(topic.settings)
    if kept is None:
        yield ok(subject, f"{size}, cleanup.policy={policy} without a limit: nothing is deleted")
        return
    yield warning(
        subject,
        f"{size}, cleanup.policy={policy}: records are deleted after {kept}, so the index cannot be rebuilt "
        "from Kafka, and a daemon that is away for longer misses changes",
        f"kafka-configs --alter --topic {topic.name} --add-config cleanup.policy=compact",
    )


def kept_for(settings: Mapping[str, str]) -> str | None:
    """How long or how much a topic with `delete` keeps; None when everything."""
    age_ms = whole(settings.get("retention.ms", "604800000"))
    size = whole(settings.get("retention.bytes", "-1"))
    limits = [duration(age_ms)] if age_ms >= 0 else []
    limits += [f"{size} bytes a partition"] if size >= 0 else []
    return " or ".join(limits) or None


def check_dlq(facts: BrokerFacts, dlq_topic: str, sources: Sequence[str]) -> Iterator[Finding]:
    """The dead letter topic: there, large enough, kept, and empty."""
    subject = f"dead letters {dlq_topic}"
    topic = facts.topics.get(dlq_topic)
    if topic is None:
        yield ok(subject, "the topic does not exist yet; the daemon makes it before the first letter")
        return
    if topic.records:
        yield warning(
            subject, f"up to {counted(topic.records, 'letter')}", "see what they are: cdc-sync dlq list"
        )
    else:
        yield ok(subject, "no letters")
    settings = topic.settings
    if settings is None:
        return
    if "compact" in settings.get("cleanup.policy", ""):
        yield error(
            subject,
            "is compacted: of several letters of a row only the last is kept, and a letter without a key is "
            "refused",
            f"kafka-configs --alter --topic {dlq_topic} --add-config cleanup.policy=delete",
        )
    elif (kept := kept_for(settings)) is not None:
        yield warning(
            subject,
            f"letters are deleted after {kept}",
            f"kafka-configs --alter --topic {dlq_topic} --add-config retention.ms=-1",
        )
    yield from check_letter_size(subject, topic, [facts.topics[s] for s in sources if s in facts.topics])


def check_letter_size(subject: str, topic: TopicFacts, sources: Sequence[TopicFacts]) -> Iterator[Finding]:
    """A letter is its record and some headers more: the topic has to take what the sources take."""
    limit = whole((topic.settings or {}).get("max.message.bytes", "0"))
    largest = max((whole((s.settings or {}).get("max.message.bytes", "0")) for s in sources), default=0)
    if 0 < limit <= largest:
        wanted = largest + 1_048_576
        yield warning(
            subject,
            f"max.message.bytes is {limit}, the change topics take {largest}: a letter is larger than its "
            "record, and one that does not fit holds up its partition",
            f"kafka-configs --alter --topic {topic.name} --add-config max.message.bytes={wanted}",
        )


def check_control(facts: BrokerFacts, control_topic: str) -> Iterator[Finding]:
    """The topic in which owners of partitions are asked is a table: it must be compacted."""
    subject = f"control topic {control_topic}"
    topic = facts.topics.get(control_topic)
    if topic is None:
        yield ok(subject, "not there: made by the first who needs it")
        return
    policy = (topic.settings or {}).get("cleanup.policy", "compact")
    if policy != "compact":
        yield warning(
            subject,
            f"cleanup.policy is {policy}: what was asked and what became of it is forgotten after a while",
            f"kafka-configs --alter --topic {control_topic} --add-config cleanup.policy=compact",
        )
    else:
        yield ok(subject, "is there")


def check_group(facts: BrokerFacts, client_id: str, sources: Sequence[str]) -> Iterator[Finding]:
    """Who is in the group, and how far it has read."""
    group = facts.group
    if group is None:
        return
    subject = f"group {group.group_id}"
    if group.problem:
        yield ok(subject, f"the broker does not tell who is in it: {group.problem}")
    else:
        yield from check_members(group, client_id)
    if group.committed is None:
        return
    for name in sorted(set(sources) & facts.topics.keys()):
        yield check_lag(facts.topics[name], group.committed)


def check_members(group: GroupFacts, client_id: str) -> Iterator[Finding]:
    """Other programs in the group take partitions away from the index."""
    subject = f"group {group.group_id}"
    ours = [m for m in group.members if m.client_id.startswith(client_id)]
    strangers = sorted({f"{m.client_id} at {m.host}" for m in group.members if m not in ours})
    if strangers:
        yield warning(
            subject,
            f"other clients are in it: {listed(strangers)}; the partitions that they are given do not reach "
            "the index",
            "stop them, or give ours a group of its own: CDC_SYNC_KAFKA__GROUP_ID (replicas with another "
            "CDC_SYNC_KAFKA__CLIENT_ID look like this too)",
        )
    if not group.members:
        yield ok(subject, "no member: no daemon is running")
        return
    idle = sum(1 for member in ours if not member.partitions)
    text = f"{counted(len(ours), 'member')}, {group.state or 'state unknown'}"
    yield ok(subject, f"{text}; {idle} without a partition" if idle else text)


def check_lag(topic: TopicFacts, committed: Mapping[Partition, int]) -> Finding:
    """How far behind the end of a topic the group is; whether what it wants next still exists."""
    subject = f"lag {topic.name}"
    lag, begun = 0, False
    lost: list[str] = []
    beyond: list[str] = []
    for number, (start, end) in sorted(topic.ranges.items()):
        position = committed.get(Partition(topic.name, number))
        if position is None:
            lag += end - start
            continue
        begun = True
        lag += max(0, end - max(position, start))
        lost += [str(number)] if position < start else []
        beyond += [str(number)] if position > end else []
    if lost:
        return error(
            subject,
            f"partitions {listed(lost)}: records were deleted before they were read",
            "the index misses changes: run an incremental snapshot of the table, or reindex",
        )
    if beyond:
        return warning(
            subject,
            f"partitions {listed(beyond)}: the committed offset lies behind the end: the topic was made anew",
            "the daemon reads the new topic from its start; reindex where rows were deleted meanwhile",
        )
    if not begun:
        return ok(subject, f"nothing committed: begins at the start, up to {counted(lag, 'record')} to read")
    return ok(subject, f"up to {counted(lag, 'record')} behind")


def counted(count: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names, sorted; not more than can be read."""
    every = sorted(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def whole(text: str) -> int:
    """A broker's number; -1 for what is none."""
    try:
        return int(text)
    except ValueError:
        return -1


def duration(milliseconds: int) -> str:
    """`7 days`, `12 hours`, `90 seconds`: the largest unit that is exact."""
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000)):
        if milliseconds and milliseconds % size == 0:
            return counted(milliseconds // size, unit)
    return f"{milliseconds} ms"


def check_foreigners(group: GroupFacts, client_ids: Sequence[str]) -> Iterator[Finding]:
    """Who is in a group that the dispatcher joins: by their ids, and where they are from."""
    subject = f"group {group.group_id}"
    if group.problem:
        yield ok(subject, f"the broker does not tell who is in it: {group.problem}")
        return
    foreign = sorted({f"{m.client_id} at {m.host}" for m in group.members if m.client_id not in client_ids})
    own = sorted({f"{m.client_id} at {m.host}" for m in group.members if m.client_id in client_ids})
    if foreign:
        yield warning(
            subject,
            f"foreign members: {listed(foreign)}; the dispatcher takes partitions from them, or they from it",
            "stop them, or take its service out of CDC_SYNC_DISPATCHER__SERVICES",
        )
    if own:
        yield ok(
            subject, f"members with its client ids: {listed(own)} (an existing service has the same ids)"
        )
    elif not foreign:
        yield ok(subject, "no member")
    if not group.committed:
        yield ok(subject, "nothing is committed: it begins where CDC_SYNC_DISPATCHER__START_AT says")
