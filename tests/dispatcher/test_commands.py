"""The dispatcher at the front door: what it prints, and one line for a mistake."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from cdc_sync import cli
from tests.dispatcher import tables

BASE = {"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "HTTP__PORT": "0", "HTTP__HOST": "127.0.0.1"}


def catalog(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(("catalog", *arguments)) == 0
    return capsys.readouterr().out


def test_the_catalog_prints_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    text = catalog(capsys)
    rows: list[Any] = [*tables.CHANGE_TOPICS, *tables.KAFKA_TOPICS, *tables.REDIS_CHANNELS]
    names = {row[0] for row in rows} | set(tables.WEBHOOK_EVENTS) | set(tables.EMITTER_EVENTS)
    names |= {group for _, _, group in tables.CONSUMERS} | {client for _, client in tables.PRODUCERS}
    names |= {topic for _, topic in tables.WEBSOCKET_TOPICS}
    assert not [name for name in names if name not in text]


def test_the_catalog_of_one_service(capsys: pytest.CaptureFixture[str]) -> None:
    text = catalog(capsys, "--service", "pricing")
    assert "SVC-00070-PRICING_CONSUMER_GROUP" in text
    assert "FINANCE" not in text
    made = json.loads(catalog(capsys, "--asyncapi", "--service", "pricing"))
    assert set(made["channels"]) == {"product-variant.created", "product-variant.updated"}


def test_asyncapi_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(catalog(capsys, "--asyncapi"))["asyncapi"] == "3.0.0"


def test_a_service_that_there_is_not_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(("catalog", "--service", "nobody")) == 2
    error = capsys.readouterr().err
    assert "no service 'nobody'" in error
    assert error.count("\n") == 1


def command(*arguments: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`cdc-sync` in a process of its own, with no settings but these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_SYNC_")}
    environment |= {f"CDC_SYNC_{name}": value for name, value in (BASE | settings).items()}
    return subprocess.run(
        [sys.executable, "-m", "cdc_sync", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FINANCE = {"DISPATCHER__SERVICES": "finance"}


def finance(word: str, topic: str = "*") -> dict[str, str]:
    """The settings of a finance service with this handler."""
    return {**FINANCE, "DISPATCHER__HANDLERS": json.dumps({"finance": {topic: [word]}})}


def of(service: str, topic: str, word: str) -> dict[str, str]:
    """The same for any service."""
    handlers = json.dumps({service: {topic: [word]}})
    return {"DISPATCHER__SERVICES": service, "DISPATCHER__HANDLERS": handlers}


MISTAKES: list[tuple[dict[str, str], str]] = [
    ({}, "SERVICES names nothing that runs"),
    ({"DISPATCHER__SERVICES": "nobody"}, "no service 'nobody'"),
    (FINANCE, "finance has no handler that does something"),
    (finance("audit"), "finance has no handler that does something"),
    (finance("no.where:x"), "cannot load no.where:x"),
    (finance("json"), "is not of the form module:object"),
    (finance("relay", "payment.success"), "WEBSOCKET is off"),
    (finance("payments"), "payments handles"),
    (finance("ledger"), "ledger handles"),
    (finance("forward:x"), "expected http://"),
    (of("taxation", "*", "relay"), "no WebSocket topic"),
    (of("sale", "sale.check.paid", "forward:http://x/"), "REDIS_URL is not set"),
    ({"DISPATCHER__SERVICES": "ledger"}, "LEDGER_FOLDER is not set"),
    ({"DISPATCHER__HANDLERS": "{"}, "expected a JSON object"),
    ({"DISPATCHER__WEBSOCKET": "emitter"}, "an emitter needs"),
    ({"DISPATCHER__WEBSOCKET": "edge"}, "an edge needs both"),
    ({"DISPATCHER__WEBHOOKS": "true"}, "WEBHOOK_SECRET is not set"),
    ({"DISPATCHER__WEBHOOKS": "true", "DISPATCHER__WEBHOOK_SECRET_FILE": "nowhere"}, "No such file"),
    ({"DISPATCHER__REDIS_URL": "http://x"}, "expected redis://"),
    ({"DISPATCHER__TRANSIENT_ERRORS": "json:dumps"}, "not all are exceptions"),
    ({"DISPATCHER__NO_SUCH": "1"}, "there is no such setting"),
]


@pytest.mark.parametrize(("settings", "said"), MISTAKES)
def test_a_mistake_is_one_line_and_2(
    settings: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("CDC_SYNC_")]:
        monkeypatch.delenv(name)
    for name, value in (BASE | settings).items():
        monkeypatch.setenv(f"CDC_SYNC_{name}", value)
    handlers = list(logging.getLogger().handlers)
    code = cli.main(("dispatcher", "run"))
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    out, error = capfd.readouterr()
    assert (code, out) == (2, "")
    lines = [line for line in error.splitlines() if line.startswith("cdc-sync:")]
    assert len(lines) == 1, error
    assert said in lines[0]
    assert "CDC_SYNC_DISPATCHER__" in lines[0]
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_one_line_and_2(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command(
            "dispatcher",
            "run",
            folder=tmp_path,
            DISPATCHER__WEBHOOKS="true",
            DISPATCHER__WEBHOOK_SECRET="secret",
            DISPATCHER__HOST="127.0.0.1",
            DISPATCHER__PORT=str(taken.getsockname()[1]),
        )
    assert done.returncode == 2
    assert "CDC_SYNC_DISPATCHER__PORT: cannot listen" in done.stderr
    assert "Traceback" not in done.stderr


WITHOUT = """
import sys
for name in ("aiohttp", "redis", "jwt", "typst", "xlsxwriter"):
    sys.modules[name] = None
from cdc_sync.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_libraries(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CDC_SYNC_")}
    environment |= {f"CDC_SYNC_{name}": value for name, value in (BASE | settings).items()}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("catalog", "--asyncapi"), ("config",), ("run", "--help")])
def test_the_daemon_needs_none_of_the_libraries(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = without_libraries(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_its_libraries_the_dispatcher_says_what_to_install(tmp_path: Path) -> None:
    done = without_libraries(tmp_path, "dispatcher", "run")
    assert done.returncode == 2
    assert "install cdc-sync[dispatcher]" in done.stderr
    assert done.stderr.count("\n") == 1
