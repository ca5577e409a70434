"""Apicurio Registry with its Confluent-compatible interface; what it holds survives a restart."""

from __future__ import annotations

from pathlib import Path

from tools.stack import jars, packages
from tools.stack.layout import free_port
from tools.stack.ledger import Ledger
from tools.stack.part import Command, LocalProcess
from tools.stack.rest import request

__all__ = ["lists_subjects", "registry"]


def registry(run: Path, ledger: Ledger) -> LocalProcess:
    """A registry, not started yet; its address is what `schema.registry.url` wants."""
    folder = jars.registry()
    runner = next(folder.rglob("*-runner.jar"))
    port = free_port()
    data = run / "registry"
    data.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    arguments = [
        packages.java(),
        "-Xmx384m",
        "-Dquarkus.http.host=127.0.0.1",
        f"-Dquarkus.http.port={port}",
        "-Dapicurio.storage.kind=sql",
        "-Dapicurio.storage.sql.kind=h2",
        f"-Dapicurio.datasource.url=jdbc:h2:file:{data / 'schemas'}",
        "-Dquarkus.log.console.color=false",
        "-jar",
        str(runner),
    ]
    return LocalProcess(
        "registry",
        url,
        Command(arguments, runner.parent),
        lambda: lists_subjects(url),
        ledger=ledger,
        log=run / "logs" / "registry.log",
    )


def lists_subjects(url: str) -> None:
    """Return when the registry answers. Raises OSError or Refused before."""
    request(f"{url}/subjects", timeout_s=5)
