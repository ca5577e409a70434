"""The security list, a test a line."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry
from standardwebhooks.webhooks import Webhook
from websockets.exceptions import InvalidStatus

from cdc_sync.config import Settings
from cdc_sync.dispatcher.builtin import relay
from cdc_sync.dispatcher.context import Context
from cdc_sync.dispatcher.errors import Reject, RetryLater
from cdc_sync.dispatcher.events import LedgerGenerate, PaymentSuccess
from cdc_sync.dispatcher.forward import PublicOnly, forward_to
from cdc_sync.dispatcher.handling import Binding
from cdc_sync.dispatcher.ledger import ledger_in
from cdc_sync.dispatcher.protocol import Rules
from cdc_sync.dispatcher.tokens import JwksKeys, OneKey, TokenRefused, Tokens
from cdc_sync.dispatcher.webhooks import Verifier, Webhooks, secret_bytes
from cdc_sync.errors import ConfigError
from tests.dispatcher.harness import (
    AUDIENCE,
    ISSUER,
    KEY,
    MERCHANT,
    PUBLIC,
    Outbox,
    Stored,
    closed_with,
    counted,
    hear,
    new_meters,
    on_a_port,
    run,
    say,
    serving,
    silent,
    token,
    until,
)

NOW = 1_800_000_000.0
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of a secret, ok").decode()
SETTLED = "mq-pay:transaction.settled"
BODY = json.dumps({"eventType": SETTLED, "transaction": {"uid": "t-1", "status": "S"}}).encode()


# Webhooks ----------------------------------------------------------------------------------------------


def verifier(*secrets: str) -> Verifier:
    return Verifier(tuple(secret_bytes(secret, "the setting") for secret in secrets or (SECRET,)), 300.0)


def headers(
    body: bytes = BODY, *, secret: str = SECRET, at: float = NOW, name: str = "msg_1", kind: str = SETTLED
) -> dict[str, str]:
    """As the reference implementation signs."""
    signature = Webhook(secret).sign(name, datetime.fromtimestamp(at, UTC), body.decode())
    return {
        "Content-Type": "application/json",
        "X-Webhook-Event-Type": kind,
        "webhook-id": name,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": signature,
    }


class Receiver:
    """A receiver on a port, and what it stored."""

    def __init__(self, url: str, stored: Stored, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.stored = stored
        self._session = session

    async def post(self, body: Any, given: dict[str, str]) -> int:
        async with self._session.post(self.url, data=body, headers=given) as answer:
            assert await answer.read() == b"", "details for a stranger"
            return answer.status


@asynccontextmanager
async def receiving(**options: Any) -> AsyncIterator[Receiver]:
    stored = Stored()
    given = {"verifier": verifier(), "claims": None, "tolerance_s": 300.0, "clock": lambda: NOW} | options
    webhooks = Webhooks(stored, new_meters(), given.pop("verifier"), given.pop("claims"), **given)  # type: ignore[arg-type]  # a Kafka that remembers
    async with on_a_port({("POST", "/hook"): webhooks.receive}) as port, aiohttp.ClientSession() as session:
        yield Receiver(f"http://127.0.0.1:{port}/hook", stored, session)


def answers(*posts: tuple[Any, dict[str, str]], **options: Any) -> tuple[list[int], int]:
    """What these are answered, and how many were stored."""

    async def main() -> tuple[list[int], int]:
        async with receiving(**options) as receiver:
            return [await receiver.post(*post) for post in posts], len(receiver.stored)

    return run(main())


def test_a_webhook_is_signed_as_the_standard_says() -> None:
    assert answers((BODY, headers())) == ([202], 1)
    for change in ("webhook-signature", "webhook-id", "webhook-timestamp"):
        without = {name: value for name, value in headers().items() if name != change}
        assert answers((BODY, without)) == ([400], 0)
    other = base64.b64encode(b"x" * 32).decode()
    assert answers((BODY, headers(secret=other))) == ([401], 0)
    assert answers((BODY + b" ", headers())) == ([401], 0)
    assert answers((BODY, headers() | {"webhook-id": "msg_2"})) == ([401], 0)


def test_several_secrets_while_one_is_changed() -> None:
    new = "whsec_" + base64.b64encode(b"another secret of thirty-two by.").decode()
    both = verifier(SECRET, new)
    posts = [(BODY, headers(name="1")), (BODY, headers(name="2", secret=new))]
    assert answers(*posts, verifier=both) == ([202, 202], 2)
    several = headers(name="3") | {
        "webhook-signature": f"v1,AAAA v2,BBBB {headers(name='3')['webhook-signature']}"
    }
    assert answers((BODY, several), verifier=both) == ([202], 1)


def test_a_secret_is_in_no_text(tmp_path: Path) -> None:
    """Neither in a representation of the settings nor in the complaint about it."""
    found = settings(webhook_secret="whsec_!!!", webhooks=True)
    assert "whsec_!!!" not in repr(found)
    with pytest.raises(ConfigError) as raised:
        built(found)
    assert "!!!" not in str(raised.value)
    from cdc_sync.reference import effective

    assert "!!!" not in repr(effective(found))


@pytest.mark.parametrize("age_s", [301, -301, 10**9, -(10**9)])
def test_a_stale_or_early_webhook_is_refused(age_s: int) -> None:
    assert answers((BODY, headers(at=NOW - age_s)))[1] == 0
    assert answers((BODY, headers(at=NOW - 299)), (BODY, headers(at=NOW + 299, name="2"))) == ([202, 202], 2)


def test_a_replayed_webhook_is_stored_once() -> None:
    assert answers((BODY, headers()), (BODY, headers()), (BODY, headers())) == ([202, 200, 200], 1)


def test_the_unsigned_header_must_be_what_the_signed_body_says() -> None:
    """Or a captured failure would become a success."""
    failed = BODY.replace(b"transaction.settled", b"transaction.cancelled")
    assert answers((failed, headers(failed, kind=SETTLED))) == ([400], 0)
    untyped = json.dumps({"transaction": {"uid": "t"}}).encode()
    assert answers((untyped, headers(untyped))) == ([400], 0)


def test_an_unknown_type_is_refused() -> None:
    body = BODY.replace(b"transaction.settled", b"transaction.created")
    assert answers((body, headers(body, kind="mq-pay:transaction.created"))) == ([422], 0)
    assert answers((BODY, {n: v for n, v in headers().items() if n != "X-Webhook-Event-Type"})) == ([400], 0)


def settings(**dispatcher: Any) -> Settings:
    return Settings(dispatcher=dispatcher, _env_file=None)


def built(found: Settings) -> Any:
    from cdc_sync.dispatcher.app import build

    return build(found, CollectorRegistry())


def test_without_a_secret_it_does_not_start() -> None:
    with pytest.raises(ConfigError, match="WEBHOOK_SECRET is not set"):
        built(settings(webhooks=True))


def test_unsigned_webhooks_come_from_named_networks_only() -> None:
    unsigned = {"Content-Type": "application/json", "X-Webhook-Event-Type": SETTLED}
    here, elsewhere = [ip_network("127.0.0.0/8")], [ip_network("10.0.0.0/8")]
    assert answers((BODY, unsigned), (BODY, unsigned), verifier=None, unsigned_from=here) == ([202, 200], 1)
    assert answers((BODY, unsigned), verifier=None, unsigned_from=elsewhere) == ([401], 0)


@pytest.mark.parametrize(
    ("body", "change", "status"),
    [
        (b"x" * 262_145, {}, 413),
        (BODY, {"Content-Type": "text/plain"}, 415),
        (b"[" * 100_000, {}, 400),
        (b"{", {}, 400),
        (b'{"eventType": "mq-pay:transaction.settled"}', {}, 400),
        (BODY, {"webhook-id": "x" * 257}, 400),
        (BODY, {"webhook-timestamp": "9" * 400}, 401),
        (BODY, {"webhook-timestamp": "-1"}, 400),
        (BODY, {"webhook-signature": "v1,é"}, 400),
    ],
)
def test_what_is_malformed_is_refused_without_details(
    body: bytes, change: dict[str, str], status: int
) -> None:
    assert answers((body, headers(body) | change)) == ([status], 0)


def test_a_slow_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from cdc_sync.dispatcher import webhooks

    monkeypatch.setattr(webhooks, "READ_WITHIN_S", 0.2)

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3)

    assert answers((slowly(), headers())) == ([408], 0)


def test_no_2xx_before_it_is_stored() -> None:
    async def main() -> None:
        async with receiving() as receiver:
            receiver.stored.is_away = True
            assert await receiver.post(BODY, headers()) == 503
            assert await receiver.post(BODY, headers()) == 503
            receiver.stored.is_away = False
            assert await receiver.post(BODY, headers()) == 202
            assert len(receiver.stored) == 1

    run(main())


# WebSocket ---------------------------------------------------------------------------------------------


def test_who_does_not_authenticate_in_time_is_closed() -> None:
    async def main() -> None:
        async with serving(rules=Rules(authenticate_within_s=0.3)) as world:
            assert await closed_with(await world.client()) == 4001

    run(main())


def test_a_token_in_the_url_is_worth_nothing() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client()
            await client.close()
            url = f"ws://127.0.0.1:{world.port}/ws?token={token('m-1')}"
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
                await socket.send_json({"event": "join", "data": {"rooms": ["wr:observation/merchants/m-1"]}})
                assert (await socket.receive_json())["event"] == "error"

    run(main())


@pytest.mark.parametrize(
    ("origin", "is_welcome"),
    [(None, True), ("https://app.test", True), ("https://evil.test", False), ("null", False), ("own", True)],
)
def test_browsers_come_from_allowed_origins(origin: str | None, is_welcome: bool) -> None:
    async def main() -> None:
        async with serving(origins=("https://app.test",)) as world:
            given = f"http://127.0.0.1:{world.port}" if origin == "own" else origin
            if is_welcome:
                await world.client("m-1", origin=given)
                return
            with pytest.raises(InvalidStatus) as refused:
                await world.client(origin=given)
            assert refused.value.response.status_code == 403

    run(main())


@pytest.mark.parametrize(("limits", "status"), [({"max_connections": 3}, 503), ({"max_per_address": 3}, 429)])
def test_connections_are_limited_before_they_authenticate(limits: dict[str, int], status: int) -> None:
    async def main() -> None:
        async with serving(**limits) as world:  # type: ignore[arg-type]  # two of its limits
            first, *_ = [await world.client() for _ in range(3)]
            with pytest.raises(InvalidStatus) as refused:
                await world.client()
            assert refused.value.response.status_code == status
            await first.close()
            await until(lambda: len(world.edge._open) == 2)
            await asyncio.sleep(0.1)
            await world.client("m-1")

    run(main())


def tokens(algorithms: tuple[str, ...] = ("ES256",), key: str = PUBLIC) -> Tokens:
    keys = OneKey(key, algorithms, "the key")
    return Tokens(keys, algorithms=algorithms, issuer=ISSUER, audience=AUDIENCE, room_templates=(MERCHANT,))


FORGED: dict[str, Callable[[], str]] = {
    "none": lambda: token("m-1", key=None, algorithm="none"),
    "another key": lambda: token("m-1", key=ec.generate_private_key(ec.SECP256R1())),
    "another algorithm": lambda: token("m-1", key="x" * 64, algorithm="HS256"),
    "the public key as a secret": lambda: hs256_with(PUBLIC),
    "another issuer": lambda: token("m-1", iss="https://evil.test"),
    "no issuer": lambda: token("m-1", iss=None),
    "another audience": lambda: token("m-1", aud="other"),
    "no audience": lambda: token("m-1", aud=None),
    "no expiry": lambda: token("m-1", exp=None),
    "expired": lambda: token("m-1", exp=int(time.time()) - 10),
    "not yet": lambda: token("m-1", nbf=4_000_000_000),
    "nothing": lambda: "x",
    "no ascii": lambda: "é.é.é",
}


def hs256_with(secret: str) -> str:
    """Signed by hand: the library refuses to."""
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000, "merchantIds": ["m-1"]}
    content = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    signature = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return (content + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_token_opens_nothing(forged: str) -> None:
    with pytest.raises(TokenRefused):
        run(tokens().verify(FORGED[forged]()))


def test_a_forged_token_closes_the_connection_without_a_reason() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client()
            await say(client, "authenticate", {"token": token("m-1", iss="https://evil.test")})
            assert await closed_with(client) == 4003
            assert client.close_reason == "authentication failed"

    run(main())


@pytest.mark.parametrize(
    ("algorithms", "key"),
    [(("HS256",), PUBLIC), (("ES256",), "a shared secret")],
)
def test_a_key_of_the_other_kind_is_refused_at_start(algorithms: tuple[str, ...], key: str) -> None:
    with pytest.raises(ConfigError, match="the key"):
        OneKey(key, algorithms, "the key")


def test_algorithms_of_both_kinds_are_refused_at_start() -> None:
    with pytest.raises(ValueError, match="HS256 alone"):
        settings(token_algorithms=("ES256", "HS256"))


def test_a_connection_ends_with_its_token() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client()
            await say(client, "authenticate", {"token": token("m-1", exp=int(time.time()) + 2)})
            assert (await hear(client))["event"] == "connected"
            assert await closed_with(client) == 4003

    run(main())


def test_keys_of_an_identity_service_that_is_away_still_serve() -> None:
    """And an unknown key is asked for at most now and then."""

    async def main() -> None:
        asked: list[int] = []
        now = [0.0]
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=False)) | {
            "kid": "k1"
        }

        async def jwks(_: web.Request) -> web.Response:
            asked.append(1)
            return web.json_response({"keys": [public]}) if len(asked) == 1 else web.Response(status=500)

        def signed(kid: str) -> str:
            claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000, "merchantIds": ["m-1"]}
            return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": kid})

        async with on_a_port({("GET", "/jwks"): jwks}) as port, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/jwks"
            keys = JwksKeys(url, lambda: session, new_meters(), clock=lambda: now[0])
            served = Tokens(
                keys, algorithms=("ES256",), issuer=ISSUER, audience=AUDIENCE, room_templates=(MERCHANT,)
            )
            assert (await served.verify(signed("k1"))).rooms == {"wr:observation/merchants/m-1"}
            for _ in range(5):
                with pytest.raises(TokenRefused):
                    await served.verify(signed("k2"))
            assert len(asked) == 1
            now[0] = 31.0
            with pytest.raises(TokenRefused):
                await served.verify(signed("k2"))
            assert len(asked) == 2
            await served.verify(signed("k1"))

    run(main())


@pytest.mark.parametrize("claim", ["*", "m-1/x", "../m-2", "", " ", True, None, {"id": "m"}, 1.5])
def test_a_claim_that_is_no_id_opens_no_room(claim: Any) -> None:
    assert run(tokens().verify(token(merchantIds=[claim]))).rooms == frozenset()


NOT_THEIRS = (
    "wr:observation/merchants/m-2",
    "wr:observation/merchants/m-",
    "wr:observation/merchants/m-1/x",
    "wr:observation/merchants/*",
    "ws:observation.sale.sale-order",
)


def test_rooms_come_from_claims_and_are_matched_exactly() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client("m-1", join=False)
            for room in NOT_THEIRS:
                await say(client, "join", {"rooms": [room]})
                assert (await hear(client))["event"] == "error"
            await world.emit("m-2", "secret")
            assert await silent(client)
            assert world.counted("websocket_refused_total", reason="room") == 5

    run(main())


def test_no_more_rooms_than_fifty() -> None:
    async def main() -> None:
        async with serving() as world:
            many = [f"m-{n}" for n in range(60)]
            client = await world.client(*many, join=False)
            rooms = [MERCHANT.replace("{merchantIds}", merchant) for merchant in many]
            await say(client, "join", {"rooms": rooms[:50]})
            assert len((await hear(client))["data"]["rooms"]) == 50
            await say(client, "join", {"rooms": rooms[50:51]})
            assert (await hear(client))["event"] == "error"

    run(main())


def test_an_event_without_a_merchant_is_relayed_nowhere() -> None:
    outbox = Outbox()
    context = Context("sale", "payment.success", "kafka", "k", b"{}", (), outbox)

    async def main() -> None:
        with pytest.raises(Reject, match="merchantId"):
            await relay.call(PaymentSuccess(sale_order_id="o"), context)  # type: ignore[misc]  # it is async
        await relay.call(PaymentSuccess(sale_order_id="o", merchant_id="m"), context)  # type: ignore[misc]  # it is async

    run(main())
    assert [where for where, _ in outbox.sent] == [
        "wr:observation/merchants/m ws:observation.sale.sale-order"
    ]


def test_clients_cannot_publish() -> None:
    async def main() -> None:
        async with serving() as world:
            client, other = await world.client("m-1"), await world.client("m-1")
            for event in ("ws:observation.sale.sale-order", "emit", "broadcast", "publish"):
                await say(client, event, {"room": "wr:observation/merchants/m-1"})
            assert await silent(other)
            assert await silent(client)
            assert world.counted("websocket_refused_total", reason="unknown_event") == 4

    run(main())


def test_what_comes_in_is_limited() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client("m-1")
            await client.send("x" * 131_073)
            assert await closed_with(client) == 1009
            other = await world.client("m-1")
            await other.send(b"\x00")
            assert await closed_with(other) == 1003

    run(main())


def test_nothing_is_compressed() -> None:
    """What a stranger can choose and a secret, compressed together, tell one another."""

    async def main() -> None:
        async with serving() as world, aiohttp.ClientSession() as session:
            url = f"ws://127.0.0.1:{world.port}/ws"
            async with session.ws_connect(url, compress=15) as socket:
                assert socket.compress == 0

    run(main())


# The rest ----------------------------------------------------------------------------------------------


def context_of(body: bytes = BODY) -> Context:
    return Context("finance", "payment.success", "kafka", "the-key", body, (), Outbox())


def forwarded(answer: Any, *, secret: bytes | None = b"secret", **options: Any) -> list[web.Request]:
    """What a service receives of a forwarded event that it answers like this."""
    received: list[web.Request] = []

    async def main() -> None:
        async def service(request: web.Request) -> web.Response:
            await request.read()
            received.append(request)
            made: web.Response = answer()
            return made

        routes = {("POST", "/in"): service, ("POST", "/other"): service}
        async with on_a_port(routes) as port, aiohttp.ClientSession(**options) as session:
            url = f"http://127.0.0.1:{port}/in"
            handler = forward_to(url, secret, lambda: session, allow_private=True, setting="s")
            await handler.call(PaymentSuccess(sale_order_id="o"), context_of())  # type: ignore[misc]  # it is async

    run(main())
    return received


def test_a_forwarded_event_is_signed_and_can_be_told_from_its_repetition() -> None:
    (request,) = forwarded(lambda: web.Response(status=204))
    assert request.headers["Idempotency-Key"] == request.headers["webhook-id"] == "the-key"
    key = base64.b64encode(b"secret").decode()
    Webhook(key).verify(BODY, dict(request.headers))


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (lambda: web.Response(status=307, headers={"Location": "/other"}), Reject),
        (lambda: web.Response(status=404), Reject),
        (lambda: web.Response(status=503), RetryLater),
        (lambda: web.Response(status=429, headers={"Retry-After": "7"}), RetryLater),
    ],
)
def test_a_redirect_is_not_followed_and_an_outage_is_waited_for(answer: Any, raised: type[Exception]) -> None:
    with pytest.raises(raised) as error:
        forwarded(answer)
    assert getattr(error.value, "after_s", None) in (None, 7.0)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://[::1]/", "http://10.0.0.1/", "http://169.254.169.254/"]
)
def test_private_addresses_are_refused_where_the_settings_say_so(url: str) -> None:
    with pytest.raises(ConfigError, match="private"):
        forward_to(url, None, aiohttp.ClientSession, allow_private=False, setting="s")


def test_a_name_of_a_private_address_is_refused_when_it_is_resolved() -> None:
    async def main() -> None:
        resolver = PublicOnly()
        with pytest.raises(OSError, match="no public address"):
            await resolver.resolve("localhost", 80)
        await resolver.close()

    run(main())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/", "https://", "https://u:p@x/", "x"])
def test_a_forward_goes_to_urls_of_the_settings_only(url: str) -> None:
    with pytest.raises(ConfigError, match="forward"):
        forward_to(url, None, aiohttp.ClientSession, allow_private=True, setting="s")


def test_functions_are_loaded_only_where_the_settings_name_them() -> None:
    """An event's content can name nothing: the binding is fixed before the first event comes."""
    with pytest.raises(ConfigError, match="cannot load"):
        built(settings(services=("finance",), handlers={"finance": {"*": ["no_such_module:function"]}}))
    assert "module" not in Binding.__dataclass_fields__


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".hidden", "-x", "a b", "x" * 129, "x\x00", "é"])
def test_a_ledgers_file_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "ledgers"
    with pytest.raises(Reject, match="ledgerId"):
        ledger_in(folder).call(LedgerGenerate(ledger_id=name), context_of())
    assert list(tmp_path.iterdir()) == []


def test_dead_letters_lie_in_a_topic_of_their_service() -> None:
    """So that its rights can be those of the source."""
    with pytest.raises(ValueError, match="service"):
        settings(dlq_topic="one.for.all")


def test_an_edge_does_not_start_with_anything_left_open() -> None:
    for left in ({}, {"token_issuer": "i", "token_audience": "a"}, {"token_issuer": "i"}):
        with pytest.raises(ConfigError, match="TOKEN_"):
            built(settings(websocket="edge", **left))
    assert counted(new_meters(), "websocket_deliveries_total") == 0
