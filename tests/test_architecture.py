"""`ARCHITECTURE.md` is the floor plan of the code, and the code keeps to its own rules."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "cdc_sync"
PLAN = (PROJECT / "ARCHITECTURE.md").read_text("utf-8")

BESIDE = ("demo", "typesense_standin")
"""Named as one, not module by module: they are no rooms of the daemon."""

MAX_FILE = 400
MAX_FUNCTION = 40

LONG_FILES = {
    "tests/dispatcher/test_security.py": "a test a line of the security list",
    "tests/test_avro.py": "a test a kind of value, a change of schema, and a way to be poison",
    "tests/test_cli.py": "a test a command and a mistake",
    "tests/test_columns.py": "a test a kind",
    "tests/test_doctor.py": "a test a judgement",
    "tests/test_sink.py": "one contract for the fake and the server, and what only a server can do wrong",
    "tests/test_mappers.py": "a test a rule of the contract, over seven tables",
}

LONG_FUNCTIONS = {
    "cdc_sync/app.py:build": "the wiring: a list of constructors, without a branch worth a name",
    "cdc_sync/pipeline.py:__init__": "a parameter and an attribute a line, and nothing else",
}


def sources() -> Iterator[Path]:
    """Every Python file of ours."""
    for folder in ("cdc_sync", "tests", "tools", "bench"):
        yield from sorted((PROJECT / folder).rglob("*.py"))


# The plan ----------------------------------------------------------------------------------------------


def modules() -> set[str]:
    """Modules of the package as the plan names them: `lane.py`, `sink/plan.py`, `demo/`."""
    paths = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    beside = {f"{path.parts[0]}/" for path in paths if path.parts[0] in BESIDE}
    return beside | {path.as_posix() for path in paths if path.parts[0] not in BESIDE}


def rooms() -> list[str]:
    """What the first columns of the plan's tables name."""
    cells = re.findall(r"(?m)^\| (`[^|]*`) \|", PLAN.partition("## Who may import whom")[0])
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_module_is_in_the_plan_once() -> None:
    assert sorted(modules()) == sorted(rooms())


def test_every_file_that_the_plan_names_exists() -> None:
    named = set(re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|toml|json|md))`", PLAN))
    assert len(named) > 50
    assert not [n for n in named if not (PACKAGE / n).exists() and not (PROJECT / n).exists()]


def test_the_floors_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (floors,) = [contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers"]
    drawn = re.search(r"```\n(__main__\n.*?)```", PLAN, re.DOTALL)
    assert drawn
    assert floors == [line.replace(" · ", " | ") for line in drawn[1].splitlines()]


# Size --------------------------------------------------------------------------------------------------


def long_files() -> set[str]:
    return {
        path.relative_to(PROJECT).as_posix()
        for path in sources()
        if len(path.read_text("utf-8").splitlines()) > MAX_FILE
    }


def long_functions() -> set[str]:
    return {
        f"{path.relative_to(PROJECT).as_posix()}:{node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    }


def test_no_file_is_long_without_a_reason() -> None:
    """And no reason is left of a file that is short by now."""
    assert sorted(LONG_FILES) == sorted(long_files())


def test_no_function_is_long_without_a_reason() -> None:
    assert sorted(LONG_FUNCTIONS) == sorted(long_functions())


# Imports -----------------------------------------------------------------------------------------------


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold() -> None:
    done = lint(PROJECT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("sink/typesense.py", "from cdc_sync.config import Settings", "settings stop at the front door"),
        ("sink/plan.py", "import time", "the core does no I/O"),
        ("mappers/table.py", "from cdc_sync.log import get_logger", "the core does no I/O"),
        ("offsets.py", "from cdc_sync.metrics import Metrics", "the floors of the house"),
        ("source.py", "from cdc_sync.sink import NullSink", "the floors of the house"),
        ("lane.py", "from cdc_sync.sink.plan import rejected", "the corridor does not know"),
        ("daemon.py", "from cdc_sync.doctor.finding import ok", "the floors of the house"),
        ("app.py", "from cdc_sync.typesense_standin import StandIn", "the stand-in for Typesense"),
        ("typesense_standin/store.py", "from cdc_sync.model import Document", "the floors of the house"),
        ("pipeline.py", "import structlog", "structlog lives in its rooms"),
        ("daemon.py", "from cdc_sync.dispatcher.catalog import TOPICS", "the dispatcher is attached"),
        ("dispatcher/protocol.py", "import asyncio", "the dispatcher's core does no I/O"),
        ("dispatcher/catalog.py", "import aiohttp", "the dispatcher's catalog, metrics and settings"),
        ("lane.py", "import redis", "redis lives in its rooms"),
        ("dispatcher/hub.py", "from cdc_sync.config import Settings", "settings stop at the front door"),
        ("newcomer.py", "", "the floors of the house"),
    ],
)
def test_a_contract_notices(module: str, line: str, broken: str, tmp_path: Path) -> None:
    """The contracts are not empty words: a wrong import breaks the one that is about it."""
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "cdc_sync", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "cdc_sync" / module
    before = changed.read_text("utf-8") if changed.exists() else ""
    changed.write_text(f"{before}\n{line}\n", "utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout
    assert re.search(rf"(?m)^{re.escape(broken)}.* BROKEN$", done.stdout), done.stdout
    assert module.removesuffix(".py").replace("/", ".") in done.stdout.partition("BROKEN")[2]
