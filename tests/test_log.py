"""structlog, set up once: a JSON object a line for machines, columns for people, always on standard error."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from cdc_sync.log import configure_logging, get_logger


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The next test finds structlog as this one did."""
    yield
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged as JSON; nothing is on standard output."""
    out, err = capsys.readouterr()
    assert "" == out
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize("style", ["json", "auto"])
def test_a_line_is_an_object(style: Literal["json", "auto"], capsys: pytest.CaptureFixture[str]) -> None:
    """Facts are fields; the time is UTC; what JSON does not know is shown; `auto` is JSON off a terminal."""
    configure_logging("info", style)
    get_logger("sink").warning("waiting", lane="đ\nx", count=3, found={1}, why=ValueError("no"))
    [line] = lines(capsys)
    at = line.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", at)
    assert {
        "event": "waiting", "level": "warning", "room": "sink", "lane": "đ\nx", "count": 3,
        "found": "{1}", "why": "ValueError('no')",
    } == line  # fmt: skip


def test_an_exception_is_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    """On the one line, too."""
    configure_logging("info", "json")
    try:
        raise KeyError("k")
    except KeyError:
        get_logger("sink").exception("broke")
    [line] = lines(capsys)
    assert ("error", True) == (line["level"], "KeyError: 'k'" in line["exception"])


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_what_is_less_severe_is_not_said(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level, "json")
    log = get_logger("daemon")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("x")
    severities = ["debug", "info", "warning", "error"]
    assert severities[severities.index(level) :] == [line["level"] for line in lines(capsys)]


def test_a_logger_that_was_made_before_speaks_like_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Rooms make theirs whenever they are made."""
    log = get_logger("early")
    configure_logging("warning", "json")
    log.info("quiet")
    log.warning("loud")
    assert [("early", "loud")] == [(line["room"], line["event"]) for line in lines(capsys)]


def test_a_person_gets_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Not JSON; facts as `name=value`."""
    configure_logging("info", "console")
    get_logger("daemon").info("started", port=9464)
    out, err = capsys.readouterr()
    plain = re.sub(r"\x1b\[\d*m", "", err)
    assert ("", True) == (out, bool(re.search(r"\[info +\] started +.*port=9464.*room=daemon\n$", plain)))


def test_libraries_speak_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    """httpx says every request at info; that is not news."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()  # pytest's; with some there, `basicConfig` does nothing
    try:
        configure_logging("debug", "json")
        logging.getLogger("httpx").info("HTTP Request: GET")
        logging.getLogger("httpx").warning("odd")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert ("", "httpx: odd\n") == capsys.readouterr()
