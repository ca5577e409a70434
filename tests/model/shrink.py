"""A plan that fails, made as short as it can be and still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.plan import Plan

__all__ = ["shrunk"]

LISTS = ("replica_faults", "world_faults", "request_faults", "refused_commits", "steps")
SCHEDULES = 6
"""Leaving something out draws another order of the rest; so many orders are tried."""


def shrunk(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """A plan from which nothing can be left out."""
    while True:
        for shorter in candidates(plan):
            found = next((p for p in orders(shorter) if fails(p)), None)
            if found is not None:
                plan = found
                break
        else:
            return plan


def candidates(plan: Plan) -> Iterator[Plan]:
    """The plan with less in it: the largest cuts first."""
    for replicas in range(1, plan.replicas):
        yield plan._replace(replicas=replicas)
    for name in LISTS:
        items = getattr(plan, name)
        size = len(items)
        while size:
            for start in range(0, len(items), size):
                yield plan._replace(**{name: items[:start] + items[start + size :]})
            size //= 2


def orders(plan: Plan) -> Iterator[Plan]:
    """The plan in its own order, and in others."""
    for more in range(SCHEDULES):
        yield plan._replace(schedule=plan.schedule + more)
