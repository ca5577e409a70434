"""Every fault does what it says, as often as it may, and counts."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from cdc_sync.typesense_standin import Fault, StandIn

from .conftest import Client, RawClient

TWO = ({"id": "1", "t": "x"}, {"id": "2", "t": "y"})
IMPORT = "/collections/c/documents/import?action=upsert"
BATCH_TEXT = "Unhandled Typesense error in index batch, check logs for details."


@pytest.fixture(autouse=True)
def collection(client: Client) -> None:
    client.create("c")


def send_two(standin: StandIn, timeout_s: float = 5.0) -> bytes:
    """Import two documents and read until the connection ends; raises what the socket raises."""
    raw = RawClient(standin, timeout_s)
    try:
        body = "\n".join(json.dumps(document) for document in TWO).encode()
        raw.socket.sendall(raw.request("POST", IMPORT, body))
        return raw.read_all()
    finally:
        raw.close()


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("lagging", 503, '{ "message": "Not Ready or Lagging"}'),
        ("rate_limit", 429, '{ "message": "Rate limit exceeded or blocked"}'),
        (
            "out_of_resources",
            422,
            '{"message": "Rejecting write: running out of resource type: OUT_OF_DISK"}',
        ),
        ("status", 500, '{ "message": "Could not find a leader."}'),
    ],
)
def test_refusals_apply_nothing(client: Client, standin: StandIn, kind: Any, status: int, text: str) -> None:
    armed = standin.faults.add(Fault(kind=kind, count=1))
    assert client.send("POST", IMPORT, json.dumps(TWO[0])) == (status, text)
    assert client.ids("c") == []
    assert client.upsert("c", *TWO) == [{"success": True}] * 2
    assert (armed.matched, armed.fired) == (2, 1)


def test_lag_comes_before_auth_and_spares_reads(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="lagging"))
    assert client.json("GET", "/collections/c")["num_documents"] == 0
    standin.api_key = "wrong"
    assert client.send("DELETE", "/collections/c")[0] == 503
    assert client.send("POST", "/nope")[0] == 404
    standin.faults.clear()
    assert client.send("DELETE", "/collections/c")[0] == 401


def test_reads_are_hit_on_demand(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="lagging", reads=True))
    assert client.send("GET", "/collections/c")[0] == 503


def test_batch_500_fails_the_whole_internal_batch(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="batch_500", ids=("2",)))
    failed = {"code": 500, "error": BATCH_TEXT, "success": False}
    assert client.upsert("c", *TWO, {"id": "3", "t": "z"}) == [failed] * 3
    assert client.ids("c") == []
    assert client.upsert("c", TWO[1]) == [failed]
    assert client.upsert("c", TWO[0]) == [{"success": True}]


def test_batch_500_spares_the_other_batches(client: Client, standin: StandIn) -> None:
    armed = standin.faults.add(Fault(kind="batch_500", contains='"poison"'))
    documents = [{"id": str(number), "t": "x"} for number in range(1500)]
    documents[10]["t"] = "poison"
    results = client.upsert("c", *documents)
    assert [result["success"] for result in results] == [False] * 1000 + [True] * 500
    assert len(client.ids("c")) == 500
    assert armed.fired == 1


def test_reset_before_apply(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="reset_before_apply", count=1))
    with pytest.raises(ConnectionResetError):
        send_two(standin)
    assert client.ids("c") == []


def test_reset_after_apply(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="reset_after_apply", count=1))
    with pytest.raises(ConnectionResetError):
        send_two(standin)
    assert client.ids("c") == ["1", "2"]


@pytest.mark.parametrize("applied", [True, False])
def test_never_answer(client: Client, standin: StandIn, applied: bool) -> None:
    standin.faults.add(Fault(kind="never_answer", applied=applied, count=1))
    with pytest.raises(TimeoutError):
        send_two(standin, timeout_s=0.2)
    assert client.ids("c") == (["1", "2"] if applied else [])


def test_truncated_answer_has_applied_everything(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="truncate", lines=1, count=1))
    answer = send_two(standin)
    assert answer.count(b'{"success":true}') == 1
    assert not answer.endswith(b"0\r\n\r\n")
    assert client.ids("c") == ["1", "2"]


def test_422_in_the_middle_of_the_stream(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="append_422", lines=1, count=1))
    body = "\n".join(json.dumps(document) for document in TWO)
    status, text = client.send("POST", IMPORT, body)
    assert status == 200
    assert text.split("\n") == [
        '{"success":true}',
        '{"message": "Rejecting write: running out of resource type: OUT_OF_DISK"}',
    ]
    assert client.ids("c") == ["1"]


@pytest.mark.parametrize("kind", ["delay_before_apply", "delay_after_apply"])
def test_delays(client: Client, standin: StandIn, kind: Any) -> None:
    standin.faults.add(Fault(kind=kind, seconds=0.15, count=1))
    began = time.monotonic()
    assert client.upsert("c", *TWO) == [{"success": True}] * 2
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize(("outside_queue", "last"), [(False, "newer"), (True, "x")])
def test_apply_late(standin: StandIn, other: Client, outside_queue: bool, last: str) -> None:
    """In the queue a late write is overtaken by nothing; outside it is the zombie of section 7."""
    standin.faults.add(Fault(kind="apply_late", seconds=0.4, count=1, outside_queue=outside_queue))
    with pytest.raises(TimeoutError):
        send_two(standin, timeout_s=0.1)
    other.upsert("c", {"id": "1", "t": "newer"})
    time.sleep(0.6)
    assert other.get("c", "1")["t"] == last


def test_limits_by_method_path_skip_and_probability(client: Client, standin: StandIn) -> None:
    picky = standin.faults.add(
        Fault(kind="lagging", method="POST", path=r"/c/documents/import", skip=1, count=1)
    )
    assert client.send("DELETE", "/collections/c/documents?filter_by=id:1")[0] == 200
    assert [client.send("POST", IMPORT, b"")[0] for _ in range(4)] == [200, 503, 200, 200]
    assert (picky.matched, picky.fired) == (4, 1)
    standin.faults.set([Fault(kind="lagging", probability=0.5, seed=7)])
    first = [client.send("POST", IMPORT, b"")[0] for _ in range(30)]
    standin.faults.set([Fault(kind="lagging", probability=0.5, seed=7)])
    again = [client.send("POST", IMPORT, b"")[0] for _ in range(30)]
    assert first == again
    assert {200, 503} == set(first)


def test_cut_characters_are_lost(client: Client, standin: StandIn) -> None:
    standin.faults.add(Fault(kind="lose_cut_characters"))
    text = "語" * 200_000
    body = json.dumps({"id": "12", "t": text}, ensure_ascii=False).encode()
    assert client.send("POST", IMPORT, body)[0] == 200
    assert len(client.get("c", "12")["t"]) < len(text)
    client.send("POST", IMPORT, json.dumps({"id": "12", "t": text}))
    assert client.get("c", "12")["t"] == text


def test_faults_over_http(client: Client) -> None:
    spec = {"kind": "lagging", "count": 1, "path": "import"}
    assert client.json("PUT", "/standin/faults", {"faults": [spec]})["faults"][0]["fired"] == 0
    assert client.send("POST", IMPORT, b"")[0] == 503
    assert client.json("GET", "/standin/faults")["faults"] == [spec | {"matched": 1, "fired": 1}]
    client.json("POST", "/standin/faults", {"kind": "rate_limit"})
    assert client.send("POST", IMPORT, b"")[0] == 429
    assert client.json("DELETE", "/standin/faults") == {"faults": []}
    assert client.send("POST", IMPORT, b"")[0] == 200
    assert client.send("PUT", "/standin/faults", '{"kind": "nonsense"}')[0] == 400
    client.standin.api_key = "wrong"
    assert client.send("GET", "/standin/faults")[0] == 401


def test_requests_are_logged(client: Client, standin: StandIn) -> None:
    client.json("DELETE", "/standin/requests")
    client.upsert("c", *TWO)
    logged = client.json("GET", "/standin/requests")
    assert logged["max_in_flight"]["c"] == 1
    mine = [item for item in logged["requests"] if item["path"] == IMPORT]
    assert [(item["method"], item["status"], item["documents"]) for item in mine] == [("POST", 200, 2)]


def test_write_lag_setting_shuts_the_gate(client: Client, other: Client) -> None:
    """With the limit below what is queued, writes get 503 while health and reads stay good."""
    client.json("POST", "/config", {"healthy-write-lag": -1})
    assert client.send("POST", IMPORT, b"")[0] == 503
    assert other.send("GET", "/health") == (200, '{"ok":true}')
    client.json("POST", "/config", {"healthy-write-lag": 500, "skip-writes": True})
    assert client.send("POST", IMPORT, b"") == (422, '{"message": "Skipping writes."}')
