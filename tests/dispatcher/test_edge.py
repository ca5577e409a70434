"""The edge over real sockets, with `websockets` as the other implementation."""

from __future__ import annotations

import asyncio
import json
import socket as sockets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dispatcher.hub import text_frame
from cdc_sync.dispatcher.protocol import Rules
from tests.dispatcher.harness import closed_with, hear, run, say, serving, silent, token, until


@given(st.binary(max_size=200_000))
def test_a_frame_is_the_one_of_the_standard(payload: bytes) -> None:
    """Read by another implementation's parser."""
    from websockets.frames import Frame, Opcode
    from websockets.streams import StreamReader

    reader = StreamReader()
    reader.feed_data(text_frame(payload))
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as end:
        next(parsing)
    frame = end.value.value
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, payload)


def test_the_conversation() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client()
            await say(client, "authenticate", {"type": "Bearer", "token": token("m-1", "m-2")})
            connected = await hear(client)
            assert (connected["event"], connected["data"]["userId"]) == ("connected", "u-1")
            rooms = ["wr:observation/merchants/m-1", "wr:observation/merchants/m-2"]
            await say(client, "join", {"rooms": rooms})
            assert await hear(client) == {"event": "joined", "data": {"rooms": rooms}}
            await say(client, "heartbeat")
            await world.emit("m-1", {"id": "1"})
            assert await hear(client) == {"event": "ws:observation.sale.sale-order", "data": {"id": "1"}}
            await say(client, "leave", {"rooms": rooms[:1]})
            assert await hear(client) == {"event": "left", "data": {"rooms": rooms[:1]}}
            await world.emit("m-1", {"id": "2"})
            await world.emit("m-2", {"id": "3"})
            assert (await hear(client))["data"] == {"id": "3"}
            await client.close()
            await until(lambda: not world.hub.clients)

    run(main())


def test_frames_between_pings_stay_whole() -> None:
    """Frames are written beside the library's own writer: pings in between, sizes of all three kinds."""

    async def main() -> None:
        async with serving() as world:
            client = await world.client("m-1", max_size=None, max_queue=None)
            sizes = [1, 125, 126, 127, 65_535, 65_536, 70_000] * 20

            async def emit() -> None:
                for size in sizes:
                    await world.emit("m-1", "x" * size)
                    await asyncio.sleep(0)

            emitting = asyncio.create_task(emit())
            for size in sizes:
                frame = await hear(client)
                assert len(frame["data"]) == size
                pong = await client.ping()
                await asyncio.wait_for(pong, 10)
            await emitting

    run(main())


def test_a_client_a_user_or_everybody_is_told() -> None:
    async def main() -> None:
        async with serving() as world:
            first, second = await world.client(), await world.client()
            for client, user in ((first, "u-1"), (second, "u-2")):
                await say(client, "authenticate", {"token": token("m-1", sub=user)})
            ids = [(await hear(client))["data"]["id"] for client in (first, second)]
            await world.hub.emit("client", ids[0], "ws:a.b.c", "a client")
            await world.hub.emit("user", "u-2", "ws:a.b.c", "a user")
            await world.hub.emit("broadcast", "", "ws:a.b.c", "everybody")
            assert [(await hear(first))["data"] for _ in range(2)] == ["a client", "everybody"]
            assert [(await hear(second))["data"] for _ in range(2)] == ["a user", "everybody"]

    run(main())


@pytest.mark.parametrize("reads", ["nothing", "slowly"])
def test_a_client_that_does_not_read_costs_the_others_nothing(reads: str) -> None:
    """Twenty good clients hear everything; the stuck and the slow are cut off at their buffer's limit."""

    async def main() -> None:
        async with serving(max_buffer=65_536) as world:
            bad = [await world.client("m-1", max_queue=1) for _ in range(5)]
            for client in bad:
                client.transport.pause_reading()
            good = [await world.client("m-1", max_queue=None) for _ in range(20)]
            payload = "x" * 2_000
            count = 3_000

            async def read_slowly() -> None:
                while reads == "slowly":
                    for client in bad:
                        client.transport.resume_reading()
                        await asyncio.sleep(0)
                        client.transport.pause_reading()
                    await asyncio.sleep(0.2)

            slowly = asyncio.create_task(read_slowly())
            listening = [asyncio.create_task(heard(client, count)) for client in good]
            for n in range(count):
                await world.emit("m-1", f"{n} {payload}")
                if n % 10 == 0:
                    await asyncio.sleep(0.001)
            assert await asyncio.gather(*listening) == [list(range(count))] * len(good)
            await until(lambda: world.counted("websocket_closed_total", reason="slow") == len(bad))
            slowly.cancel()
            assert len(world.hub.clients) == len(good)

    async def heard(client: object, count: int) -> list[int]:
        return [int((await hear(client))["data"].split()[0]) for _ in range(count)]  # type: ignore[arg-type]  # a connection

    run(main(), timeout_s=120)


def test_an_end_says_going_away() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client("m-1")
            await world.edge.stop()
            assert await closed_with(client) == 1001

    run(main())


def test_a_client_that_vanishes_is_forgotten() -> None:
    """Its connection is reset, no closing handshake."""

    async def main() -> None:
        async with serving() as world:
            client = await world.client("m-1")
            raw = client.transport.get_extra_info("socket")
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.transport.abort()
            await until(lambda: not world.hub.clients)
            await world.emit("m-1", 1)

    run(main())


def test_without_a_heartbeat_it_ends() -> None:
    async def main() -> None:
        async with serving(rules=Rules(heartbeat_within_s=0.6)) as world:
            quiet, alive = await world.client("m-1"), await world.client("m-1")

            async def beat() -> None:
                while True:
                    await say(alive, "heartbeat")
                    await asyncio.sleep(0.1)

            beating = asyncio.create_task(beat())
            assert await closed_with(quiet) == 4002
            assert alive.close_code is None
            beating.cancel()

    run(main())


def test_what_is_no_envelope_is_dropped() -> None:
    async def main() -> None:
        async with serving() as world:
            client = await world.client("m-1")
            room = "wr:observation/merchants/m-1"
            channel = f"ws:room:{room}"
            world.hub.heard(channel, b"\xff")
            world.hub.heard(channel, b"[]")
            other = {
                "serverId": "x",
                "type": "room",
                "target": "wr:observation/merchants/m-2",
                "event": "ws:a.b.c",
            }
            world.hub.heard(channel, json.dumps(other).encode())
            own = {"serverId": "here", "type": "room", "target": room, "event": "ws:a.b.c"}
            world.hub.heard(channel, json.dumps(own).encode())
            assert await silent(client)
            assert world.counted("websocket_refused_total", reason="envelope") == 3
            excluded = {**own, "serverId": "emitter", "exclude": list(world.hub.clients)}
            world.hub.heard(channel, json.dumps(excluded).encode())
            assert await silent(client)

    run(main())
