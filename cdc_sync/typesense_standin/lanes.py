"""Write lanes: one FIFO queue for each collection name (0.4, "How a write is applied").

Jobs of a lane run one after the other in the order in which they were put in; lanes are
independent of one another and of reads.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Job = Callable[[], Awaitable[None]]


class Lane:
    """The queue of one name."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Job, int]] = deque()
        self.runner: asyncio.Task[None] | None = None
        self.in_flight = 0
        self.max_in_flight = 0


class Lanes:
    """All lanes, and how much waits in them."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self.pending_entries = 0
        """Log entries of queued and running writes: ``pending_write_batches``."""

    def put(self, name: str, job: Job, entries: int = 1) -> None:
        """Queue a write behind all earlier ones of that name."""
        lane = self._lanes.setdefault(name, Lane())
        lane.jobs.append((job, entries))
        self.pending_entries += entries
        if lane.runner is None:
            lane.runner = asyncio.get_running_loop().create_task(self._run(lane))

    async def _run(self, lane: Lane) -> None:
        while lane.jobs:
            job, entries = lane.jobs.popleft()
            try:
                await job()
            finally:
                self.pending_entries -= entries
        lane.runner = None

    def request_began(self, name: str) -> None:
        """A write for that name has arrived whole."""
        lane = self._lanes.setdefault(name, Lane())
        lane.in_flight += 1
        lane.max_in_flight = max(lane.max_in_flight, lane.in_flight)

    def request_ended(self, name: str) -> None:
        """A write for that name was answered, or will never be."""
        self._lanes[name].in_flight -= 1

    def max_in_flight(self) -> dict[str, int]:
        """The most writes that were ever sent and unanswered at one time, by name."""
        return {name: lane.max_in_flight for name, lane in self._lanes.items()}

    def reset_max_in_flight(self) -> None:
        for lane in self._lanes.values():
            lane.max_in_flight = lane.in_flight
