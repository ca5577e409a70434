"""Writes to one collection are applied one after the other, in the order of their last byte."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from cdc_sync.typesense_standin import Fault, StandIn

from .conftest import Client, RawClient

IMPORT = "/collections/c/documents/import?action=upsert"


def wait_for(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def line(document_id: str, text: str) -> bytes:
    return json.dumps({"id": document_id, "t": text}).encode()


def test_order_is_that_of_the_last_byte(client: Client, standin: StandIn) -> None:
    """An older import whose last byte comes later overwrites the newer one (0.4)."""
    client.create("c")
    older = RawClient(standin)
    body = line("1", "older")
    older.socket.sendall(older.request("POST", IMPORT, body)[:-1])
    client.upsert("c", {"id": "1", "t": "newer"})
    assert client.get("c", "1")["t"] == "newer"
    older.socket.sendall(body[-1:])
    older.read_until(b"0\r\n\r\n")
    older.close()
    assert client.get("c", "1")["t"] == "older"


def test_incomplete_body_is_never_applied(client: Client, standin: StandIn) -> None:
    client.create("c")
    cut = RawClient(standin)
    cut.socket.sendall(cut.request("POST", IMPORT, line("1", "x") + b"\n" + line("2", "y"))[:-1])
    cut.close()
    time.sleep(0.05)
    assert client.ids("c") == []


def test_applied_though_the_client_has_gone(client: Client, standin: StandIn) -> None:
    client.create("c")
    standin.faults.add(Fault(kind="delay_before_apply", path="import", count=1, seconds=0.2))
    gone = RawClient(standin)
    gone.socket.sendall(gone.request("POST", IMPORT, line("1", "x")))
    time.sleep(0.05)
    gone.close()
    wait_for(lambda: client.ids("c") == ["1"])


def test_writes_wait_for_each_other_and_reads_do_not(client: Client, other: Client, standin: StandIn) -> None:
    client.create("c")
    client.create("d")
    standin.faults.add(Fault(kind="delay_before_apply", path="/c/.*import", count=1, seconds=1.5))
    slow = threading.Thread(target=client.upsert, args=("c", {"id": "1", "t": "first"}))
    slow.start()
    wait_for(lambda: other.json("GET", "/stats.json")["pending_write_batches"] == 1)
    other.upsert("d", {"id": "1", "t": "elsewhere"})
    assert other.ids("c") == []
    assert slow.is_alive()
    other.upsert("c", {"id": "1", "t": "second"})
    slow.join()
    assert other.get("c", "1")["t"] == "second"
    assert standin.max_in_flight["c"] == 2
    assert standin.max_in_flight["d"] == 1


def test_alias_is_resolved_when_the_write_is_queued(client: Client, other: Client, standin: StandIn) -> None:
    client.create("one")
    client.create("two")
    client.json("PUT", "/aliases/a", {"collection_name": "one"})
    standin.faults.add(Fault(kind="delay_before_apply", path="import", count=1, seconds=0.3))
    slow = threading.Thread(target=client.upsert, args=("a", {"id": "1", "t": "x"}))
    slow.start()
    wait_for(lambda: other.json("GET", "/stats.json")["pending_write_batches"] == 1)
    other.json("PUT", "/aliases/a", {"collection_name": "two"})
    slow.join()
    assert other.ids("one") == ["1"]
    assert other.ids("two") == []


def test_a_long_import_lets_reads_through(client: Client, other: Client) -> None:
    client.create("c")
    documents = [{"id": str(number), "t": "text " * 10} for number in range(100_000)]
    writing = threading.Thread(target=client.upsert, args=("c", *documents))
    writing.start()
    seen = set()
    while writing.is_alive():
        seen.add(other.json("GET", "/collections/c")["num_documents"])
    writing.join()
    assert seen - {0, len(documents)}


def test_second_alter_is_refused_while_one_runs(client: Client, other: Client, standin: StandIn) -> None:
    client.create("c")
    standin.faults.add(Fault(kind="delay_before_apply", method="PATCH", count=1, seconds=0.3))
    change = {"fields": [{"name": "n", "type": "int32", "optional": True}]}
    first = threading.Thread(target=client.json, args=("PATCH", "/collections/c", change))
    first.start()
    wait_for(lambda: other.json("GET", "/operations/schema_changes") is not None)
    status, text = other.send("PATCH", "/collections/c", json.dumps(change))
    first.join()
    assert (status, text) == (
        422,
        '{"message": "Another collection update operation is in progress."}',
    )
    assert other.json("GET", "/operations/schema_changes") is None
