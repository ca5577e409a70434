"""What Typesense's answers mean: every line its outcome, every failure the right patience."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.errors import SinkAmbiguous, SinkMisconfigured, SinkUnavailable, TransientError
from cdc_sync.sink.answers import Answer, failure, import_lines, message_of, queued_writes, stored_documents
from cdc_sync.sink.requests import LineError
from tests.strategies import json_objects, texts

SUCCESS = '{"success":true}'


def answer(*lines: str, status: int = 200) -> Answer:
    """An answer of these lines."""
    return Answer(status, "\n".join(lines).encode())


def failed(code: int, text: str) -> str:
    """A failed line, as Typesense prints it."""
    return json.dumps({"code": code, "error": text, "success": False}, separators=(",", ":"))


OUTCOMES = st.lists(st.one_of(st.none(), st.tuples(st.integers(400, 599), texts())), min_size=1)


@given(OUTCOMES, st.booleans())
def test_every_line_has_its_outcome(outcomes: list[tuple[int, str] | None], with_id: bool) -> None:
    """In the order that the documents were sent, also when a success says more than that."""
    success = '{"id":"a","success":true}' if with_id else SUCCESS
    lines = [success if o is None else failed(*o) for o in outcomes]
    expected = [None if o is None else LineError(*o) for o in outcomes]
    assert expected == list(import_lines(answer(*lines), len(outcomes)))


@given(OUTCOMES, st.integers(-3, 3).filter(bool))
def test_lines_must_be_as_many_as_documents(outcomes: list[tuple[int, str] | None], off_by: int) -> None:
    """Or the tail is unknown, and nothing of the answer is believed."""
    lines = [SUCCESS if o is None else failed(*o) for o in outcomes]
    if len(lines) + off_by < 1:
        return
    with pytest.raises(SinkAmbiguous):
        import_lines(answer(*lines), len(lines) + off_by)


@pytest.mark.parametrize("count", [1, 3])
def test_a_server_that_stopped_in_the_middle(count: int) -> None:
    """It puts an error body where the rest of the lines would be; that is an outage, no poison."""
    lines = [SUCCESS] * (count - 1) + [
        '{"message": "Rejecting write: running out of resource type: OUT_OF_DISK"}'
    ]
    with pytest.raises(SinkUnavailable, match="OUT_OF_DISK"):
        import_lines(answer(*lines), 3)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "x",
        '{"success":false}',
        '{"code":"x","error":"e","success":false}',
        '{"success":1}',
        "\xff",
    ],
)
def test_a_line_that_is_none(line: str) -> None:
    """A garbled answer is no answer: the request is sent again, and no document is blamed."""
    body = Answer(200, SUCCESS.encode() + b"\n" + line.encode("latin-1"))
    with pytest.raises(SinkAmbiguous):
        import_lines(body, 2)


def test_words_of_an_answer_inside_an_error() -> None:
    """A document's own text in an error cannot pass for a success or an outage."""
    text = f'Field `{SUCCESS}` "message" must be a string.'
    assert [None, LineError(400, text)] == list(import_lines(answer(SUCCESS, failed(400, text)), 2))


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (503, "Not Ready or Lagging", SinkUnavailable),
        (429, "Rate limit exceeded or blocked", SinkUnavailable),
        (422, "Rejecting write: running out of resource type: OUT_OF_DISK", SinkUnavailable),
        (422, "Skipping write: server is configured to skip writes.", SinkUnavailable),
        (422, "Another collection update operation is in progress.", SinkUnavailable),
        (500, "Could not find a leader.", SinkUnavailable),
        (401, "Forbidden - a valid `x-typesense-api-key` header must be sent.", SinkMisconfigured),
        (404, "Collection not found", SinkMisconfigured),
        (404, "Not Found", SinkMisconfigured),
        (400, "Could not parse the filter query.", SinkMisconfigured),
        (500, "Internal error", SinkAmbiguous),
        (502, "Bad Gateway", SinkAmbiguous),
        (504, "Gateway Timeout", SinkAmbiguous),
        (301, "Moved", SinkAmbiguous),
    ],
)
def test_how_to_wait(status: int, message: str, expected: type[TransientError]) -> None:
    """Whether it was applied, and whether an operator has to act; in no case a document is to blame."""
    error = failure("import", Answer(status, json.dumps({"message": message}).encode()))
    assert expected is type(error)
    assert all(word in str(error) for word in ("import", str(status), message))


@pytest.mark.parametrize(("status", "word"), [(401, "API_KEY"), (404, "doctor")])
def test_the_cure_is_named(status: int, word: str) -> None:
    """Where an operator has to act, the line says what to look at."""
    assert word in str(failure("import", answer('{"message": "Collection not found"}', status=status)))


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_is_no_failure(status: int) -> None:
    """Whatever the body is."""
    assert failure("import", Answer(status, b"")) is None


@given(st.binary(max_size=400), st.sampled_from([400, 401, 404, 409, 422, 429, 500, 503]))
def test_any_error_body_is_read(body: bytes, status: int) -> None:
    """Error bodies are not always JSON, nor UTF-8, nor short."""
    assert len(str(failure("read", Answer(status, body)))) < 500


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "message": "Not Found"}', "Not Found"),
        (
            b'{"message": "Could not find a document with id: a"b"}',
            '{"message": "Could not find a document with id: a"b"}',
        ),
        (b'["message"]', '["message"]'),
        (b'"message"', '"message"'),
        (b'{"message": 5}', "5"),
        (b"", ""),
    ],
)
def test_the_servers_own_words(body: bytes, expected: str) -> None:
    """As they are, where they cannot be parsed."""
    assert expected == message_of(Answer(400, body))


@given(st.lists(json_objects()), st.booleans())
def test_an_export_is_its_documents(documents: list[Any], ends: bool) -> None:
    """With or without a line end after the last one; nothing is nothing."""
    lines = [json.dumps(document) for document in documents]
    assert documents == stored_documents(answer(*lines, *([""] if ends and lines else [])))


@pytest.mark.parametrize("body", [b'{"id":"a"}\n{"id":', b'{"id":"\xff"}', b"x", b'{"message": "Not Rea'])
def test_an_export_that_broke_off(body: bytes) -> None:
    """Is read again."""
    with pytest.raises(SinkUnavailable):
        stored_documents(Answer(200, body))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"pending_write_batches": 7, "x": {}}', 7),
        (200, b'{"x": 1}', None),
        (200, b"[]", None),
        (200, b"not JSON", None),
        (401, b'{"pending_write_batches": 7}', None),
    ],
)
def test_how_many_writes_wait_inside(status: int, body: bytes, expected: int | None) -> None:
    """Where it does not say, or a key has no right to know, nothing is known."""
    assert expected == queued_writes(Answer(status, body))
