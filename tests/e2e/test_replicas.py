"""Several replicas, and replicas that die.

Random changes meanwhile, the same judgement at the end.
"""

from __future__ import annotations

import time

import pytest

from .shared import seeds
from .workload import Workload
from .world import MakeWorld

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("seed", seeds(31))
def test_two_replicas_one_killed_one_suspended(make_world: MakeWorld, seed: int) -> None:
    """Random changes under DEFAULT.

    A third replica joins, one is killed, one is suspended for a while.
    """
    world = make_world()
    workload = Workload(world.conninfo, seed, poison=3, pace_s=0.005)
    workload.fill(5)
    world.start_connector()
    first = world.start_daemon()
    second = world.start_daemon()
    workload.run(150)
    first.kill()
    workload.run(100)
    world.start_daemon()
    second.suspend()
    workload.run(100)
    time.sleep(7.0)  # longer than the session time-out: the others take its partitions
    second.resume()
    workload.run(50)
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)


@pytest.mark.parametrize("seed", seeds(41))
def test_one_daemon_killed_again_and_again(make_world: MakeWorld, seed: int) -> None:
    """SIGKILL at any instant, then a polite stop: nothing is lost, and SIGTERM ends with code 0."""
    world = make_world()
    workload = Workload(world.conninfo, seed, poison=2, pace_s=0.002)
    workload.fill(5)
    world.start_connector()
    for pause_s in (0.05, 0.4, 1.1):
        daemon = world.start_daemon()
        workload.run(80)
        time.sleep(pause_s)
        daemon.kill()
    workload.run(50)
    last = world.start_daemon()
    workload.close()
    world.judge(may_be_dead_lettered=workload.may_be_dead_lettered)
    assert last.stop() == 0
