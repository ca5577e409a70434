"""Judgements about the messages that were sampled from a topic's ends; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from cdc_sync.doctor.finding import Finding, error, ok, warning
from cdc_sync.doctor.kafka_checks import counted, listed
from cdc_sync.doctor.samples import Decimals, TopicSamples, Wire

__all__ = ["check_samples"]

REGISTRY: Final = "CDC_SYNC_SCHEMA_REGISTRY__URL"


def check_samples(topic: str, found: TopicSamples, registry_url: str | None) -> Iterator[Finding]:
    """Everything that a topic's messages tell."""
    subject = f"messages {topic}"
    if not found.samples:
        yield ok(subject, "none yet, so the format cannot be told")
        return
    if not registry_url and any(sample.wire == Wire.AVRO for sample in found.samples):
        yield error(
            subject,
            "are in the Confluent wire format (Avro), and no registry is set: each becomes a dead letter",
            f"set {REGISTRY}",
        )
        return
    if any(sample.is_unread for sample in found.samples):
        yield warning(
            subject,
            "are in Avro and were not looked at: the schema registry does not answer",
            "see what is said of the schema registry",
        )
        return
    yield from check_wire(subject, found)
    yield from check_keys(subject, found)
    yield from check_refused(subject, found)
    yield from check_decimals(subject, found)
    yield from check_times(subject, found)
    yield from check_identity(subject, found)
    yield from check_columns(subject, found)


def check_wire(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """The formats, and whether they are any that we know."""
    formats = Counter(sample.wire for sample in found.samples if sample.wire != Wire.TOMBSTONE)
    if formats[Wire.UNKNOWN]:
        yield error(
            subject,
            f"{formats[Wire.UNKNOWN]} of {formats.total()} are no change events of Debezium",
            "is something else writing to the topic, or a converter set that is not JSON or Avro?",
        )
        return
    if formats:
        told = ", ".join(f"{count} as {name}" for name, count in formats.most_common())
        yield ok(subject, f"{told}, of the newest {counted(len(found.samples), 'message')}")
    else:
        yield ok(subject, f"only tombstones among the newest {counted(len(found.samples), 'message')}")


def check_keys(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """Whether one row's key has the same bytes, and so the same partition, in all messages."""
    if len({sample.key_form for sample in found.samples} - {b""}) > 1:
        yield warning(
            subject,
            "have keys that are written in different ways (by another converter, or another schema): a row's "
            "older and newer messages then lie in different partitions, in no order",
            "once the daemon has read them all, read the table again by incremental snapshot (docs/avro.md)",
        )


def check_refused(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """What the daemon's own decoder and mapper would refuse."""
    refused = [s.refused for s in found.samples if s.refused and s.wire != Wire.UNKNOWN]
    if refused:
        share = f"{len(refused)} of {counted(len(found.samples), 'message')}"
        yield error(
            subject,
            f"{share} would become dead letters: {refused[0]}",
            "mend the rows or the connector, or map the column in another way (CDC_SYNC_MAPPERS)",
        )


def check_decimals(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """`decimal.handling.mode`, as the numeric columns show it."""
    columns: dict[str, set[str]] = {}
    for sample in found.samples:
        for column, form in sample.decimals.items():
            columns.setdefault(form, set()).add(column)
    cure = "set decimal.handling.mode=string in the connector"
    if doubles := columns.get(Decimals.DOUBLE):
        yield warning(
            subject, f"decimals of {listed(doubles)} are doubles: digits after the 15th are lost", cure
        )
    if raw := columns.get(Decimals.BASE64):
        yield warning(
            subject,
            f"decimals of {listed(raw)} are base64 without a schema, so without their scale: the mapper's is "
            "taken, and a column with another is read wrong",
            cure,
        )
    if exact := columns.get(Decimals.STRING, set()) | columns.get(Decimals.SCHEMA, set()):
        yield ok(subject, f"decimals of {listed(exact)} are exact")


def check_times(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """Times whose unit nobody tells."""
    if unitless := found.columns("unitless_times"):
        yield error(
            subject,
            f"times of {listed(unitless)} are numbers without a unit (ms or µs, by the column's precision)",
            "make the columns timestamptz, or set value.converter.schemas.enable=true",
        )
    if odd := found.columns("odd_dates"):
        yield warning(
            subject,
            f"dates of {listed(odd)} are numbers too large for days (infinity is one, too)",
            "set time.precision.mode=adaptive in the connector, or mend the rows",
        )


def check_identity(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """REPLICA IDENTITY, as far as messages show it."""
    if placeholders := found.columns("placeholders"):
        yield warning(
            subject,
            f"unchanged large values of {listed(placeholders)} are left out (REPLICA IDENTITY DEFAULT): they "
            "are kept from the document, but a row whose primary key changes becomes a dead letter",
            f'ALTER TABLE public."{found.table}" REPLICA IDENTITY FULL, or the connector\'s '
            "replica.identity.autoset.values",
        )
    carried = {sample.has_before for sample in found.samples} - {None}
    if carried == {True}:
        yield ok(subject, "carry the old row (REPLICA IDENTITY FULL)")
    elif carried:
        yield ok(subject, "carry of the old row only its key (REPLICA IDENTITY DEFAULT): that is enough")


def check_columns(subject: str, found: TopicSamples) -> Iterator[Finding]:
    """Columns that only one side knows."""
    if unmapped := found.columns("unmapped"):
        yield ok(subject, f"columns that no field is made of: {listed(unmapped)}")
    if absent := found.columns("absent"):
        yield warning(
            subject,
            f"columns that the mapper reads and the events lack: {listed(absent)}; their fields stay empty",
            "was a column renamed or dropped, or is it in the connector's `column.exclude.list`?",
        )
