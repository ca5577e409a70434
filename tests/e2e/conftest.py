"""The real parts once a session, and a world of its own for each test that asks.

A missing part skips the test, with the reason; with CI=true it fails. Only one world exists at a
time where a real Typesense serves all of them, because the names of its aliases are the same.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import pytest

from tools.stack import Stack, Topics, Unavailable

from .servers import real_server, standin
from .shared import skip_unless_ci
from .world import MakeWorld, World


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Kafka, Connect with Debezium, PostgreSQL and a schema registry; stopped at the end."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        parts = Stack(avro=True)
        parts.start()
    except Unavailable as error:
        skip_unless_ci(f"a real part is missing: {error}")
    try:
        yield parts
    finally:
        parts.stop()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def topics(stack: Stack) -> Topics:
    """The topics of the broker."""
    return Topics(stack.broker.address)


def _make_worlds(stack: Stack, topics: Topics, folder: Path, resources: ExitStack) -> MakeWorld:
    made = 0

    def make() -> World:
        nonlocal made
        made += 1
        place = folder / f"world-{made}"
        place.mkdir()
        world = World(
            stack,
            topics,
            lambda: real_server() or resources.enter_context(standin(place)),
            place,
        )
        resources.callback(world.close)
        return world

    return make


@pytest.fixture
def make_world(stack: Stack, topics: Topics, tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes worlds that end with the test."""
    with ExitStack() as resources:
        yield _make_worlds(stack, topics, tmp_path, resources)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world without a connector and without a daemon yet."""
    return make_world()


@pytest.fixture(scope="module")
def shared_world(
    stack: Stack,
    topics: Topics,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """One world for all tests of a module, streaming from the start into one daemon."""
    with ExitStack() as resources:
        made = _make_worlds(stack, topics, tmp_path_factory.mktemp("shared"), resources)()
        yield made
