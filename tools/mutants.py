"""Bugs put into a copy of the package, one at a time; the tests that have to notice each.

`python -m tools.mutants` prints a line a mutant: who caught it, and how soon. One that nobody catches is a
hole in the tests, and the exit code is 1. `tests/test_mutants.py` sees to it that every text still fits.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["MUTANTS", "Mutant", "changed", "hunted"]

PROJECT: Final = Path(__file__).parents[1]
COPIED: Final = ("cdc_sync", "tests", "tools", "pyproject.toml")
MODEL: Final = "model"
SEEDS: Final = 1_500


class Mutant(NamedTuple):
    """A bug: `old` is replaced by `new` in `file`. `tests` are asked in this order until one notices.

    `model` stands for the model test with its seeds, everything else is a test as pytest names it.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (MODEL,)


MUTANTS: Final = (
    Mutant(
        "the commit is made before the write",
        "pipeline.py",
        "        spans = self._offsets.open(records)\n",
        "        spans = self._offsets.open(records)\n"
        "        source.commit({partition: span.next_offset for partition, span in spans.items()})\n",
    ),
    Mutant(
        "a span is settled while somebody holds it",
        "offsets.py",
        "while spans and not spans[0].holds:",
        "while spans:",
    ),
    Mutant(
        "a letter's span is released before the broker has the letter",
        "pipeline.py",
        "self._dead_letters.put(record, error, span.release)",
        "span.release()\n        self._dead_letters.put(record, error, lambda: None)",
        (MODEL, "tests/test_pipeline.py"),
    ),
    Mutant(
        "placeholders are written as values",
        "decoder/json.py",
        "            after = self._placeholder.marked(after, self._key)\n",
        "            pass\n",
    ),
    Mutant(
        "the side rows are not read again after a product was written whole",
        "sink/enrich.py",
        "        unsure |= {p for p, was in written.items() if not same(was, enrichment.of(rows[p]))}\n",
        "",
        (MODEL, "tests/test_enrich.py"),
    ),
    Mutant(
        "the side rows are not read again after an enrichment was written",
        "sink/enrich.py",
        "unsure = patches.keys() - refused.keys()",
        "unsure = set()",
        (MODEL, "tests/test_enrich.py"),
    ),
    Mutant(
        "nothing is remembered of a row's former products",
        "sink/enrich.py",
        "return {**row, e.owed_field: owed} if owed else row",
        "return row",
        (MODEL, "tests/test_enrich.py"),
    ),
    Mutant(
        "no barrier after a lost answer",
        "sink/typesense.py",
        '                self._send("barrier", "DELETE", '
        "f\"/collections/{quote(name, safe='')}/documents?{NOTHING}\")\n",
        "                pass\n",
        (MODEL, "tests/test_sink.py"),
    ),
    Mutant(
        "a lease never ends",
        "lease.py",
        "return self._clock() < self._until",
        'return self._until > float("-inf")',
    ),
    Mutant(
        "no look at the lease before a request",
        "sink/typesense.py",
        "        if not self._may_write():\n            raise LeaseExpired\n",
        "        if False:\n            raise LeaseExpired\n",
    ),
    Mutant(
        "no rewind is asked for",
        "pipeline.py",
        "self._desk.ask_rewind(partition, offset)",
        "pass",
        (MODEL, "tests/test_errands.py"),
    ),
    Mutant(
        "a rewind reads again, but the commit stays",
        "pipeline.py",
        "if next_offset is None or not source.commit({rewind.origin: rewind.offset}, wait=True):",
        "if next_offset is None:",
        (MODEL, "tests/test_errands.py"),
    ),
    Mutant(
        "a rewind is asked for before the request in flight has ended",
        "pipeline.py",
        "        begins = self._offsets.uncommitted(partitions)\n"
        "        self._drop(partitions, commit=not lost)\n",
        "        begins = self._offsets.uncommitted(partitions) if not lost else {}\n"
        "        for partition, offset in self._offsets.uncommitted(partitions).items() if lost else ():\n"
        "            self._desk.ask_rewind(partition, offset)\n"
        "        self._drop(partitions, commit=not lost)\n",
        ("tests/test_errands.py", MODEL),
    ),
    Mutant(
        "no rewind where a revocation took longer than the lease",
        "pipeline.py",
        "if lost or not self._lease.is_held:",
        "if lost:",
        ("tests/test_pipeline.py", MODEL),
    ),
    Mutant(
        "no barrier where partitions are taken over",
        "pipeline.py",
        "                lane.doubt()\n",
        "                pass\n",
        ("tests/model/test_model.py::test_who_takes_over_sees_what_the_dead_have_sent", MODEL),
    ),
    Mutant(
        "a doubt is not resolved",
        "lane.py",
        "        self._resolve_doubt(batch)\n",
        "",
        ("tests/test_lane.py", MODEL),
    ),
    Mutant(
        "no look for a later event of an incomplete row",
        "pipeline.py",
        "if isinstance(error, IncompleteError):",
        "if False:",
        (MODEL, "tests/test_errands.py"),
    ),
    Mutant(
        "a revocation does not wait for the request in flight",
        "lane.py",
        "return batch is None or not any(span.partition in self._revoked for span in batch.spans)",
        "return True",
        (MODEL, "tests/test_lane.py"),
    ),
    Mutant(
        "what was revoked stays in a batch",
        "lane.py",
        "rest = None if self._stopping.is_set() else batch.without(self._revoked)",
        "rest = None if self._stopping.is_set() else batch",
        (MODEL, "tests/test_lane.py"),
    ),
    Mutant(
        "the earlier change wins",
        "compaction.py",
        "fold(self.change, asked.change)  #",
        "fold(asked.change, self.change)  #",
    ),
    Mutant(
        "deletes are made one batch late",
        "sink/plan.py",
        "    if ids:\n        yield requests.Delete(collection, ids)",
        "    late = LATE.pop(collection, ())\n    LATE[collection] = ids\n"
        "    if late:\n        yield requests.Delete(collection, late)\n\n\n"
        "LATE: dict[str, tuple[str, ...]] = {}",
    ),
    Mutant(
        "a refused fold is not taken apart",
        "lane.py",
        "if not asked.later:",
        "if True:",
        (MODEL, "tests/test_lane.py"),
    ),
    Mutant(
        "a whole batch is blamed for one document",
        "sink/requests.py",
        "if error.is_of_whole_batch and len(documents) > 1:",
        "if False:",
    ),
    Mutant(
        "a replay does not look for a later event",
        "control/desk.py",
        "        if replay.searched_to >= next_offset:\n",
        "        if True:\n",
        ("tests/test_errands.py", MODEL),
    ),
    Mutant(
        "a replay does not see what is polled meanwhile",
        "control/desk.py",
        "                watched.seen = record.offset\n",
        "                pass\n",
        ("tests/test_errands.py", MODEL),
    ),
    Mutant(
        "a replay that was judged before a rewind is applied before what is read again",
        "pipeline.py",
        "if not is_passed or not self._admission",
        "if not self._admission",
        ("tests/test_errands.py", MODEL),
    ),
    Mutant(
        "a replay that moved with its partition is forgotten",
        "pipeline.py",
        "            self._desk.again(self._replays.pop(span))",
        "            self._replays.pop(span)",
        ("tests/test_errands.py", MODEL),
    ),
)


