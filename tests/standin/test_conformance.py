"""The stand-in answers like a real Typesense 29.0: the recorded corpus, replayed topic by topic."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_sync.typesense_standin import StandIn

CORPUS = Path(__file__).parents[2].parent / "shared" / "typesense-conformance"
TOPICS = sorted(path.stem for path in (CORPUS / "cases").glob("*.json"))

LEFT_OUT: dict[str, str] = {}
"""Cases the stand-in does not answer like the real server, as ``topic/name``, and why not.

A case that passes all the same fails the test: the list stays true.
"""

pytestmark = pytest.mark.skipif(not TOPICS, reason=f"no recorded corpus at {CORPUS}")


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def _cases(topic: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CORPUS / "cases" / f"{topic}.json").read_bytes())
    return content


def _check(server: StandIn, content: dict[str, Any], tmp_path: Path) -> tuple[int, str]:
    (tmp_path / "cases.json").write_text(json.dumps(content))
    command = [sys.executable, str(CORPUS / "check.py"), "--url", server.url]
    command += ["--api-key", server.api_key, "--cases", str(tmp_path / "cases.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("topic", TOPICS)
def test_topic(server: StandIn, topic: str, tmp_path: Path) -> None:
    content = _cases(topic)
    kept = [case for case in content["cases"] if f"{topic}/{case['name']}" not in LEFT_OUT]
    status, output = _check(server, content | {"cases": kept}, tmp_path)
    assert status == 0, output


def test_left_out_cases_still_fail(server: StandIn, tmp_path: Path) -> None:
    for label in LEFT_OUT:
        topic, _, name = label.partition("/")
        content = _cases(topic)
        left_out = [case for case in content["cases"] if case["name"] == name]
        assert left_out, f"no such case: {label}"
        status, _ = _check(server, content | {"cases": left_out}, tmp_path)
        assert status == 1, f"{label} passes now: take it off the list"
