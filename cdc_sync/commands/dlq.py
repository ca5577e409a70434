"""`cdc-sync dlq list` and `cdc-sync dlq show`; `cdc-sync dlq replay` is in `replay.py`."""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cdc_sync.commands import replay
from cdc_sync.commands.door import (
    DONE,
    MISUSED,
    OneLineParser,
    Subcommands,
    add_command,
    positive,
    printable,
    started,
    warn,
)
from cdc_sync.commands.letters import add_filters, filter_of, outcomes_of, reader_of

if TYPE_CHECKING:
    from cdc_sync.control.errands import Replayed
    from cdc_sync.dlq.browse import Filter, Group, LetterLine
    from cdc_sync.dlq.letter import DeadLetter

__all__ = ["add_to"]

LIST: Final = """\
Groups the dead letters by table, stage, class of error and reason, where ids, numbers and quoted values of
a reason count as the same. Only looks: joins no group, commits nothing, removes nothing."""

LIST_EXAMPLES: Final = """\
  cdc-sync dlq list                                  what went wrong, the most frequent reason first
  cdc-sync dlq list --since 2h --table Product       only what was stored in the last two hours
  cdc-sync dlq list --each --limit 20                the newest 20 letters, one line each
  cdc-sync dlq list --each --json | jq .reason       for machines"""

SHOW: Final = """\
Prints one letter: where it came from, why it is here, its headers, key and value. JSON is indented with its
digits as they are; other bytes are dumped. Only looks: the letter stays where it is."""

SHOW_EXAMPLES: Final = """\
  cdc-sync dlq show nx.seller.cdc.dlq/0/41           a letter, as `dlq list` names it
  cdc-sync dlq show 0/41                             the same, in the topic that the settings name
  cdc-sync dlq show 0/41 --raw > value.json          the value's bytes, unchanged"""


def add_to(commands: Subcommands[OneLineParser]) -> None:
    """`dlq` and its subcommands."""
    dlq = commands.add_parser("dlq", help="look at dead letters, and apply them", allow_abbrev=False)
    subcommands: Subcommands[OneLineParser] = dlq.add_subparsers(required=True, metavar="SUBCOMMAND")

    list_ = add_command(
        subcommands, "list", list_letters, summary="what went wrong", description=LIST, examples=LIST_EXAMPLES
    )
    add_filters(list_)
    list_.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="look at the newest N letters only, before the other options choose among them",
    )
    list_.add_argument("--each", action="store_true", help="one line a letter instead of groups")
    list_.add_argument("--all", action="store_true", help="also letters that were replayed or are superseded")
    list_.add_argument("--json", action="store_true", help="one JSON object a line")

    show = add_command(
        subcommands, "show", show_letter, summary="one letter", description=SHOW, examples=SHOW_EXAMPLES
    )
    show.add_argument("position", metavar="TOPIC/PARTITION/OFFSET", help="as `dlq list` prints it")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on one line")
    form.add_argument("--raw", action="store_true", help="the value's bytes and nothing else")
    replay.add_to(subcommands)


# list ---------------------------------------------------------------------------------------------------


def list_letters(options: argparse.Namespace) -> int:
    """`cdc-sync dlq list`."""
    from cdc_sync.dlq.browse import Letters, grouped
    from cdc_sync.replay import is_settled

    settings = started()
    wanted = filter_of(options)
    with reader_of(settings) as reader:
        letters = Letters(reader, settings.kafka.dlq_topic)
        outcomes = {} if options.all else outcomes_of(settings)
        settled = {letter for letter, outcome in outcomes.items() if is_settled(outcome, for_good=True)}
        lines = (
            line
            for line in letters.lines(options.limit)
            if wanted.matches(line) and str(line.place) not in settled
        )
        if options.each:
            print_each(lines, as_json=options.json)
        elif options.json:
            for group in grouped(lines):
                print(json.dumps(group_json(group), ensure_ascii=False))
        else:
            print_groups(grouped(lines), settings.kafka.dlq_topic, wanted)
    if settled and not options.json:
        print(f"{len(settled)} letters were replayed or are superseded: --all shows them, too")
    if letters.not_letters:
        warn(f"records in {settings.kafka.dlq_topic} that are no dead letters: {letters.not_letters}")
    return DONE


def print_each(lines: Iterable[LetterLine], *, as_json: bool) -> None:
    """A line a letter, as they are read."""
    for line in lines:
        if as_json:
            print(json.dumps(line_json(line), ensure_ascii=False))
        else:
            about = f"{line.table} {line.stage} {line.error_class}: {line.reason}"
            print(f"{line.place}  {iso(line.stored_at_ms)}  {printable(about)}")


def print_groups(groups: list[Group], topic: str, wanted: Filter) -> None:
    """Two lines a group: what and how often, then why."""
    if not groups:
        print(f"no dead letters in {topic}" + ("" if not any(wanted) else " that match"))
        return
    now_ms = int(time.time() * 1000)
    width = len(str(groups[0].count))
    for group in groups:
        ages = f"{age(now_ms - group.newest_ms)} to {age(now_ms - group.oldest_ms)} ago"
        table = group.topic.rpartition(".")[2]
        print(f"{group.count:>{width}}  {printable(table)}  {group.stage}  {group.error_class}  {ages}")
        print(f"{'':{width}}  {printable(group.reason)}")
        print(f"{'':{width}}  e.g. {group.example}")
    total = sum(group.count for group in groups)
    print(f"{total} letters, {len(groups)} reasons; one of them: cdc-sync dlq show {groups[0].example}")


