"""The tour, as a person and as CI run it; its recording, and its judgement of itself.

The three tours run side by side: most of a tour is waiting for the mock broker's group to form.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from cdc_sync.demo.index import Index
from cdc_sync.demo.recording import Recording, Step, digest, load, made_current
from cdc_sync.demo.screen import dong, duration
from cdc_sync.demo.stage import Totals
from cdc_sync.demo.trickle import Arrival
from cdc_sync.demo.verdict import Outcome, differences
from cdc_sync.dlq.browse import LetterLine, Place
from cdc_sync.model import Partition

DEADLINE_S = 40.0
ENDS_WITHIN_S = 8  # 2 s, and what a busy machine adds

Process = subprocess.Popen[str]


# Whole tours --------------------------------------------------------------------------------------------


class Terminal(NamedTuple):
    """A tour at a terminal of its own, and our end of it."""

    process: Process
    fd: int

    def say(self, line: str) -> None:
        os.write(self.fd, line.encode() + b"\n")

    def read_until(self, wanted: str) -> str:
        """What it writes, up to this text."""
        seen = b""
        deadline = time.monotonic() + DEADLINE_S
        while wanted.encode() not in seen:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{wanted!r} did not come:\n{seen.decode()}"
            if select.select([self.fd], [], [], left_s)[0]:
                seen += os.read(self.fd, 65_536)
        return seen.decode()


class Tours(NamedTuple):
    """Tours that have just begun."""

    once: Process
    endless: Process
    terminal: Terminal


def started(*arguments: str, **options: Any) -> Process:
    """`cdc-sync` with settings in the environment that would ruin a daemon: the tour has its own."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    broken = {"CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS": "nowhere:1", "CDC_SYNC_NO_SUCH": "x", "TERM": "xterm"}
    command = [sys.executable, "-m", "cdc_sync", *arguments]
    return subprocess.Popen(command, text=True, env=os.environ | broken, **pipes)


