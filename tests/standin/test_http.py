"""The wire: chunked answers, pipelining, chunked and announced bodies, old clients."""

from __future__ import annotations

import json

from .conftest import Client, RawClient


def test_head_of_an_answer(raw: RawClient) -> None:
    raw.socket.sendall(raw.head("GET", "/health"))
    assert raw.read_until(b"0\r\n\r\n") == (
        b"HTTP/1.1 200 OK\r\n"
        b"Connection: keep-alive\r\n"
        b"access-control-allow-origin: *\r\n"
        b"content-type: application/json; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
        b'b\r\n{"ok":true}\r\n0\r\n\r\n'
    )


def test_pipelined_requests_are_answered_in_order(client: Client, raw: RawClient) -> None:
    client.create("c")
    path = "/collections/c/documents"
    body = b'{"id":"1","t":"x"}'
    raw.socket.sendall(
        raw.request("POST", path, body)
        + raw.head("GET", path + "/1")
        + raw.head("GET", path + "/2", "Connection: close")
    )
    answers = raw.read_all()
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"201", b"200", b"404"]


def test_chunked_body_in_odd_pieces(client: Client, raw: RawClient) -> None:
    client.create("c")
    documents = "\n".join(json.dumps({"id": str(key), "t": "é"}) for key in range(50)).encode()
    pieces = [documents[at : at + 97] for at in range(0, len(documents), 97)]
    body = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = raw.head("POST", "/collections/c/documents/import", "Transfer-Encoding: chunked")
    whole = head + body + b"0\r\n\r\n"
    for at in range(0, len(whole), 500):
        raw.socket.sendall(whole[at : at + 500])
    assert raw.read_until(b"0\r\n\r\n").count(b'{"success":true}') == 50


def test_expect_continue(client: Client, raw: RawClient) -> None:
    client.create("c")
    body = b'{"id":"1","t":"x"}'
    length = f"Content-Length: {len(body)}"
    head = raw.head("POST", "/collections/c/documents", length, "Expect: 100-continue")
    raw.socket.sendall(head)
    assert raw.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.socket.sendall(body)
    assert raw.read_until(b"0\r\n\r\n").startswith(b"HTTP/1.1 201 Created\r\n")


def test_http_1_0_gets_no_chunks(raw: RawClient) -> None:
    raw.socket.sendall(b"GET /health HTTP/1.0\r\n\r\n")
    answer = raw.read_all()
    assert answer.endswith(b'\r\n\r\n{"ok":true}')
    assert b"chunked" not in answer


def test_head_and_options_are_404_without_confusing_the_connection(raw: RawClient) -> None:
    raw.socket.sendall(raw.head("HEAD", "/health") + raw.head("OPTIONS", "/health"))
    answers = raw.read_until(b"0\r\n\r\n").split(b"HTTP/1.1 ")
    assert [part[:3] for part in answers[1:]] == [b"404", b"404"]
    assert answers[1].endswith(b"\r\n\r\n")
    assert answers[2].endswith(b'{ "message": "Not Found"}\r\n0\r\n\r\n')


def test_503_has_no_reason_phrase(client: Client, raw: RawClient) -> None:
    client.json("PUT", "/standin/faults", {"kind": "lagging"})
    raw.socket.sendall(raw.request("DELETE", "/collections/c"))
    assert raw.read_until(b"0\r\n\r\n").startswith(b"HTTP/1.1 503 \r\n")


def test_what_is_no_http_is_turned_away(raw: RawClient) -> None:
    raw.socket.sendall(b"hello\r\n\r\n")
    assert raw.read_all().startswith(b"HTTP/1.1 400")
