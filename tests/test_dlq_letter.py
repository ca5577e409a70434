"""A dead letter says where it came from and why, and gives the record back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dlq.letter import letter_headers, read_letter
from cdc_sync.errors import DecodeError, MappingError, RecordError, RejectedError
from cdc_sync.model import Headers, Partition, Record
from tests.factories import record
from tests.strategies import texts

CONNECT = "__connect.errors."

HEADERS = st.lists(
    st.tuples(
        texts().filter(lambda name: not name.startswith(("__connect.errors.", "__cdc_sync."))),
        st.none() | st.binary(),
    ),
    max_size=3,
)


def stored(dead: Record, error: RecordError, offset: int = 0) -> Record:
    """The letter for this record as it lies in the dead letter topic."""
    headers = letter_headers(dead, error, group="g")
    return record(topic="dlq", key=dead.key, value=dead.value, offset=offset, headers=headers, timestamp_ms=9)


@given(
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    headers=HEADERS,
    topic=texts(min_size=1),
    number=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    reason=texts(),
    kind=st.sampled_from([DecodeError, MappingError, RejectedError]),
)
def test_a_letter_gives_back_what_was_put_in(
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    topic: str,
    number: int,
    offset: int,
    reason: str,
    kind: type[RecordError],
) -> None:
    """Bytes, key, headers in their order, position, stage, class and text; null is not empty."""
    dead = record(topic=topic, partition=number, offset=offset, key=key, value=value, headers=headers)
    letter = read_letter(stored(dead, kind(reason), offset=3))
    assert letter is not None
    assert (key, value, list(headers)) == (letter.key, letter.value, list(letter.headers))
    assert (Partition(topic, number), offset) == (letter.origin, letter.origin_offset)
    assert (kind.stage, kind.__name__, reason) == (letter.stage, letter.error_class, letter.reason)
    assert (3, 9) == (letter.position.offset, letter.stored_at_ms)


@pytest.mark.parametrize(
    ("kind", "stage"),
    [(DecodeError, "VALUE_CONVERTER"), (MappingError, "TRANSFORMATION"), (RejectedError, "TASK_PUT")],
)
def test_headers_are_those_of_kafka_connect(kind: type[RecordError], stage: str) -> None:
    """Existing tools read these names and stages."""
    dead = record(topic="nx.t", partition=2, offset=7, headers=[("h", b"1")], timestamp_ms=5)
    headers = letter_headers(dead, kind("why"), group="cdc-sync")
    expected = {
        "topic": b"nx.t",
        "partition": b"2",
        "offset": b"7",
        "connector.name": b"cdc-sync",
        "stage": stage.encode(),
        "exception.class.name": kind.__name__.encode(),
        "exception.message": b"why",
    }
    found = dict(headers)
    assert ("h", b"1") == headers[0]
    assert expected == {name: found[CONNECT + name] for name in expected}
    assert b"5" == found["__cdc_sync.timestamp"]


def test_the_cause_is_told() -> None:
    """The error that ours was raised from says what the parser met."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise DecodeError("outer") from error
    except DecodeError as error:
        headers = dict(letter_headers(record(), error, group="g"))
    assert headers[f"{CONNECT}exception.stacktrace"] == b"KeyError: 'inner'"
    assert headers[f"{CONNECT}exception.message"] == b"outer"


def test_a_letter_that_died_again_tells_its_last_story() -> None:
    """After a replay that failed, the new position and reason count; the record's own headers stay."""
    dead = record(topic="nx.t", offset=7, headers=[("h", b"1")])
    first = stored(dead, DecodeError("first"))
    again = read_letter(stored(first, MappingError("second"), offset=4))
    assert again is not None
    assert (Partition("dlq", 0), "second", "MappingError") == (again.origin, again.reason, again.error_class)
    assert [("h", b"1")] == list(again.headers)


@pytest.mark.parametrize("missing", ["topic", "partition", "offset"])
def test_a_record_that_is_no_letter(missing: str) -> None:
    """Without its position a letter cannot be replayed, and is none."""
    headers = [
        (n, v) for n, v in letter_headers(record(), DecodeError("x"), group="g") if n != CONNECT + missing
    ]
    assert read_letter(record(headers=headers)) is None


@pytest.mark.parametrize(("name", "value"), [("partition", b"x"), ("offset", None), ("offset", b"\xff")])
def test_a_letter_with_a_garbled_position(name: str, value: bytes | None) -> None:
    """Is none either, and no error: anybody can write to a topic."""
    headers = [*letter_headers(record(), DecodeError("x"), group="g"), (CONNECT + name, value)]
    assert read_letter(record(headers=headers)) is None


def test_a_letter_by_another_tool() -> None:
    """Only the position is needed."""
    headers = [(f"{CONNECT}topic", b"t"), (f"{CONNECT}partition", b"1"), (f"{CONNECT}offset", b"2")]
    letter = read_letter(record(headers=headers))
    assert letter is not None
    assert (Partition("t", 1), 2, "", "") == (
        letter.origin,
        letter.origin_offset,
        letter.stage,
        letter.reason,
    )
    assert letter_headers(record(), DecodeError("\ud800"), group="g")
