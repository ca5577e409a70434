"""The parts and the shipped connector by themselves, without the daemon."""

from __future__ import annotations

import json

import pytest

from tools.stack import External, Stack, Topics
from tools.stack.seller import CONNECTOR, TABLES

from .quiet import wait_streamed
from .shared import PROJECT, SHARED, skip_unless_ci
from .workload import Workload
from .world import World

pytestmark = pytest.mark.integration


def test_the_shipped_connector(world: World, topics: Topics) -> None:
    """As it is in the file.

    It registers, makes compacted topics, and fits the log of the contract.
    """
    world.execute("""INSERT INTO "Organizer" (id, name, slug, status) VALUES ('o', '{}', 's', 'a')""")
    world.start_connector(create_topics=False)
    wait_streamed(world.conninfo, world.name)
    assert f"{world.prefix}.public.Organizer" in topics.names(world.prefix)
    config = topics.config(f"{world.prefix}.public.Organizer")
    assert config["cleanup.policy"] == "compact"
    assert config["max.message.bytes"] == "8388608"
    published = {name for (name,) in world.execute("SELECT tablename FROM pg_publication_tables")}
    assert published == {*TABLES, "debezium_signal"}
    assert world.connectors.states(world.name) == ["RUNNING", "RUNNING"]


def test_every_setting_of_the_connector_is_explained() -> None:
    """JSON has no comments: the README beside it names each setting."""
    shipped = json.loads(CONNECTOR.read_text())["config"]
    text = (PROJECT / "connect" / "README.md").read_text()
    assert [name for name in shipped if f"`{name}`" not in text] == []


def test_the_tables_are_those_of_the_contract() -> None:
    """Our copy of the schema is the contract's."""
    ours = (PROJECT / "tools" / "stack" / "seller.sql").read_text()
    assert ours == (SHARED / "contract" / "seller.sql").read_text()


def test_parts_survive_sigkill(stack: Stack, world: World, topics: Topics) -> None:
    """Broker, Connect and PostgreSQL are killed and restarted in turn.

    Every change still arrives.
    """
    if isinstance(stack.broker, External):
        skip_unless_ci("the parts are not ours to kill")
    workload = Workload(world.conninfo, 5)
    workload.fill(2)
    world.start_connector()
    for part in (stack.connect, stack.broker):
        part.kill()
        workload.run(10)
        part.restart()
        world.wait_streaming()
    workload.close()
    stack.postgres.kill()
    stack.postgres.restart()
    workload = Workload(world.conninfo, 6)
    workload.fill(2)
    workload.close()
    world.wait_streaming()
    wait_streamed(world.conninfo, world.name, deadline_s=120)
    inserted = world.execute('SELECT count(*) FROM "SaleChannel"')[0][0]
    streamed = topics.read([f"{world.prefix}.public.SaleChannel"])
    assert len({message.key() for message in streamed}) >= inserted
