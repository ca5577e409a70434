"""The documents say what the code does: names exist, links resolve, examples run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from cdc_sync.cli import parser
from cdc_sync.config import CONFIG_FILE
from cdc_sync.dispatcher.metrics import DISPATCHER_METRICS
from cdc_sync.dlq import letter_headers
from cdc_sync.errors import DecodeError, IncompleteError, MappingError, RecordError, RejectedError
from cdc_sync.mappers import columns
from cdc_sync.metrics import METRICS
from cdc_sync.model import Partition, Record
from cdc_sync.reference import settings_list

PROJECT = Path(__file__).parents[1]
FILES = [
    *sorted(PROJECT.glob("*.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
    *sorted((PROJECT / "connect").rglob("*.md")),
    *sorted((PROJECT / "tests").rglob("*.md")),
]
DOCUMENTS = {path.relative_to(PROJECT).as_posix(): path.read_text("utf-8") for path in FILES}

NOT_YET = ("reindex", "verify")
"""Commands that documents may speak of, because they say that there are none yet."""

each_document = pytest.mark.parametrize("name", DOCUMENTS)


def blocks(text: str, language: str) -> Iterator[str]:
    """The fenced blocks in a language, without their indentation."""
    for indent, code in re.findall(rf"(?ms)^( *)```{language}\n(.*?)^ *```$", text):
        yield re.sub(rf"(?m)^{indent}", "", code)


def section(name: str) -> str:
    return DOCUMENTS[f"docs/{name}.md"]


# Names -------------------------------------------------------------------------------------------------


@each_document
def test_settings_exist(name: str) -> None:
    ours = {setting.variable for setting in settings_list()} | {CONFIG_FILE}
    found = set(re.findall(r"CDC_SYNC_[A-Z0-9_]*[A-Z0-9]", DOCUMENTS[name]))
    for_tests = {word for word in found if word.startswith("CDC_SYNC_TEST_")}
    assert not found - ours - for_tests
    code = "".join(p.read_text("utf-8") for top in ("tests", "tools") for p in (PROJECT / top).rglob("*.py"))
    assert not [word for word in for_tests if word not in code]


@each_document
def test_metrics_exist(name: str) -> None:
    metrics = {f"cdc_sync_{metric.name}" for metric in (*METRICS, *DISPATCHER_METRICS)} | {
        "cdc_sync_dispatcher_"
    }
    connector = (PROJECT / "connect/debezium-config.json").read_text("utf-8")
    words = set(re.findall(r"\bcdc_sync_[a-z_]+", DOCUMENTS[name])) - {"cdc_sync_"}
    assert not [word for word in words - metrics if f'"{word}"' not in connector]


def is_command(words: list[str]) -> bool:
    """Whether the front door takes these words, or knows them as a command that wants more."""
    is_bare = not any(word.startswith("-") for word in words)
    for attempt in [words, [*words, "--help"]][: 1 + is_bare]:
        try:
            parser().parse_args(attempt)
        except SystemExit as end:
            if end.code not in (0, None):
                continue
        return True
    return False


@each_document
def test_commands_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those in `code` and those on a line of a shell block; what is not in yet is not taken."""
    text = DOCUMENTS[name]
    said = re.findall(r"`cdc-sync ([a-z][^`|]*)`", text)
    said += [m for code in blocks(text, "sh") for m in re.findall(r"(?m)^cdc-sync (.*)$", code)]
    for command in said:
        missing = command.startswith(NOT_YET)
        assert is_command(shlex.split(command)) is not missing, command
    capsys.readouterr()


@each_document
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (PROJECT / "Makefile").read_text("utf-8")))
    text = DOCUMENTS[name]
    said = re.findall(r"`make ([a-z ]+)", text)
    said += [m for code in blocks(text, "sh") for m in re.findall(r"(?m)^make ([a-z ]+)", code)]
    assert not [word for words in said for word in words.split() if word not in targets]


@each_document
def test_modules_that_are_run_exist(name: str) -> None:
    for module, rest in re.findall(r"python -m ([\w.]+)([^`\n\")]*)", DOCUMENTS[name]):
        assert find_spec(module), module
        if module == "pytest":
            for path in re.findall(r"tests/[^\s:]+", rest):
                assert (PROJECT / path).exists(), path