@pytest.fixture(scope="module")
def tours() -> Iterator[Tours]:
    ours, theirs = pty.openpty()
    at_terminal = started("demo", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    begun = Tours(started("demo", "--once"), started("demo"), Terminal(at_terminal, ours))
    yield begun
    for process in (begun.once, begun.endless, at_terminal):
        process.kill()
        process.communicate()
    os.close(ours)


def test_once_ends_by_itself_and_is_right(tours: Tours) -> None:
    out, err = tours.once.communicate(timeout=DEADLINE_S)
    assert (0, "") == (tours.once.returncode, err), out
    for line in (
        "STAND-IN: librdkafka's mock broker",
        "STAND-IN of ours",
        "/metrics  the real daemon",
        "2 organizers, 4 merchants, 13 categories, 8 devices, 8 sale-channels, 152 products",
        "«Cà» «phê» «sữa» «đá» · Iced milk coffee",
        "Product p-mystery: column base_price: expected a decimal number, got 'NAN'",
        "curl -H 'X-TYPESENSE-API-KEY: demo-key' 'http://127.0.0.1:",
        "renamed, its long story is not in the event",
        "kiểu mới — 3 of 156 products",
        "checked         all 190 documents are what the database says",
        "from commit to searchable (62 changes)",
        "cdc-sync doctor && cdc-sync run",
    ):
        assert line in out
    assert "search> " not in out
    assert "\033[" not in out


def test_ctrl_c_ends_it_in_order(tours: Tours) -> None:
    """Without a terminal there is no prompt: changes are printed until Ctrl-C."""
    assert tours.endless.stdout is not None
    lines = iter(tours.endless.stdout)
    begin = next(line for line in lines if line.startswith("Live changes"))
    first = next(lines)
    at = time.monotonic()
    tours.endless.send_signal(signal.SIGINT)
    rest, err = tours.endless.communicate(timeout=DEADLINE_S)
    assert (0, "") == (tours.endless.returncode, err), rest
    assert time.monotonic() - at < ENDS_WITHIN_S
    assert " ms  " in first
    assert "What the daemon did" in rest
    assert "search> " not in begin + first + rest


def test_a_terminal_gets_a_prompt(tours: Tours) -> None:
    process, terminal = tours.terminal.process, tours.terminal
    assert "\033[" in terminal.read_until("search> ")
    for line, wanted in (
        ("tra sen", "Tiệm Trà Mèo Ngủ Nướng"),
        (":facets bún", "Bếp Chiếc Lá Lạc Đường 18"),
        (":dlq", "p-mystery"),
        (":stats", "1 dead_lettered"),
        (":help", ":quit"),
        (":nonsense", "there is no :nonsense"),
        (":watch", " ms\033[0m  "),
        ("", "search> "),
    ):
        terminal.say(line)
        terminal.read_until(wanted)
    terminal.say(":quit")
    assert "freshness" in terminal.read_until("cdc-sync run")
    assert process.wait(DEADLINE_S) == 0


def test_the_stand_in_alone() -> None:
    process = started("typesense-standin", "--port", "0", "--api-key", "k")
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        port = int(said.partition("127.0.0.1:")[2].split()[0])
        with Index(port, "k") as index:
            assert index.document("products", "p-1") is None
        process.send_signal(signal.SIGTERM)
        assert ("", "") == process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
    finally:
        process.kill()


# The recording ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording() -> Recording:
    return load()


def test_only_the_commit_time_is_made_current(recording: Recording) -> None:
    for message in (m for step in recording.day for m in step.messages if m.value is not None):
        value = message.value or b""
        current = made_current(value, 1)
        before, after = json.loads(value), json.loads(current or b"")
        assert after["source"].pop("ts_ms") == 1
        recorded = before["source"].pop("ts_ms")
        assert before == after
        assert current == value.replace(b'"ts_ms":%d,"snapshot"' % recorded, b'"ts_ms":1,"snapshot"')
    assert made_current(None, 1) is None


def test_what_looks_like_a_commit_time_in_a_row_stays() -> None:
    row = json.dumps({"metadata": json.dumps({"source": {"ts_ms": 5}}, separators=(",", ":"))}).encode()
    value = b'{"after":' + row + b',"source":{"ts_ms":7,"ts_us":7000}}'
    assert made_current(value, 9) == b'{"after":' + row + b',"source":{"ts_ms":9,"ts_us":7000}}'


def test_the_recording_shows_what_it_should(recording: Recording) -> None:
    values = [m.value or b"" for step in recording.day for m in step.messages]
    assert any(b"__debezium_unavailable_value" in value for value in values)
    assert b"" in values  # tombstones
    assert {b"c", b"u", b"d"} <= {json.loads(v)["op"].encode() for v in values if v}
    assert {b"r"} == {json.loads(m.value or b"{}")["op"].encode() for m in recording.snapshot}
    assert len({m.topic for m in recording.snapshot}) == 7
    assert len(recording.day) > 50


# Its judgement ------------------------------------------------------------------------------------------

DOCUMENT = {"id": "p", "stock": 1}


class Documents(Index):
    """Products that are simply said."""

    def __init__(self, *documents: Mapping[str, Any]) -> None:
        super().__init__(1, "")
        self._said = {d["id"]: dict(d) for d in documents}

    def documents(self, collection: str) -> dict[str, dict[str, Any]]:
        return self._said


def expecting(*documents: Mapping[str, Any]) -> Recording:
    digests = {"products": {d["id"]: digest(d) for d in documents}}
    return Recording((), (), Step("", "", ()), digests, [("Product", "x")], {})


def outcome(**counts: int) -> Outcome:
    origin = Partition("a.Product", 0)
    letter = LetterLine(Place(Partition("dlq", 0), 0), origin, 0, "s", "e", "r", 0)
    totals = Totals({"consumed": 3, "written": 2, "dead_lettered": 1} | counts)
    return Outcome(totals, [letter], [Arrival(1, Step("price", "up", ()), 0.01)])


def test_what_is_as_expected_has_no_differences() -> None:
    index = Documents(DOCUMENT | {"_own": 1})
    assert [] == differences(index, expecting(DOCUMENT), outcome())


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([], "products: 0 documents, expected 1"),
        ([DOCUMENT, {"id": "more"}], "products: different more (1 in all)"),
        ([DOCUMENT | {"stock": 2}], "products: different p (1 in all)"),
        ([DOCUMENT | {"stock": 1.5}], "products: different p (1 in all)"),
    ],
)
def test_a_document_that_differs_is_named(documents: list[dict[str, Any]], said: str) -> None:
    assert said in differences(Documents(*documents), expecting(DOCUMENT), outcome())


def test_the_bookkeeping_is_judged_too() -> None:
    right = outcome()
    lost = right._replace(arrivals=[right.arrivals[0]._replace(is_lost=True)])
    index, wanted = Documents(DOCUMENT), expecting(DOCUMENT)
    assert ["3 events consumed, 2 accounted for"] == differences(index, wanted, outcome(written=1))
    assert ["not searchable in time: price, up"] == differences(index, wanted, lost)
    no_letters = differences(index, wanted, right._replace(letters=[]))
    assert no_letters == ["1 events dead-lettered, 0 letters", "dead letters of [], expected ['Product']"]


def test_times_and_prices_are_told_plainly() -> None:
    assert ("12 ms", "1.5 s") == (duration(0.0123), duration(1.5))
    assert dong(1_234_000.0) == "1.234.000 ₫"
