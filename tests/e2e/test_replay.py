"""Dead letters replayed against the real parts: what a later event has decided stays as it is."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any

import pytest

from .world import MakeWorld, World

pytestmark = pytest.mark.integration

PICKY = "tests.e2e.bad_deployment:PICKY"


@pytest.fixture
def letters(make_world: MakeWorld) -> World:
    """A world in which a bad deployment has made letters of 300 rows; then changes came to some of them."""
    world = make_world()
    world.start_connector()
    bad = world.start_daemon(CDC_SYNC_MAPPERS=PICKY, CDC_SYNC_DLQ__LIMIT_COUNT="1000")
    world.execute(
        'INSERT INTO "Category" (id, merchant_id, name, status) '
        "SELECT 'c' || n, 'm', '{\"en\": \"x\"}', CASE WHEN n < 300 THEN 'odd' ELSE 'fine' END "
        "FROM generate_series(0, 309) AS n"
    )
    world.settle()
    assert 300 == len(world.letters())
    world.execute("UPDATE \"Category\" SET status = 'fine', position = 1 WHERE id IN ('c1', 'c2')")
    world.execute("DELETE FROM \"Category\" WHERE id IN ('c3', 'c4')")
    world.execute("UPDATE \"Category\" SET deleted_at = now() WHERE id = 'c5'")
    world.execute("UPDATE \"Category\" SET status = 'odd', position = 2 WHERE id = 'c6'")
    world.settle()
    assert bad.stop() == 0
    return world


def run(world: World, *options: str, code: int = 0) -> list[dict[str, Any]]:
    """`cdc-sync dlq replay` to its end; what it says of each letter."""
    process = world.command("dlq", "replay", *options)
    out, err = process.communicate(timeout=120)
    assert code == process.returncode, f"{out}\n{err}"
    return [json.loads(line) for line in out.splitlines()]


def fates(found: list[dict[str, Any]]) -> dict[str, int]:
    """How many of each."""
    counts: dict[str, int] = {}
    for letter in found:
        counts[letter["fate"]] = counts.get(letter["fate"], 0) + 1
    return counts


# c1, c2: updated; c3, c4: deleted; c5: soft-deleted, so unmapped by nobody; c6: its first letter.
EXPECTED = {"replayed": 295, "superseded": 6}


def test_replayed_by_the_daemons_that_run(letters: World) -> None:
    """The dry run says what comes; then it comes, once; then the index is the function of the database."""
    letters.start_daemon()
    letters.start_daemon()
    letters.settle()
    assert EXPECTED == fates(run(letters, "--dry-run"))
    assert letters.differences()
    found = run(letters)
    assert EXPECTED == fates(found)
    letters.settle()
    assert [] == letters.differences()
    assert [] == run(letters)
    again = run(letters, "--again", "--table", "Category", "--key", "c1")
    assert ["superseded"] == [letter["fate"] for letter in again]
    assert [] == letters.differences()


def test_replayed_where_no_daemon_runs(letters: World) -> None:
    """Then the command is one for as long as it takes."""
    assert EXPECTED == fates(run(letters))
    letters.start_daemon()
    letters.settle()
    assert [] == letters.differences()


def test_killed_in_the_middle_and_run_again(letters: World) -> None:
    """While rows change: nothing newer is undone, and every letter ends with one outcome."""
    daemon = letters.start_daemon()
    letters.settle()
    stop = threading.Event()

    def change() -> None:
        n = 10
        while not stop.is_set() and n < 290:
            what = n % 3
            statement = (
                "UPDATE \"Category\" SET status = 'fine', position = 7 WHERE id = %s",
                'DELETE FROM "Category" WHERE id = %s',
                'UPDATE "Category" SET deleted_at = now() WHERE id = %s',
            )[what]
            letters.execute(statement, [f"c{n}"])
            n += 1

    changes = threading.Thread(target=change)
    changes.start()
    process = letters.command("dlq", "replay")
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    daemon.kill()
    letters.start_daemon()
    run(letters)
    stop.set()
    changes.join()
    letters.settle()
    assert [] == letters.differences()
    assert [] == run(letters, "--dry-run")
