"""What Debezium wrote about the demo's catalogue, and what the collections must hold after it.

`recording.jsonl.gz` holds one message a line, as base64, with the step that it belongs to: 0 is the initial
snapshot. `story.json` says what each step is and gives a digest of every document after the last of them.
Both are written by `python -m tools.record_demo` from a real PostgreSQL, Debezium and Kafka.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple

__all__ = ["MESSAGES", "STORY", "Message", "Recording", "Step", "digest", "load", "made_current"]

MESSAGES: Final = "recording.jsonl.gz"
STORY: Final = "story.json"

COMMIT_TIME: Final = re.compile(rb'("source":\{[^{}]*?"ts_ms":)\d+')
"""Quotes within a row's values are escaped, so only the envelope's own `source` matches."""


class Message(NamedTuple):
    """One recorded message."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    @property
    def table(self) -> str:
        """The table that it is about."""
        return self.topic.rpartition(".")[2]


class Step(NamedTuple):
    """What happened in the database at one moment, and the messages that tell of it."""

    kind: str
    what: str
    messages: Sequence[Message]


class Recording(NamedTuple):
    """The whole recording.

    `snapshot` and then `day` lead to `digests` (collection → id → digest). `closing` leads from there back
    to the rows of the snapshot, so that the day can begin again. `poison` are the keys of the messages that
    must become dead letters. `made_with` names the parts that wrote it.
    """

    snapshot: Sequence[Message]
    day: Sequence[Step]
    closing: Step
    digests: Mapping[str, Mapping[str, str]]
    poison: Sequence[tuple[str, str]]
    made_with: Mapping[str, str]


def load() -> Recording:
    """The recording that is installed with this package."""
    folder = files("cdc_sync.demo")
    story: dict[str, Any] = json.loads(folder.joinpath(STORY).read_text("utf-8"))
    steps: list[list[Message]] = [[] for _ in range(len(story["steps"]) + 1)]
    for line in gzip.decompress(folder.joinpath(MESSAGES).read_bytes()).splitlines():
        facts = json.loads(line)
        steps[facts["step"]].append(message(facts))
    told = [Step(s["kind"], s["what"], m) for s, m in zip(story["steps"], steps[1:], strict=True)]
    return Recording(
        snapshot=steps[0],
        day=told[:-1],
        closing=told[-1],
        digests=story["digests"],
        poison=[(table, identity) for table, identity in story["poison"]],
        made_with=story["made_with"],
    )


def message(facts: Mapping[str, Any]) -> Message:
    """A line of the recording."""
    return Message(
        facts["topic"],
        facts["partition"],
        decoded(facts["key"]),
        decoded(facts["value"]),
        [(name, decoded(value)) for name, value in facts["headers"]],
    )


def decoded(text: str | None) -> bytes | None:
    """Bytes from base64."""
    return None if text is None else b64decode(text)


def made_current(value: bytes | None, now_ms: int) -> bytes | None:
    """The value with `source.ts_ms` (the commit) as if it were now; every other byte stays."""
    return None if value is None else COMMIT_TIME.sub(rb"\g<1>%d" % now_ms, value, count=1)


def digest(document: Mapping[str, Any]) -> str:
    """A short hash of a document's contents, without the fields of the daemon's own (`_…`)."""
    facts = {name: value for name, value in document.items() if not name.startswith("_")}
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
