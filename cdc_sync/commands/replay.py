"""`cdc-sync dlq replay`: dead letters applied, unless a later event of their row has decided."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cdc_sync.commands.door import (
    DONE,
    FAILED,
    OneLineParser,
    Subcommands,
    add_command,
    positive,
    printable,
    started,
    warn,
)
from cdc_sync.commands.letters import add_filters, filter_of, reader_of, since_ms

if TYPE_CHECKING:
    from cdc_sync.config import Settings
    from cdc_sync.control.search import Identity
    from cdc_sync.control.tail import Tail
    from cdc_sync.dlq.browse import LetterLine, Letters
    from cdc_sync.reader import TopicReader
    from cdc_sync.replay import Entry, Judged

__all__ = ["add_to"]

REPLAY: Final = """\
Applies dead letters after their cause is gone. A letter whose row has a later event is superseded: nothing
is written, whatever that event was, a delete included. The log is searched for it from the letter's own
record on; where retention has removed that part of the log, the letter is unproven and left alone.

The daemons do it: each letter is applied by the owner of its partition, in order with its stream, while
everything else goes on. Where none runs, this command runs one until the letters are done. Every outcome is
remembered, so a second replay repeats nothing; killed in the middle, what was asked for is still done.

On a terminal: progress, then the outcomes by reason. Elsewhere, or with --json: one JSON object a letter.
Exit code 1 when a letter failed again, is unproven, or was not answered."""

EXAMPLES: Final = """\
  cdc-sync dlq replay --dry-run                      what would become of every letter
  cdc-sync dlq replay --table Product --since 2h     those of a table, stored in the last two hours
  cdc-sync dlq replay --key p-17                     those of a row
  cdc-sync dlq replay --offsets 4000-4999 --topic nx.seller.public.Product --partition 2
  cdc-sync dlq replay --again --error RejectedError  also those that a replay has failed on before"""


def add_to(subcommands: Subcommands[OneLineParser]) -> None:
    """`dlq replay`."""
    replay = add_command(
        subcommands, "replay", run, summary="apply them", description=REPLAY, examples=EXAMPLES
    )
    add_filters(replay)
    replay.add_argument("--partition", type=whole, metavar="N", help="only letters from this partition")
    replay.add_argument(
        "--offsets", type=offset_range, metavar="A-B", help="only letters of records from offset A to B"
    )
    replay.add_argument("--key", help="only letters of this row: its id, or its key as JSON")
    replay.add_argument(
        "--until", type=since_ms, metavar="WHEN", help="only letters stored before: as with --since"
    )
    replay.add_argument("--limit", type=positive, metavar="N", help="at most N letters, the oldest first")
    replay.add_argument("--dry-run", action="store_true", help="show the fate of each letter, change nothing")
    replay.add_argument(
        "--again", action="store_true", help="also letters that have an outcome already (failed ones, say)"
    )
    replay.add_argument(
        "--unproven",
        action="store_true",
        help="also letters behind which retention has removed a part of the log: what is left of it decides",
    )
    replay.add_argument(
        "--timeout", type=positive, default=60, metavar="S", help="wait for an answer (default: 60 s)"
    )
    replay.add_argument("--json", action="store_true", help="one JSON object a letter")


def whole(text: str) -> int:
    """An option's whole number from 0 on."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def offset_range(text: str) -> tuple[int, int]:
    """`A-B`, or `A` alone."""
    first, _, last = text.partition("-")
    ends = whole(first), whole(last or first)
    if ends[1] < ends[0]:
        raise argparse.ArgumentTypeError(f"{text!r}: the first offset is greater than the last")
    return ends


def run(options: argparse.Namespace) -> int:
    """`cdc-sync dlq replay`."""
    from cdc_sync.app import kafka_config
    from cdc_sync.control.tail import Tail
    from cdc_sync.dlq.browse import Letters
    from cdc_sync.replay import entries_of

    settings = started()
    report = Report(as_json=options.json or not sys.stdout.isatty())
    with reader_of(settings) as reader:
        letters = Letters(reader, settings.kafka.dlq_topic)
        with contextlib.closing(Tail(kafka_config(settings), settings.kafka.control_topic)) as tail:
            fates = fates_of(settings, reader, letters, entries_of(tail), options)
            report.expected = len(fates)
            if options.dry_run:
                for judged in fates:
                    report.told(judged)
            elif fates:
                carry_out(settings, tail, letters, fates, report.told, options.timeout)
    report.finish(is_dry=options.dry_run)
    return FAILED if report.has_failed else DONE


def fates_of(
    settings: Settings,
    reader: TopicReader,
    letters: Letters,
    entries: Mapping[str, Entry],
    options: argparse.Namespace,
) -> list[Judged]:
    """What would become of each letter that is wanted and has no outcome."""
    from cdc_sync.app import make_corridor
    from cdc_sync.control.clerk import searched
    from cdc_sync.control.errands import replay_key
    from cdc_sync.replay import candidates, is_settled, judged

    decoder, corridor = make_corridor(settings)

    def is_wanted(line: LetterLine, row: Identity | None) -> bool:
        is_done = is_settled(entries.get(replay_key(str(line.place)))) and not options.again
        return not is_done and wanted(line, row, options)

    found = list(candidates(letters.all(), is_wanted, decoder.identity, corridor.change_of))
    if options.limit is not None:
        found = sorted(found, key=lambda c: (c.line.stored_at_ms, c.line.place))[: options.limit]
    return list(
        judged(
            found,
            lambda search: searched(reader, search, decoder.identity),
            trust_what_is_left=options.unproven,
        )
    )


