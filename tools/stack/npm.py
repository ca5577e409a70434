"""Files out of packages of the npm registry, kept in the scratch folder."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from tools.stack.errors import Unavailable
from tools.stack.layout import SCRATCH

__all__ = ["ASYNCAPI_SPECS", "WS", "unpacked"]

ASYNCAPI_SPECS: Final = ("@asyncapi/specs", "6.11.1")
WS: Final = ("ws", "8.23.0")
_TIMEOUT_S: Final = 120


def unpacked(package: tuple[str, str]) -> Path:
    """The folder of a package (name and exact version), fetched once. Raises: Unavailable."""
    name, version = package
    folder = SCRATCH / "npm" / f"{name.strip('@').replace('/', '-')}-{version}"
    if (folder / "package").exists():
        return folder / "package"
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is missing (apt-get install npm)")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", f"{name}@{version}", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=folder
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise Unavailable(f"{name}@{version} could not be fetched: {done.stderr.strip()[-300:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder / "unpacking", filter="data")
    (folder / "unpacking" / "package").rename(folder / "package")
    return folder / "package"
