"""Claims and subscriptions on a real Redis; claims are held to one contract, wherever they are kept."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from cdc_sync.dispatcher.claims import Claimed, Claims, LocalClaims
from cdc_sync.dispatcher.pubsub import Publisher, Subscriber, redis_at
from cdc_sync.dispatcher.redis_claims import RedisClaims
from cdc_sync.errors import ConfigError
from tests.dispatcher.harness import counted, ended, new_meters, run, until
from tests.dispatcher.redis_part import redis_part
from tools.stack import LocalProcess


@pytest.fixture(scope="module")
def part() -> Iterator[LocalProcess]:
    with redis_part() as server:
        yield server


@asynccontextmanager
async def connected(part: LocalProcess) -> AsyncIterator[Redis]:
    redis = redis_at(f"redis://{part.address}/0", "the setting")
    try:
        yield redis
    finally:
        await redis.aclose()


# Claims ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def kept(kind: str, part: LocalProcess, keep_s: float = 600.0) -> AsyncIterator[Claims]:
    if kind == "local":
        yield LocalClaims(keep_s)
        return
    async with connected(part) as redis:
        await redis.flushall()
        yield RedisClaims(redis, expire_s=1.2, keep_s=keep_s)


each_kind = pytest.mark.parametrize("kind", ["local", "redis"])


@each_kind
def test_a_claim_is_won_once_and_then_done(kind: str, part: LocalProcess) -> None:
    async def main() -> None:
        async with kept(kind, part) as claims:
            async with claims.hold("s", "k") as first:
                async with claims.hold("s", "k") as second, claims.hold("other", "k") as other:
                    assert [c.state for c in (first, second, other)] == [
                        Claimed.WON,
                        Claimed.HELD,
                        Claimed.WON,
                    ]
                first.is_done = True
            async with claims.hold("s", "k") as third:
                assert third.state is Claimed.DONE

    run(main())


@each_kind
def test_what_is_not_done_is_given_back(kind: str, part: LocalProcess) -> None:
    async def main() -> None:
        async with kept(kind, part) as claims:
            with pytest.raises(ValueError, match="failed"):
                async with claims.hold("s", "k"):
                    raise ValueError("failed")
            async with claims.hold("s", "k") as again:
                assert again.state is Claimed.WON

    run(main())


@each_kind
def test_what_is_done_is_forgotten_in_time(kind: str, part: LocalProcess) -> None:
    async def main() -> None:
        async with kept(kind, part) as claims:
            async with claims.hold("s", "k", 0.1) as claim:
                claim.is_done = True
            await asyncio.sleep(0.3)
            async with claims.hold("s", "k") as again:
                assert again.state is Claimed.WON

    run(main())


def test_a_long_run_keeps_its_claim_and_a_dead_one_loses_it(part: LocalProcess) -> None:
    async def main() -> None:
        async with kept("redis", part) as claims, connected(part) as redis:
            async with claims.hold("s", "long"):
                await asyncio.sleep(2.0)
                async with claims.hold("s", "long") as other:
                    assert other.state is Claimed.HELD
            await redis.set("cdc-sync:claim:s:dead", "run:somebody", px=300)
            async with claims.hold("s", "dead") as early:
                assert early.state is Claimed.HELD
            await asyncio.sleep(0.5)
            async with claims.hold("s", "dead") as late:
                assert late.state is Claimed.WON

    run(main())


def test_without_redis_nobody_knows() -> None:
    async def main() -> None:
        redis = redis_at("redis://127.0.0.1:1/0", "the setting")
        async with RedisClaims(redis).hold("s", "k") as claim:
            assert claim.state is Claimed.UNSURE
            claim.is_done = True
        await redis.aclose()

    run(main())


def test_a_race_of_replicas_and_ways_runs_each_payment_once(part: LocalProcess) -> None:
    """Three replicas, two ways, some that give up in the middle: each is done once in the end."""

    async def main() -> None:
        done: Counter[str] = Counter()
        dice = random.Random(7)

        async def deliver(claims: Claims, key: str) -> None:
            while True:
                async with claims.hold("finance", key) as claim:
                    if claim.state is Claimed.DONE:
                        return
                    if claim.state is Claimed.WON and dice.random() > 0.2:
                        await asyncio.sleep(dice.random() / 1000)
                        done[key] += 1
                        claim.is_done = True
                        return
                await asyncio.sleep(dice.random() / 200)

        async with kept("redis", part) as claims:
            keys = [f"p-{n}" for n in range(60)]
            work = [deliver(claims, key) for key in keys for _ in range(5)]
            dice.shuffle(work)
            await asyncio.gather(*work)
        assert done == Counter(keys)

    run(main())


def test_many_ids_do_not_fill_the_memory() -> None:
    async def main() -> None:
        claims = LocalClaims(600)
        for n in range(100_500):
            async with claims.hold("s", str(n)) as claim:
                claim.is_done = True
        assert len(claims._done) <= 100_000

    run(main())


# Subscriptions -----------------------------------------------------------------------------------------


def test_channels_come_and_go(part: LocalProcess) -> None:
    async def main() -> None:
        heard: list[tuple[str, bytes]] = []
        meters = new_meters()
        async with connected(part) as redis:
            publisher = Publisher(redis, meters)
            subscriber = Subscriber("s", redis, ("always",), lambda c, b: heard.append((c, b)), meters)
            listening = asyncio.create_task(subscriber.run())
            await until(lambda: subscriber.is_connected)
            await subscriber.add("room")
            await subscriber.add("room")
            for channel in ("always", "room", "other"):
                await publisher.publish(channel, b"1")
            await subscriber.remove("room")
            await publisher.publish("room", b"2")
            await subscriber.remove("room")
            await publisher.publish("room", b"3")
            await publisher.publish("always", b"4")
            await until(lambda: ("always", b"4") in heard)
            assert heard == [("always", b"1"), ("room", b"1"), ("room", b"2"), ("always", b"4")]
            assert counted(meters, "redis_published_total", outcome="unheard") == 2
            await ended(listening)

    run(main())


def test_a_cut_is_counted_and_mended(part: LocalProcess) -> None:
    """What is published meanwhile is lost, and that is known; afterwards everything wanted is heard again."""

    async def main() -> None:
        heard: list[bytes] = []
        meters = new_meters()
        async with connected(part) as redis, connected(part) as admin:
            subscriber = Subscriber("s", redis, ("always",), lambda _, body: heard.append(body), meters)
            listening = asyncio.create_task(subscriber.run())
            await until(lambda: subscriber.is_connected)
            await subscriber.add("room")
            await admin.publish("room", b"1")
            await until(lambda: heard)
            for client in await admin.client_list(_type="pubsub"):
                await admin.client_kill_filter(_id=client["id"])
            await admin.publish("room", b"2")
            await until(lambda: counted(meters, "redis_gaps_total", subscriber="s") == 1)
            await until(lambda: subscriber.is_connected)
            await asyncio.sleep(0.3)
            await admin.publish("room", b"3")
            await until(lambda: len(heard) == 2)
            assert heard == [b"1", b"3"]
            await ended(listening)

    run(main())


def test_a_redis_that_is_away_is_no_error() -> None:
    async def main() -> None:
        meters = new_meters()
        redis = redis_at("redis://127.0.0.1:1/0", "the setting")
        assert not await Publisher(redis, meters).publish("c", b"x")
        subscriber = Subscriber("s", redis, ("always",), lambda *_: None, meters)
        listening = asyncio.create_task(subscriber.run())
        await subscriber.add("room")
        await asyncio.sleep(0.3)
        assert not subscriber.is_connected
        assert counted(meters, "redis_gaps_total", subscriber="s") == 0
        await ended(listening)
        await redis.aclose()

    run(main())


@pytest.mark.parametrize("url", ["localhost", "http://x", "redis://h:port/0"])
def test_an_address_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(ConfigError, match="the setting: expected redis://"):
        redis_at(url, "the setting")
