"""The image: pinned, locked, not root. It is not built here; its health check is run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cdc_sync import __version__
from cdc_sync.health import HealthServer
from cdc_sync.sections import HttpSettings

PROJECT = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", (PROJECT / "Dockerfile").read_text("utf-8")))
LINES = [line.strip() for line in TEXT.splitlines() if line.strip()]
STAGES = [stage.split("\n") for stage in re.split(r"(?m)^(?=FROM )", TEXT)[1:]]
IMAGE = STAGES[-1]


def only(instruction: str, lines: list[str]) -> str:
    """The argument of the one line with this instruction."""
    (line,) = [line for line in lines if line.startswith(f"{instruction} ")]
    return line.removeprefix(instruction).strip()


def test_the_base_is_pinned() -> None:
    """To a patch version and a distribution, once for both stages."""
    base = next(line for line in LINES if line.startswith("ARG PYTHON=")).partition("=")[2]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert ["FROM ${PYTHON} AS build", "FROM ${PYTHON}"] == [s[0].strip() for s in STAGES]


def test_it_is_not_root() -> None:
    user, _, group = only("USER", IMAGE).partition(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    after = IMAGE[[line.startswith("USER ") for line in IMAGE].index(True) :]
    assert not any(line.startswith(("RUN ", "COPY ", "ADD ")) for line in after)


def test_only_locked_packages_are_installed() -> None:
    """Every `pip install` asks for hashes, or takes our own wheel and nothing else."""
    installs = re.findall(r"pip install ([^&\n]*)", TEXT)
    assert len(installs) >= 3
    for arguments in installs:
        if "--require-hashes" in arguments:
            lock = re.search(r"-r (\S+)", arguments)
            assert lock
            for name in ("runtime", "dispatcher"):  # --build-arg LOCK
                path = PROJECT / lock[1].replace("${LOCK}", name)
                assert "--hash=sha256:" in path.read_text("utf-8")
        else:
            assert "--no-deps --no-index" in arguments
            assert "/dist/" in arguments


def test_the_build_tool_is_the_projects() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    (wanted,) = project["build-system"]["requires"]
    assert f"{wanted} \\" in (PROJECT / "requirements/build.lock").read_text("utf-8")


def test_the_locks_name_the_same_versions() -> None:
    """What the tests ran with is what the image has."""
    found = [
        dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", path.read_text("utf-8")))
        for path in (PROJECT / f"requirements/{name}.lock" for name in ("dev", "runtime", "build"))
    ]
    dev = found[0]
    assert len(found[1]) > 5
    for lock in found[1:]:
        assert lock == {name: dev.get(name) for name in lock}


def test_the_entry_point_exists() -> None:
    (command,) = json.loads(only("ENTRYPOINT", IMAGE))
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert command in scripts
    done = subprocess.run(
        [Path(sys.executable).parent / command, *json.loads(only("CMD", IMAGE)), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        source
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert len(sources) >= 5
    for source in sources:
        assert (PROJECT / source).exists()
        assert source in kept


def test_the_labels_tell_the_version() -> None:
    assert only("ARG", [line for line in IMAGE if "VERSION=" in line]) == f"VERSION={__version__}"
    for label in ("title", "description", "version", "revision", "licenses"):
        assert f"org.opencontainers.image.{label}=" in TEXT


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["the loop has not turned for 999 s"], 1)])
def test_the_health_check_says_what_healthz_says(problems: list[str], code: int) -> None:
    health = only("HEALTHCHECK", [" ".join(line.split()) for line in IMAGE])
    program, *arguments = json.loads(health.partition("CMD ")[2])
    assert program == "python"
    assert f"'{HttpSettings().port}'" in arguments[-1]
    server = HealthServer(
        "127.0.0.1", 0, CollectorRegistry(), is_alive=lambda: problems, is_ready=lambda: ["not ready"]
    )
    server.start()
    try:
        assert server.page("/readyz").status == HTTPStatus.SERVICE_UNAVAILABLE
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"CDC_SYNC_HTTP__PORT": str(server.port)},
            capture_output=True,
            check=False,
            timeout=20,
        )
    finally:
        server.stop()
    assert code == done.returncode, done.stderr
