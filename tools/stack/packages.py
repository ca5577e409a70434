"""Programs that the stack needs from the operating system; installed by apt where that is allowed.

Installing needs root and apt-get. Otherwise a missing program is `Unavailable`, with the command
that an operator would run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.stack.errors import Unavailable

__all__ = ["chromium", "java", "maven", "postgresql", "redis_server"]

_TIMEOUT_S = 900


def java() -> str:
    """The Java launcher, version 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    return _program("java", "openjdk-17-jre-headless")


def maven() -> str:
    """Maven's launcher."""
    return _program("mvn", "maven")


def postgresql() -> Path:
    """The folder of `initdb` and `postgres`, version 15 where there is a choice."""
    found = _postgresql()
    if found is None:
        _install("postgresql-15")
        found = _postgresql()
    if found is None:
        raise Unavailable("PostgreSQL is missing (apt-get install postgresql-15)")
    return found


def redis_server() -> str:
    """Redis."""
    return _program("redis-server", "redis-server")


def chromium() -> str:
    """A browser that runs without a screen."""
    return _program("chromium", "chromium")


def _postgresql() -> Path | None:
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    folders = [folder for folder in folders if (folder / "postgres").exists()]
    return min(folders, key=lambda folder: folder.parent.name != "15", default=None)


def _program(name: str, package: str) -> str:
    if shutil.which(name) is None:
        _install(package)
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is missing (apt-get install {package})")
    return found


def _install(package: str) -> None:
    """Install a package; services are not started (RUNLEVEL=1), so no cluster takes port 5432."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"{package} is missing (as root: apt-get install {package})")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (
        ["update", "-q"],
        ["install", "-q", "-y", "--no-install-recommends", package],
    ):
        done = subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0 and arguments[0] == "install":
            raise Unavailable(f"{package} could not be installed: {done.stderr.strip()[-500:]}")
