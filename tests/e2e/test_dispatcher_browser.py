"""A page in a real browser, without a screen: it joins its merchant's room and shows an order's change."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.dispatcher.redis_part import redis_part
from tools.stack import Stack, Unavailable, packages
from tools.stack.layout import free_port

from .platform import Platform, wait_for
from .shared import skip_unless_ci

pytestmark = pytest.mark.integration

PAGE = """<!doctype html><title>orders</title><p id="state">connecting</p>
<ul id="orders"></ul><img src="/hold"><script>
const socket = new WebSocket("ws://127.0.0.1:%(port)s/ws");
const say = (event, data) => socket.send(JSON.stringify({event, data}));
socket.onopen = () => say("authenticate", {type: "Bearer", token: "%(token)s"});
socket.onclose = (event) => { document.getElementById("state").textContent = "closed " + event.code; };
socket.onmessage = (message) => {
  const {event, data} = JSON.parse(message.data);
  if (event === "connected") say("join", {rooms: ["%(room)s"]});
  if (event === "joined") { document.getElementById("state").textContent = "joined"; fetch("/joined"); }
  if (event === "ws:observation.sale.sale-order") {
    const item = document.createElement("li");
    item.textContent = data.id + " " + data.status;
    document.getElementById("orders").append(item);
    fetch("/shown");
  }
};
</script>"""


class Site:
    """Serves the page, and hears how far it is. An image that does not come keeps it loading until then."""

    def __init__(self, page: str, port: int) -> None:
        self.joined = threading.Event()
        self.shown = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/joined":
                    site.joined.set()
                if self.path == "/shown":
                    site.shown.set()
                if self.path == "/hold":
                    site.shown.wait(60)
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  # its name

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def platform(stack: Stack, tmp_path: Path) -> Iterator[Platform]:
    with redis_part() as redis:
        made = Platform(stack.broker.address, redis.address, tmp_path)
        yield made
        made.close()


def test_a_page_shows_an_orders_change(platform: Platform, tmp_path: Path) -> None:
    try:
        browser = packages.chromium()
    except Unavailable as error:
        skip_unless_ci(f"a real part is missing: {error}")
    port = free_port()
    process = platform.start(
        "sale",
        DISPATCHER__WEBHOOKS="true",
        DISPATCHER__WEBSOCKET="edge",
        DISPATCHER__WEBSOCKET_ORIGINS=f"http://127.0.0.1:{port}",
    )
    run = uuid.uuid4().hex[:8]
    room = f"wr:observation/merchants/m-{run}"
    facts = {"port": process.http_port, "token": platform.token(f"m-{run}"), "room": room}
    site = Site(PAGE % facts, port)
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"http://127.0.0.1:{port}/",
    ]
    page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert site.joined.wait(60), "the page has not joined"
        split = {"saleOrderId": f"o-{run}", "merchantId": f"m-{run}", "status": "SPLIT"}
        platform.announce("sale.order.split", split)
        shown, _ = page.communicate(timeout=60)
    finally:
        page.kill()
        site.server.shutdown()
        site.server.server_close()
    assert f"<li>o-{run} SPLIT</li>" in shown
    assert '<p id="state">joined</p>' in shown
    assert wait_for(lambda: process.metric("cdc_sync_dispatcher_websocket_deliveries_total"))
