"""No merchant's id makes another room of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dispatcher.names import MAX_NAME, WebSocketRooms, WebSocketTopics, is_room, is_topic


@given(st.text())
def test_any_id_is_one_segment_or_refused(merchant: str) -> None:
    try:
        room = WebSocketRooms.merchant(merchant)
    except ValueError:
        return
    assert room == f"wr:observation/merchants/{merchant}"
    assert room.count("/") == 2
    assert is_room(room)
    assert merchant.isascii()
    assert not set(merchant) & set("/*?#+[]{}\\ \t\r\n\x00")


@pytest.mark.parametrize(
    "merchant",
    ["", "*", "a/b", "..", ".", "a b", "a\n", "\x00", "é", "a*", "+", "#", "-a", "x" * (MAX_NAME + 1)],
)
def test_what_is_no_segment_is_refused(merchant: str) -> None:
    with pytest.raises(ValueError):
        WebSocketRooms.merchant(merchant)


@pytest.mark.parametrize(
    "merchant", ["1", "m-1", "0b6c2f4e-1111-4222-8333-444455556666", "a.b", "a:b", "12345678901234567890"]
)
def test_usual_ids_are_segments(merchant: str) -> None:
    assert is_room(WebSocketRooms.merchant(merchant))


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_any_words_are_a_topic_or_refused(words: list[str]) -> None:
    try:
        topic = WebSocketTopics.topic(words[0], *words[1:])
    except (ValueError, TypeError):
        return
    assert is_topic(topic)
    assert topic == "ws:" + ".".join(words)
    assert len(words) >= 3


@pytest.mark.parametrize(
    "name", ["", "ws:", "ws:a.b", "ws:a..c", "ws:A.b.c", "ws:a.b.*", "wr:a", "wr:a/", "xx:a.b.c"]
)
def test_what_is_no_name(name: str) -> None:
    assert not is_topic(name)
    assert not is_room(name)