def carry_out(
    settings: Settings,
    tail: Tail,
    letters: Letters,
    fates: Sequence[Judged],
    told: Callable[[Judged], None],
    patience_s: float,
) -> None:
    """Write down what is decided already, and have the owners do the rest."""
    from cdc_sync.app import control_outbox
    from cdc_sync.control.errands import Fate
    from cdc_sync.replay import Replayer

    outbox = control_outbox(settings, lambda event, reason: warn(f"{event}: {reason}"))
    outbox.make_topic()
    replayer = Replayer(tail, outbox, told, now_ms=lambda: time.time_ns() // 1_000_000, patience_s=patience_s)
    replayer.record(judged for judged in fates if judged.fate in (Fate.SUPERSEDED, Fate.UNPROVEN))
    # What fails here fails there, too, unless their mappers are others: they decide.
    asked = [judged for judged in fates if judged.fate in (Fate.REPLAYED, Fate.FAILED)]
    if not asked:
        outbox.flush(patience_s)
        return
    with contextlib.nullcontext() if has_daemon(settings) else a_daemon(settings):
        try:
            replayer.ask(letters, asked)
        except KeyboardInterrupt:
            replayer.withdraw()
            raise


def has_daemon(settings: Settings) -> bool:
    """Whether the group has a member."""
    from cdc_sync.app import kafka_config
    from cdc_sync.doctor.broker import group_facts

    return bool(group_facts(kafka_config(settings), settings.kafka.group_id, timeout_s=10.0).members)


def wanted(line: LetterLine, row: Identity | None, options: argparse.Namespace) -> bool:
    """Whether the options choose this letter."""
    if not filter_of(options).matches(line):
        return False
    return options.key is None or (row is not None and is_key(options.key, row))


def is_key(text: str, row: Identity) -> bool:
    """Whether a person's text names the row: the value of its only column, or the key as JSON."""
    columns: dict[str, Any] = dict(json.loads(row))
    if len(columns) == 1 and text == str(next(iter(columns.values()))):
        return True
    try:
        return bool(json.loads(text) == columns)
    except ValueError:
        return False


@contextlib.contextmanager
def a_daemon(settings: Settings) -> Iterator[None]:
    """A member of the group for as long as letters are replayed, since nobody else is there."""
    from cdc_sync.app import build

    warn(f"no daemon runs in {settings.kafka.group_id}: this command is one until the letters are done")
    http = settings.http.model_copy(update={"host": "127.0.0.1", "port": 0})
    daemon = build(settings.model_copy(update={"http": http}))
    stop = threading.Event()
    thread = threading.Thread(target=daemon.run, args=(stop,), name="daemon", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(settings.sync.shutdown_timeout_s + 10)


class Report:
    """Says what becomes of the letters, as they come to their ends."""

    def __init__(
        self, *, as_json: bool, expected: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.expected = expected
        self.counts: Counter[str] = Counter()
        self._as_json = as_json
        self._reasons: Counter[tuple[str, str, str]] = Counter()
        self._examples: dict[tuple[str, str, str], str] = {}
        self._clock = clock
        self._began = clock()

    @property
    def has_failed(self) -> bool:
        """Whether a letter is left that was not applied and is not superseded."""
        return bool(self.counts["failed"] or self.counts["unproven"])

    def told(self, judged: Judged) -> None:
        """One more letter has come to its end."""
        from cdc_sync.dlq.browse import normalised

        line, fate = judged.line, judged.fate.value
        self.counts[fate] += 1
        if self._as_json:
            print(json.dumps(as_json(judged), ensure_ascii=False), flush=True)
            return
        reason = (line.table, fate, normalised(judged.reason, line.table))
        self._reasons[reason] += 1
        self._examples.setdefault(reason, str(line.place))
        self._show_progress()

    def finish(self, *, is_dry: bool) -> None:
        """Say what there is to say at the end."""
        if self._as_json:
            return
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if not self._reasons:
            print("no letter to replay: none matches, or all have an outcome (see --again)")
        for (table, fate, reason), count in self._reasons.most_common():
            why = f"  {printable(reason)}" if reason else ""
            example = self._examples[table, fate, reason]
            print(f"{count}  {printable(table)}  {fate}{why}\n   e.g. {example}")
        if self._reasons and is_dry:
            print("nothing was changed: this was a dry run")

    def _show_progress(self) -> None:
        if not sys.stderr.isatty():
            return
        done = self.counts.total()
        share = done / self.expected if self.expected else 1.0
        bar = "#" * int(share * 30)
        rate = done / max(self._clock() - self._began, 0.001)
        counts = ", ".join(f"{count} {fate}" for fate, count in sorted(self.counts.items()))
        line = f"\r\x1b[K[{bar:<30}] {done} of {self.expected} letters, {rate:.0f}/s: {counts}"
        print(line, end="", file=sys.stderr, flush=True)


def as_json(judged: Judged) -> dict[str, Any]:
    """For machines."""
    line = judged.line
    return {
        "letter": str(line.place),
        "topic": line.origin.topic,
        "partition": line.origin.number,
        "offset": line.origin_offset,
        "fate": judged.fate.value,
        "reason": judged.reason,
    }
