"""A data directory keeps everything that was acknowledged, also after SIGKILL; and the command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cdc_sync.typesense_standin import StandIn
from cdc_sync.typesense_standin.app import App
from cdc_sync.typesense_standin.context import Context
from cdc_sync.typesense_standin.http import Connection

from .conftest import Client

COMMAND = [sys.executable, "-m", "cdc_sync.typesense_standin", "--api-key", "xyz"]
PRODUCT = ({"name": "n", "type": "int64"}, {"name": "name_.*", "type": "string"})


class Process:
    """The stand-in as its own process; quacks enough like StandIn for ``Client``."""

    api_key = "xyz"

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        self.port = int(self.ready_line.split("127.0.0.1:")[1].split(" ")[0])

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def connected(server: object) -> Client:
    return Client(server)  # type: ignore[arg-type]  # has what a Client needs


def test_survives_sigkill(data_dir: Path) -> None:
    server = Process("--port", "0", "--data-dir", str(data_dir))
    client = connected(server)
    client.create("c", *PRODUCT, default_sorting_field="n")
    client.create("gone")
    client.json("PUT", "/aliases/a", {"collection_name": "c"})
    client.json("PUT", "/aliases/b", {"collection_name": "c"})
    client.json("DELETE", "/aliases/b")
    client.json("DELETE", "/collections/gone")
    client.upsert("c", {"id": "1", "n": 1}, {"id": "2", "n": 2, "name_en": "Shoe"})
    client.upsert("c", {"id": "3", "n": 3}, {"id": "1", "n": 10})
    client.send("DELETE", "/collections/c/documents/2")
    client.upsert("c", {"n": 7})
    client.json("PATCH", "/collections/c", {"metadata": {"version": 4}})
    before = client.json("GET", "/collections/c")
    exported = client.send("GET", "/collections/c/documents/export")[1]
    client.close()
    assert server.end(signal.SIGKILL) == -signal.SIGKILL

    again = Process("--port", "0", "--data-dir", str(data_dir))
    client = connected(again)
    assert client.json("GET", "/collections/c") == before
    assert client.send("GET", "/collections/a/documents/export")[1] == exported
    assert client.json("GET", "/aliases")["aliases"] == [{"collection_name": "c", "name": "a"}]
    assert client.upsert("c", {"n": 8}, query="&return_id=true")[0]["id"] == "4"
    assert client.ids("c", "n:>6") == ["1", "3", "4"]
    client.close()
    assert again.end(signal.SIGTERM) == 0


def test_a_record_cut_by_a_kill_is_dropped(data_dir: Path) -> None:
    with StandIn(data_dir=data_dir) as standin:
        client = Client(standin)
        client.create("c")
        client.upsert("c", {"id": "1", "t": "x"})
        client.upsert("c", {"id": "2", "t": "y"}, {"id": "3", "t": "z"})
        client.close()
    log = data_dir / "standin.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    for _ in range(2):
        with StandIn(data_dir=data_dir) as standin:
            client = Client(standin)
            assert client.ids("c") == ["1"]
            client.close()


def test_a_log_of_dead_records_is_rewritten(data_dir: Path) -> None:
    with StandIn(data_dir=data_dir) as standin:
        client = Client(standin)
        client.create("c")
        client.json("PUT", "/aliases/a", {"collection_name": "c"})
        for number in range(4):
            documents = [{"id": str(key), "t": f"{number}"} for key in range(4000)]
            client.upsert("c", *documents)
        client.send("DELETE", "/collections/c/documents?filter_by=id:[0,1,2]")
        before = client.send("GET", "/collections/c/documents/export")
        client.close()
    size_bytes = (data_dir / "standin.jsonl").stat().st_size
    for _ in range(2):
        with StandIn(data_dir=data_dir) as standin:
            client = Client(standin)
            assert client.send("GET", "/collections/a/documents/export") == before
            client.close()
    assert (data_dir / "standin.jsonl").stat().st_size < size_bytes / 2


def test_one_process_for_a_data_directory(data_dir: Path) -> None:
    with StandIn(data_dir=data_dir), pytest.raises(OSError, match="in use"):
        StandIn(data_dir=data_dir).start()


def test_everything_is_refused_while_loading() -> None:
    """Until the log is read requests get 503, also with a wrong key; unknown routes stay 404."""

    async def ask(app: App, target: str) -> bytes:
        peers: set[Connection] = set()
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: Connection(app.handle, peers), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        listener.close()
        return answer

    app = App("xyz", Context())
    assert b"503 \r\n" in asyncio.run(ask(app, "/collections"))
    assert asyncio.run(ask(app, "/health")).endswith(b'{"ok":false}')
    assert b'"state":"NOT_READY"' in asyncio.run(ask(app, "/status?x-typesense-api-key=xyz"))
    assert b"404 Not Found" in asyncio.run(ask(app, "/nope"))
    app.context.is_ready = True
    assert b"401 Unauthorized" in asyncio.run(ask(app, "/collections"))
    assert asyncio.run(ask(app, "/health")).endswith(b'{"ok":true}')


def test_a_large_log_is_loaded_whole(data_dir: Path) -> None:
    with StandIn(data_dir=data_dir) as standin:
        client = Client(standin)
        client.create("c")
        for part in range(3):
            lines = [json.dumps({"id": f"{part}-{key}", "t": "x"}) for key in range(20_000)]
            client.send("POST", "/collections/c/documents/import", "\n".join(lines))
        client.close()
    with StandIn(data_dir=data_dir) as standin:
        client = Client(standin)
        assert client.json("GET", "/collections/c")["num_documents"] == 60_000
        client.close()


def test_command_says_that_it_is_ready_and_ends_cleanly() -> None:
    server = Process("--port", "0")
    assert "ready at http://127.0.0.1:" in server.ready_line
    assert "not a real Typesense" in server.ready_line
    assert server.end(signal.SIGTERM) == 0


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr


def test_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        expected = f"typesense-standin: port {port} is already in use\n"
        assert run("--port", str(port)) == (2, expected)


def test_other_hosts_are_refused() -> None:
    status, text = run("--port", "0", "--host", "0.0.0.0")
    assert status == 2
    assert text == "typesense-standin: the stand-in listens on 127.0.0.1 only, not on 0.0.0.0\n"


def test_the_data_directory_is_private(data_dir: Path) -> None:
    with StandIn(data_dir=data_dir):
        assert os.stat(data_dir / "standin.jsonl").st_mode & 0o077 == 0
