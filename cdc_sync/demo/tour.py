"""The tour: what is shown, in which order, and how it ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final, NamedTuple

from cdc_sync.demo.index import KEY_HEADER, Index
from cdc_sync.demo.prompt import Prompt
from cdc_sync.demo.recording import Message, Recording, load
from cdc_sync.demo.screen import Screen, duration
from cdc_sync.demo.shopfront import Shopfront
from cdc_sync.demo.stage import API_KEY, Stage
from cdc_sync.demo.trickle import COLLECTIONS, Trickle
from cdc_sync.demo.verdict import Outcome, differences, show_summary, tell_letter

__all__ = ["Options", "run"]

DONE: Final = 0
FAILED: Final = 1

SEARCHES: Final = ("ca phe sua da", "lotus", "gốm men ngọc", "heron", "reads poems starfruit")
SEARCH_AFTER: Final = "kiểu mới"
"""Some products have this in their names after the day, and none before."""

LIVE_EVERY_S: Final = 0.5
ONCE_EVERY_S: Final = 0.02
LOOK_EVERY_S: Final = 0.05
LOG_LINES: Final = 10


class Options(NamedTuple):
    """`once`: the day's changes quickly, a check of everything, the end. `http_port` 0 takes a free one."""

    once: bool
    http_port: int


