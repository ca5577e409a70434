"""Names of WebSocket topics and rooms, built and checked.

`ws:{namespace}.{domain}.{entity}` is what a frame says, `wr:{namespace}/{path}` is where it goes.
A segment that comes from outside (a merchant's id) can never make another room of it: no separator, no
wildcard, no white space, no control character passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["MAX_NAME", "WebSocketRooms", "WebSocketTopics", "is_room", "is_topic"]

MAX_NAME: Final = 256
WORD: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@~-]*", re.ASCII)
MERCHANTS: Final = "merchants"
OBSERVATION: Final = "observation"
MIN_WORDS: Final = 3
"""`outreach.inquiry.submitted` has one word more than the pattern says."""


class WebSocketTopics:
    """Builds the `event` of a frame."""

    @staticmethod
    def topic(namespace: str, domain: str, *entity: str) -> str:
        """`ws:{namespace}.{domain}.{entity}`. Raises `ValueError` for a word that is none."""
        words = (namespace, domain, *entity)
        for word in words:
            if not WORD.fullmatch(word):
                raise ValueError(f"{word!r} is no word of a topic: lower-case letters, digits and dashes")
        if len(words) < MIN_WORDS:
            raise ValueError("a topic has a namespace, a domain and an entity")
        return limited("ws:" + ".".join(words))

    @classmethod
    def observation(cls, domain: str, *entity: str) -> str:
        """`ws:observation.{domain}.{entity}`: what the catalog has."""
        return cls.topic(OBSERVATION, domain, *entity)


class WebSocketRooms:
    """Builds a frame's destination."""

    @staticmethod
    def room(namespace: str, *path: str) -> str:
        """`wr:{namespace}/{path}`. Raises `ValueError` for a segment that is none."""
        segments = (namespace, *path)
        for segment in segments:
            if not SEGMENT.fullmatch(segment):
                raise ValueError(f"{segment!r} is no segment of a room")
        if not path:
            raise ValueError("a room has a namespace and a path")
        return limited("wr:" + "/".join(segments))

    @classmethod
    def merchant(cls, merchant_id: str) -> str:
        """`wr:observation/merchants/{merchantId}`."""
        return cls.room(OBSERVATION, MERCHANTS, merchant_id)


def limited(name: str) -> str:
    """The name, unless it is longer than any may be."""
    if len(name) > MAX_NAME:
        raise ValueError(f"longer than {MAX_NAME} characters")
    return name


def is_topic(name: str) -> bool:
    """Whether a frame may say this."""
    return name.startswith("ws:") and accepts(WebSocketTopics.topic, name[3:].split("."))


def is_room(name: str) -> bool:
    """Whether a frame may go there."""
    return name.startswith("wr:") and accepts(WebSocketRooms.room, name[3:].split("/"))


def accepts(build: Callable[..., str], parts: list[str]) -> bool:
    """Whether these parts make a name."""
    try:
        build(*parts)
    except (ValueError, TypeError):
        return False
    return True
