"""The dead letter topic, looked at: read to its end, grouped, filtered, and shown; nothing changes by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dlq.browse import (
    MAX_GROUPS,
    OTHERS,
    Filter,
    LetterLine,
    Letters,
    Place,
    grouped,
    normalised,
    place_of,
)
from cdc_sync.errors import CdcSyncError, ConfigError, DecodeError, MappingError
from cdc_sync.model import Partition, Record
from cdc_sync.reader import Range, TopicReader
from tests.kafka_mock import MockKafka, mock_kafka

DLQ = "nx.seller.cdc.dlq"
PRODUCT = Partition("nx.seller.public.Product", 3)


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockKafka]:
    yield from mock_kafka()


def reader(kafka: MockKafka, **more: Any) -> TopicReader:
    return TopicReader({"bootstrap.servers": kafka.address, **more}, timeout_s=5)


def record(offset: int = 7, value: bytes | None = b'{"op":"c"}') -> Record:
    return Record(PRODUCT, offset, b'{"id":"p1"}', value)


def line(reason: str = "r", offset: int = 0, stored_at_ms: int = 1, **more: Any) -> LetterLine:
    facts = {"origin": PRODUCT, "stage": "TRANSFORMATION", "error_class": "MappingError", **more}
    return LetterLine(
        place=Place(Partition(DLQ, 0), offset),
        origin_offset=offset,
        reason=reason,
        stored_at_ms=stored_at_ms,
        **facts,
    )


# Reading


def test_every_letter_of_every_partition_is_read_once_and_what_is_no_letter_is_counted(
    kafka: MockKafka,
) -> None:
    for n in range(5):
        kafka.write_letter("all", record(n), MappingError(f"reason {n}"), partition=n % 3)
    kafka.write("all", b"somebody else's", partition=1)
    with reader(kafka) as looking:
        letters = Letters(looking, "all")
        found = list(letters.lines())
    assert {f"reason {n}" for n in range(5)} == {line.reason for line in found}
    assert len(found) == 5
    assert letters.not_letters == 1
    assert {("TRANSFORMATION", "MappingError", PRODUCT)} == {
        (line.stage, line.error_class, line.origin) for line in found
    }


def test_reading_ends_at_the_end_that_the_topic_had_when_it_began(kafka: MockKafka) -> None:
    kafka.write_letter("busy", record(), MappingError("before"))
    with reader(kafka) as looking:
        lines = Letters(looking, "busy").lines()
        kafka.write_letter("busy", record(), MappingError("after"))
        assert [line.reason for line in lines] == ["before"]


def test_the_newest_letters_are_chosen_across_partitions_newest_first(kafka: MockKafka) -> None:
    for n in range(6):
        kafka.write_letter(
            "tail", record(n), MappingError(str(n)), partition=n % 2, stored_at_ms=1_000 * (n + 1)
        )
    with reader(kafka) as looking:
        assert [line.reason for line in Letters(looking, "tail").lines(3)] == ["5", "4", "3"]


def test_a_letter_is_found_by_its_place_with_its_bytes_and_headers(kafka: MockKafka) -> None:
    source = Record(PRODUCT, 41, b"\x00key", None, read_headers=lambda: [("own", b"1"), ("none", None)])
    kafka.write_letter("one", record(1), MappingError("first"))
    kafka.write_letter("one", source, DecodeError("second"))
    with reader(kafka) as looking:
        letter = Letters(looking, "one").letter(Place(Partition("one", 0), 1))
    assert (letter.key, letter.value, letter.headers) == (b"\x00key", None, [("own", b"1"), ("none", None)])
    assert (
        letter.origin,
        letter.origin_offset,
        letter.stage,
        letter.error_class,
        letter.reason,
    ) == (PRODUCT, 41, "VALUE_CONVERTER", "DecodeError", "second")


@pytest.mark.parametrize(
    ("partition", "offset", "said"),
    [
        (0, 9, "the partition holds 0 to 1"),
        (1, 0, "the partition is empty"),
        (7, 0, "has the partitions 0 to 3"),
        (0, 1, "is not a dead letter"),
    ],
)
def test_a_place_without_a_letter_is_said_in_one_line(
    kafka: MockKafka, partition: int, offset: int, said: str
) -> None:
    topic = f"places-{partition}-{offset}"
    kafka.write_letter(topic, record(), MappingError("x"))
    kafka.write(topic, b"no letter")
    with reader(kafka) as looking, pytest.raises(CdcSyncError, match=said) as raised:
        Letters(looking, topic).letter(Place(Partition(topic, partition), offset))
    assert "\n" not in str(raised.value)


def test_a_topic_that_is_missing_is_named_and_not_made(kafka: MockKafka) -> None:
    for _ in range(2):
        with (
            reader(kafka) as looking,
            pytest.raises(CdcSyncError, match=r"topic missing does not exist.*DLQ_TOPIC"),
        ):
            Letters(looking, "missing")


def test_an_unreachable_broker_is_said_with_its_address_and_setting() -> None:
    with (
        TopicReader({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, timeout_s=0.5) as looking,
        pytest.raises(CdcSyncError, match=r"127\.0\.0\.1:1 \(CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS\)"),
    ):
        looking.partitions("any")


def test_an_unknown_property_is_the_operators_mistake() -> None:
    with pytest.raises(ConfigError, match=r"CDC_SYNC_KAFKA__EXTRA.*no\.such"):
        TopicReader({"bootstrap.servers": "127.0.0.1:1", "no.such": "1"})


def test_the_daemons_group_is_not_used_even_when_the_properties_name_it(kafka: MockKafka) -> None:
    """A reader that joined the group would take partitions from the daemon."""
    kafka.write("grouped", b"1")
    with reader(kafka, **{"group.id": "commerce-cdc-group"}) as looking:
        assert looking.group_id != "commerce-cdc-group"
        whole = looking.ranges(looking.partitions("grouped"))
        assert [record.value for record in looking.read(whole)] == [b"1"]


def test_a_range_behind_the_start_or_end_reads_what_is_there(kafka: MockKafka) -> None:
    kafka.write("few", b"1")
    with reader(kafka) as looking:
        assert list(looking.read({Partition("few", 0): Range(1, 1)})) == []
        assert [record.value for record in looking.read({Partition("few", 0): Range(0, 9)})] == [b"1"]


# Places


def test_a_place_is_read_as_it_is_printed() -> None:
    place = Place(Partition("a.b-c", 12), 34)
    assert place == place_of(str(place), "other")
    assert Place(Partition("other", 1), 2) == place_of("1/2", "other")


@pytest.mark.parametrize("text", ["", "x", "1", "t/1", "t/1/", "t/a/1", "t/1/-1", "t/1/1/x", "t/1/²", "/"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TOPIC/PARTITION/OFFSET"):
        place_of(text, "dlq")


# Reasons and groups


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            "Product p1: column stock: expected a bigint, got 'a'",
            "Product a b: c/7: column stock: expected a bigint, got 'it\\'s'",
            True,
        ),
        (
            "Product p1: column stock: expected a bigint, got 'a'",
            'Product 018f-aa b: column stock: expected a bigint, got "it\'s"',
            True,
        ),
        ("Product p1: column stock: is null", "Product p1: column sku: is null", False),
        ("Field `a` must be an int32.", "Field `a` must be an int64.", False),
        ("Field `a` must be a string.", "Field `b` must be a string.", False),
        ("Could not find a document with id: x", "Could not find a document with id: y", True),
        ("JSON is malformed (byte 12)", "JSON is malformed (byte 1)", True),
        ("column t: got '2026-01-01T00:00:00Z'", "column t: got 'aaaa…", True),
        ("got [1, 2, 3]", "got [4]", True),
    ],
)
def test_reasons_that_differ_in_a_rows_values_only_are_the_same(one: str, other: str, same: bool) -> None:
    assert same == (normalised(one, "Product") == normalised(other, "Product"))


@given(st.text("ab: ,`("), st.integers(0), st.integers(0), st.text("ab: ,`("))
def test_numbers_never_tell_reasons_apart(before: str, one: int, other: int, after: str) -> None:
    reasons = {normalised(f"{before} {number} {after}", "Product") for number in (one, other)}
    assert len(reasons) == 1


def test_groups_count_letters_by_origin_stage_class_and_reason_most_frequent_first() -> None:
    lines = [line(f"Product p{n}: column stock: is null", n, stored_at_ms=n) for n in (1, 3, 2)]
    lines += [line("Product p1: column stock: is null", 9, stage="TASK_PUT")]
    lines += [line("Product p1: column stock: is null", 9, origin=Partition("nx.seller.public.Device", 0))]
    groups = grouped(lines)
    assert [group.count for group in groups] == [3, 1, 1]
    assert (groups[0].oldest_ms, groups[0].newest_ms, groups[0].example.offset) == (1, 3, 3)


def test_endless_kinds_of_reasons_do_not_take_endless_memory() -> None:
    words = (f"{'abcdefghij'[n % 10]}{'x' * (n // 10)}" for n in range(MAX_GROUPS * 2))
    groups = grouped(line(word, n) for n, word in enumerate(words))
    assert len(groups) == MAX_GROUPS + 1
    assert {group.reason: group.count for group in groups if group.count > 1} == {OTHERS: MAX_GROUPS}


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Filter(), True),
        (Filter(topic="nx.seller.public.Product", table="product", stage="transformation"), True),
        (Filter(error="mappingerror", since_ms=1), True),
        (Filter(topic="nx.seller.public.product"), False),
        (Filter(table="Device"), False),
        (Filter(stage="TASK_PUT"), False),
        (Filter(error="DecodeError"), False),
        (Filter(since_ms=2), False),
    ],
)
def test_a_filter_wants_all_that_it_names(wanted: Filter, matches: bool) -> None:
    assert matches == wanted.matches(line())