def changed(mutant: Mutant) -> str:
    """The file with the bug in it. Raises `ValueError` where its text is not there, or more than once."""
    before = (PROJECT / "cdc_sync" / mutant.file).read_text("utf-8")
    if before.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: the text is not in {mutant.file} once; mend it in tools/mutants.py")
    return before.replace(mutant.old, mutant.new)


@contextmanager
def mutated(mutant: Mutant) -> Iterator[Path]:
    """A copy of the project with the bug in it."""
    with tempfile.TemporaryDirectory(prefix="cdc-sync-mutant-") as name:
        folder = Path(name)
        for part in COPIED:
            source = PROJECT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / part)
        (folder / "cdc_sync" / mutant.file).write_text(changed(mutant), "utf-8")
        yield folder


def caught(folder: Path, test: str, seeds: int) -> str | None:
    """What notices the bug; None when the test is green."""
    if test == MODEL:
        command = [sys.executable, "-m", "tests.model", "--seeds", str(seeds), "--brief"]
    else:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 0:
        return None
    found = re.search(r"(?m)^seed \d+: .*|^FAILED \S+|^ERROR \S+", done.stdout)
    return found[0] if found else (done.stdout + done.stderr).strip().splitlines()[-1]


def hunted(mutant: Mutant, seeds: int) -> str | None:
    """Who catches the mutant; None when nobody does."""
    with mutated(mutant) as folder:
        for test in mutant.tests:
            found = caught(folder, test, seeds)
            if found is not None:
                return found
    return None


def main() -> int:
    """Put in one bug after another."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only those with one of these words in their names")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the model (default: %(default)s)")
    given = parser.parse_args()
    survived = 0
    for mutant in MUTANTS:
        if given.names and not any(word in mutant.name for word in given.names):
            continue
        started = time.monotonic()
        found = hunted(mutant, given.seeds)
        survived += found is None
        print(f"{mutant.name}\n    {found or 'NOT CAUGHT'} ({time.monotonic() - started:.0f} s)", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