@each_document
def test_tests_that_are_named_exist(name: str) -> None:
    """`tests/test_x.py` and `tests/test_x.py::test_y`."""
    for path, test in re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w+))?", DOCUMENTS[name]):
        code = (PROJECT / path).read_text("utf-8")
        assert not test or f"def {test}(" in code, f"{path}::{test}"


# Links -------------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@each_document
def test_links_resolve(name: str) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", DOCUMENTS[name])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, wanted = target.partition("#")
        found = (PROJECT / name).parent / path if path else PROJECT / name
        assert found.exists(), target
        assert found.resolve().is_relative_to(PROJECT), target
        headings = re.findall(r"(?m)^#+ (.*)$", found.read_text("utf-8")) if wanted else []
        assert not wanted or wanted in map(anchor, headings), target


def test_every_document_can_be_found() -> None:
    """From the index of documents, one step away."""
    index = section("README")
    for name in DOCUMENTS:
        if name.startswith("docs/") and name != "docs/README.md":
            assert f"]({name.removeprefix('docs/')})" in index, name


@each_document
def test_no_machine_is_named(name: str) -> None:
    assert not re.findall(r"/work/|/home/\w+|/root/", DOCUMENTS[name])


# Dead letters ------------------------------------------------------------------------------------------


def test_every_header_of_a_letter_is_explained() -> None:
    record = Record(Partition("topic", 0), 0, None, None)
    for header, _ in letter_headers(record, RecordError("reason"), group="group"):
        assert f"`{header}`" in section("dead-letters")


@pytest.mark.parametrize("kind", [DecodeError, MappingError, IncompleteError, RejectedError])
def test_every_stage_is_explained(kind: type[RecordError]) -> None:
    assert f"| `{kind.stage}` | `{kind.__name__}` |" in section("dead-letters")


# Mappers -----------------------------------------------------------------------------------------------


def test_every_kind_is_in_the_table() -> None:
    named = set(re.findall(r"(?m)^\| `(\w+)\(", section("mappers")))
    assert named == set(columns.__all__) - {"Column"}


MAP = """
import json, sys
from cdc_sync.app import load_router
from cdc_sync.decoder import JsonDecoder
from cdc_sync.model import Partition, Record
names, value = sys.argv[1], sys.argv[2].encode()
router = load_router(tuple(n for n in names.split(",") if n))
record = Record(Partition("nx.seller.public.Coupon", 0), 0, b'{"id": "c-1"}', value)
event = JsonDecoder("nx.seller.public", router.reads).decode(record)
change = router.mapper("Coupon").map(event)
print(json.dumps([change.collection, change.document]))
"""


@pytest.mark.parametrize("way", ["setting", "entry point"])
def test_the_example_of_a_mapper_works(way: str, tmp_path: Path) -> None:
    """Both ways of making it known, in a process that finds it like any installed package."""
    text = section("mappers")
    (code,) = blocks(text, "python")
    event, document = blocks(text, "json")
    path = tmp_path / code.partition("\n")[0].removeprefix("# ")
    path.parent.mkdir()
    path.write_text(code, "utf-8")
    names = ""
    if way == "setting":
        (line,) = blocks(text, "sh")
        names = line.strip().removeprefix("export CDC_SYNC_MAPPERS=")
    else:
        (toml,) = blocks(text, "toml")
        (group,) = re.findall(r'entry-points\."([^"]+)"', toml)
        (point,) = re.findall(r'(?m)^(\w+) = "(.*)"$', toml)
        installed = tmp_path / "my_shop-1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-shop\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text(f"[{group}]\n{point[0]} = {point[1]}\n")
    done = subprocess.run(
        [sys.executable, "-c", MAP, names, event],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ["coupons", json.loads(document)] == json.loads(done.stdout)


# What can be run, is run ---------------------------------------------------------------------------------


def test_the_settings_of_the_readme_are_taken(tmp_path: Path) -> None:
    """Its exports, and then `cdc-sync config` as a reader would try it."""
    exports = [code for code in blocks(DOCUMENTS["README.md"], "sh") if code.startswith("export")]
    assert len(exports) == 1
    script = exports[0] + "cdc-sync config --changed\n"
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for variable, value in re.findall(r"(CDC_SYNC_\w+)=(\S+)", exports[0]):
        assert variable in done.stdout
        assert value in done.stdout