def run(options: Options) -> int:
    """Give the tour; the exit code. Ctrl-C and SIGTERM end it in order.

    Raises `KeyboardInterrupt` for one that comes before there is anything to tell.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    screen = Screen(sys.stdout)
    with Stage(options.http_port) as stage, Index(stage.standin.port, API_KEY) as index:
        return Tour(screen, stage, index, options).give()


def interrupt(number: int, _frame: FrameType | None) -> None:
    """End once; who cannot wait presses Ctrl-C again."""
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


class Tour:
    """One tour on a stage that is set."""

    def __init__(self, screen: Screen, stage: Stage, index: Index, options: Options) -> None:
        self._screen = screen
        self._stage = stage
        self._index = index
        self._once = options.once
        self._front = Shopfront(screen, index)
        self._recording = load()
        watcher = Index(stage.standin.port, API_KEY)
        every_s = ONCE_EVERY_S if options.once else LIVE_EVERY_S
        self._trickle = Trickle(
            stage.broker, watcher, self._recording, every_s=every_s, forever=not options.once
        )

    def give(self) -> int:
        """From the first line to the last; the exit code."""
        code = DONE
        try:
            self._introduce()
            self._fill()
            self._trickle.start()
            if self._screen.is_terminal and sys.stdin.isatty() and not self._once:
                self._screen.line()
                self._screen.line("  Changes keep coming while you search; :help says what else there is.")
                Prompt(self._screen, self._front, self._stage, self._trickle).run()
            else:
                self._show_changes()
        except KeyboardInterrupt:
            self._screen.line()
        if not self._stage.is_running or self._trickle.failure is not None:
            code = FAILED
        return self._conclude() or code

    # Before --------------------------------------------------------------------------------------------

    def _introduce(self) -> None:
        screen, stage, made = self._screen, self._stage, self._recording.made_with
        parts = ", ".join(f"{part} {version}" for part, version in made.items())
        screen.line(screen.bold("cdc-sync demo: PostgreSQL → Debezium → Kafka → cdc-sync → Typesense"))
        screen.fact("Kafka", f"{stage.broker.address}  a STAND-IN: librdkafka's mock broker, in this process")
        screen.fact("Typesense", f"{stage.standin.url}  a STAND-IN of ours, in this process; key {API_KEY}")
        screen.fact("cdc-sync", f"{stage.http}/metrics  the real daemon, as `cdc-sync run` runs it")
        screen.fact("messages", f"recorded from {parts}")
        screen.fact("", "fed as they are, but for the live ones' source.ts_ms: it says when they are fed")

    def _fill(self) -> None:
        """Feed the initial snapshot, the poison last, and show what can be found meanwhile."""
        stage, screen, snapshot = self._stage, self._screen, self._recording.snapshot
        screen.title("The initial snapshot")
        good = [message for message in snapshot if not is_poison(message, self._recording)]
        stage.broker.feed(good)
        began = time.monotonic()
        stage.wait_ready()
        joined = time.monotonic()
        stage.wait_consumed(len(good))
        screen.fact("joined", f"the consumer group, after {duration(joined - began)} (the mock waits 3 s)")
        counts = [f"{self._index.count(name)} {name}" for name in COLLECTIONS.values()]
        screen.fact("read", f"{len(good)} messages in {duration(time.monotonic() - joined)}")
        screen.fact("searchable", ", ".join(counts))
        stage.broker.feed(message for message in snapshot if is_poison(message, self._recording))
        self._show_searches(SEARCHES)
        stage.wait_consumed(len(snapshot))
        screen.title("A row that no document can hold is a dead letter; its neighbours are not held up")
        for letter in stage.letters():
            screen.line(f"  {tell_letter(letter)}")
        self._show_addresses()

    def _show_searches(self, queries: Sequence[str]) -> None:
        self._screen.title("Some searches")
        for query in queries:
            self._front.show_hits(query, limit=3)

    def _show_addresses(self) -> None:
        self._screen.title("Try from another terminal")
        where = f"{self._stage.standin.url}/collections/products/documents/search"
        self._screen.line(f"  curl -H '{KEY_HEADER}: {API_KEY}' '{where}?q=tra+sen&query_by=name_vi,name_en'")
        self._screen.line(f"  curl {self._stage.http}/metrics")

    # Live ----------------------------------------------------------------------------------------------

    def _show_changes(self) -> None:
        """Every change as it comes, until the day is over (or, without an end, until Ctrl-C)."""
        self._screen.title("Live changes, each with its time from commit to searchable")
        shown = 0
        is_running = True
        while is_running and self._stage.is_running:
            is_running = self._trickle.is_running  # asked first: what came before its end is shown
            for arrival in self._trickle.arrivals(after=shown):
                self._front.show_arrival(arrival)
                shown = arrival.number
            time.sleep(LOOK_EVERY_S)
        self._show_searches([SEARCH_AFTER])

    # After ---------------------------------------------------------------------------------------------

    def _conclude(self) -> int:
        """End the daemon, say what happened, and judge a tour that was seen to its end."""
        is_complete = self._once and self._trickle.is_complete
        self._trickle.stop(0.3)
        letters = self._stage.letters() if self._stage.is_running else []
        has_ended = self._stage.end()
        outcome = Outcome(self._stage.totals(), letters, self._trickle.arrivals())
        show_summary(self._screen, outcome)
        problems = differences(self._index, self._recording, outcome) if is_complete else []
        if self._trickle.failure is not None:
            problems.append(str(self._trickle.failure))
        if is_complete and not problems:
            documents = sum(len(of) for of in self._recording.digests.values())
            self._screen.fact("checked", f"all {documents} documents are what the database says")
        if not has_ended:
            self._screen.fact("note", "the daemon had not finished when the demo left")
        self._show_way_on()
        if problems:
            self._complain(problems)
        return FAILED if problems else DONE

    def _show_way_on(self) -> None:
        self._screen.title("For real")
        self._screen.line("  export CDC_SYNC_KAFKA__BOOTSTRAP_SERVERS=… CDC_SYNC_TYPESENSE__URL=…")
        self._screen.line("  export CDC_SYNC_TYPESENSE__API_KEY_FILE=…")
        self._screen.line(
            "  cdc-sync doctor && cdc-sync run    (the connector: connect/debezium-config.json)"
        )

    def _complain(self, problems: Sequence[str]) -> None:
        for problem in problems:
            print(f"cdc-sync demo: {problem}", file=sys.stderr)
        for line in list(self._stage.log.lines)[-LOG_LINES:]:
            print(f"  the daemon's log: {line}", file=sys.stderr)


def is_poison(message: Message, recording: Recording) -> bool:
    """Whether this message is the one that cannot be written."""
    return any(
        message.table == table and (message.key or b"") == b'{"id":"%s"}' % identity.encode()
        for table, identity in recording.poison
    )
