"""What the commands about dead letters share: how letters are chosen and read, and what became of them."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cdc_sync.config import Settings
    from cdc_sync.control.errands import Replayed
    from cdc_sync.dlq.browse import Filter
    from cdc_sync.reader import TopicReader

__all__ = ["add_filters", "filter_of", "outcomes_of", "reader_of", "since_ms"]

UNITS_S: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def add_filters(parser: argparse.ArgumentParser) -> None:
    """What every command can choose by."""
    parser.add_argument("--topic", help="only letters from this topic")
    parser.add_argument("--table", help="only letters from this table: the last part of the topic")
    parser.add_argument("--stage", help="only this stage: VALUE_CONVERTER, TRANSFORMATION or TASK_PUT")
    parser.add_argument(
        "--error", help="only this class: DecodeError, MappingError, IncompleteError or RejectedError"
    )
    parser.add_argument(
        "--since",
        type=since_ms,
        metavar="WHEN",
        help="only letters stored since: 45s, 30m, 2h, 7d ago, or an ISO time (UTC unless it says otherwise)",
    )


def filter_of(options: argparse.Namespace) -> Filter:
    """The filter that these options ask for."""
    from cdc_sync.dlq.browse import Filter

    given = {name: value for name, value in vars(options).items() if name in Filter._fields}
    return Filter(**given, since_ms=options.since, until_ms=getattr(options, "until", None))


def reader_of(settings: Settings) -> TopicReader:
    """A reader by the settings of the daemon's clients, but none of its group."""
    from cdc_sync.app import kafka_config
    from cdc_sync.reader import TopicReader

    return TopicReader(kafka_config(settings))


def outcomes_of(settings: Settings) -> dict[str, Replayed]:
    """What became of the letters that were replayed, by the letter's place."""
    from cdc_sync.app import kafka_config
    from cdc_sync.control.errands import Replayed
    from cdc_sync.control.tail import Tail
    from cdc_sync.replay import entries_of

    with closing(Tail(kafka_config(settings), settings.kafka.control_topic)) as tail:
        entries = entries_of(tail).values()
    return {entry.letter: entry for entry in entries if isinstance(entry, Replayed)}


def since_ms(text: str, now_s: float | None = None) -> int:
    """Milliseconds since the epoch of `2h` (ago) or of an ISO 8601 time."""
    now_s = time.time() if now_s is None else now_s
    ago = re.fullmatch(r"(\d{1,9})([smhdw])", text, re.ASCII)
    if ago is not None:
        return int((now_s - int(ago[1]) * UNITS_S[ago[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age like 45s, 30m, 2h, 7d nor an ISO time like 2026-01-31T12:00:00Z"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