def age(milliseconds: int) -> str:
    """`45s`, `12m`, `3h`, `9d`."""
    seconds = max(0, milliseconds // 1000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def iso(milliseconds: int) -> str:
    """A Kafka timestamp as ISO 8601, UTC; `-` when there is none."""
    if milliseconds <= 0:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def line_json(line: LetterLine) -> dict[str, Any]:
    """For `list --each --json`."""
    return {
        "letter": str(line.place),
        "topic": line.origin.topic,
        "partition": line.origin.number,
        "offset": line.origin_offset,
        "stage": line.stage,
        "error": line.error_class,
        "reason": line.reason,
        "stored_at": iso(line.stored_at_ms),
    }


def group_json(group: Group) -> dict[str, Any]:
    """For `list --json`."""
    return {
        "topic": group.topic,
        "stage": group.stage,
        "error": group.error_class,
        "reason": group.reason,
        "count": group.count,
        "oldest": iso(group.oldest_ms),
        "newest": iso(group.newest_ms),
        "example": str(group.example),
    }


# show ---------------------------------------------------------------------------------------------------


def show_letter(options: argparse.Namespace) -> int:
    """`cdc-sync dlq show`."""
    from cdc_sync.dlq.browse import Letters, place_of

    settings = started()
    try:
        place = place_of(options.position, settings.kafka.dlq_topic)
    except ValueError as error:
        warn(str(error))
        return MISUSED
    with reader_of(settings) as reader:
        letter = Letters(reader, place.partition.topic).letter(place)
    outcome = outcomes_of(settings).get(str(place))
    if options.raw:
        if letter.value is None:
            warn(f"{place}: the value is null (a tombstone)")
        sys.stdout.buffer.write(letter.value or b"")
    elif options.json:
        print(letter_json(letter, outcome))
    else:
        print(letter_text(letter, outcome, int(time.time() * 1000)))
    return DONE


def letter_text(letter: DeadLetter, outcome: Replayed | None, now_ms: int) -> str:
    """The letter for a person."""
    position = letter.position
    facts = {
        "letter": f"{position.partition.topic}/{position.partition.number}/{position.offset}",
        "origin": f"{letter.origin.topic}/{letter.origin.number}/{letter.origin_offset}",
        "stage": letter.stage,
        "error": letter.error_class,
        "reason": letter.reason,
        "stored": f"{iso(letter.stored_at_ms)} ({age(now_ms - letter.stored_at_ms)} ago)",
        "changed": iso(changed_at_ms(letter)),
        "replay": f"{outcome.fate.value} ({iso(outcome.at_ms)}) {outcome.reason}" if outcome else "not yet",
        "by": f"cdc-sync {own_header(letter, '__cdc_sync.version')}, group "
        f"{own_header(letter, '__connect.errors.connector.name')}",
    }
    lines = [f"{name:<8} {printable(text)}" for name, text in facts.items()]
    lines.append("headers" if letter.headers else "headers  none")
    for name, value in letter.headers:
        text = "null" if value is None else value.decode("utf-8", "backslashreplace")
        lines.append(f"  {printable(name)}: {printable(text)}")
    lines += ["key", indented(letter.key), "value", indented(letter.value)]
    return "\n".join(lines)


def own_header(letter: DeadLetter, name: str) -> str:
    """One of the headers that the daemon has put on; `unknown` when it has not."""
    values = [value for header, value in letter.position.headers if header == name and value is not None]
    return values[-1].decode("utf-8", "replace") if values else "unknown"


def changed_at_ms(letter: DeadLetter) -> int:
    """The Kafka timestamp of the record that the letter is about; 0 when it is not known."""
    text = own_header(letter, "__cdc_sync.timestamp")
    return int(text) if text.isascii() and text.isdigit() else 0


def indented(content: bytes | None) -> str:
    """Bytes for a person: JSON with its digits untouched, else a dump."""
    if content is None:
        return "  null"
    text = formatted_json(content, 2)
    lines = hex_dump(content) if text is None else [printable(line) for line in text.split("\n")]
    return "\n".join(f"  {line}" for line in lines) or "  (no bytes)"


def formatted_json(content: bytes, indent: int) -> str | None:
    """JSON laid out anew, numbers as they are written; None for anything else."""
    import msgspec

    try:
        return msgspec.json.format(content, indent=indent).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


MAX_DUMP: Final = 4_096


def hex_dump(content: bytes) -> list[str]:
    """Offsets, bytes, and what of them is ASCII; only so many."""
    lines = []
    for start in range(0, min(len(content), MAX_DUMP), 16):
        row = content[start : start + 16]
        ascii_ = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {ascii_}")
    if len(content) > MAX_DUMP:
        lines.append(f"… {len(content) - MAX_DUMP} bytes more: `--raw` writes all of them")
    return lines


def letter_json(letter: DeadLetter, outcome: Replayed | None) -> str:
    """The letter for a machine: key and value as JSON where they are JSON, else in base64."""
    position = letter.position
    facts: dict[str, Any] = {
        "letter": f"{position.partition.topic}/{position.partition.number}/{position.offset}",
        "topic": letter.origin.topic,
        "partition": letter.origin.number,
        "offset": letter.origin_offset,
        "stage": letter.stage,
        "error": letter.error_class,
        "reason": letter.reason,
        "stored_at": iso(letter.stored_at_ms),
        "changed_at": iso(changed_at_ms(letter)),
        "fate": outcome.fate.value if outcome else None,
        "headers": [[n, None if v is None else v.decode("utf-8", "replace")] for n, v in letter.headers],
    }
    parts = [json.dumps(facts, ensure_ascii=False)[:-1]]
    for name, content in (("key", letter.key), ("value", letter.value)):
        text = "null" if content is None else formatted_json(content, -1)
        if text is None:
            encoded = json.dumps(base64.b64encode(content or b"").decode())
            parts.append(f'"{name}_base64": {encoded}')
        else:
            parts.append(f'"{name}": {text}')
    return ", ".join(parts) + "}"
