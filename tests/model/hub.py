"""Simulated threads and a simulated clock: one real thread, every switch drawn from a seed.

An actor is a greenlet. It gives way only where it calls one of the methods here, so between two of those
calls it is alone; in return it may be left standing at each of them, for ever (a crash), for seconds (a
suspended process), or while any number of others run.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from types import TracebackType
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

__all__ = ["Actor", "Condition", "Hub", "Process", "Signal", "Thread"]


class Process:
    """Actors that are suspended, and die, together. `steps` counts the turns of all of them."""

    def __init__(self, name: str, slot: int) -> None:
        self.name = name
        self.slot = slot
        self.steps = 0
        self.is_dead = False
        self.asleep_until = 0.0


class Actor:
    """One thread of a process. `turn` tells a wake-up that was meant for an earlier wait from this one's."""

    __slots__ = ("is_done", "name", "process", "run", "thread", "turn")

    def __init__(self, process: Process, name: str, run: greenlet) -> None:
        self.process = process
        self.name = name
        self.run = run
        self.turn = 0
        self.is_done = False
        self.thread = Signal()


class Signal:
    """Something to wait for."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: list[tuple[Actor, int]] = []


class Hub:
    """Runs the actors, one at a time, in the order of the times that they wait for.

    `on_step(process)` is called before each turn of an actor; the process may be dead or asleep after that.
    `errors` are what actors ended with.
    """

    def __init__(self, random: Random) -> None:
        self.now = 0.0
        self.random = random
        self.story: list[str] | None = None
        self.errors: list[tuple[str, Exception]] = []
        self.on_step: Callable[[Process], None] = lambda _: None
        self.steps = 0
        self._here: Actor | None = None
        self._main = getcurrent()
        self._queue: list[tuple[float, int, Actor | None, Any]] = []
        self._count = 0
        self._actors: list[Actor] = []
        self._is_closing = False

    def tell(self, text: str, *facts: object) -> None:
        """One line of the story, if somebody wants to read it."""
        if self.story is not None:
            who = self._here
            name = "world" if who is None else f"{who.process.name}.{who.name}"
            self.story.append(f"{self.now:9.3f}  {name:16s} {text.format(*facts)}")

    # The world's side ------------------------------------------------------------------------------

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Make this call at that time."""
        self._push(when, None, call)

    def spawn(self, process: Process, name: str, run: Callable[[], None]) -> Actor:
        """A new actor; it begins soon."""
        actor = Actor(process, name, greenlet(lambda: self._live(actor, run), self._main))
        self._actors.append(actor)
        self._push(self.now + self.delay(), actor, actor.turn)
        return actor

    def run(self, until: float) -> None:
        """Turn until that time, or until an actor ended with an error."""
        queue = self._queue
        while queue and queue[0][0] <= until and not self.errors:
            when, _, actor, what = heappop(queue)
            if actor is None:
                self.now = when
                what()
                continue
            process = actor.process
            if actor.turn != what or process.is_dead:
                continue
            if process.asleep_until <= when:
                self.now = when
                process.steps += 1
                self.steps += 1
                self.on_step(process)
                if process.is_dead:
                    continue
            if process.asleep_until > when:
                self._push(process.asleep_until + self.delay(), actor, what)
                continue
            actor.turn += 1
            self._here = actor
            actor.run.switch()
            self._here = None
        self.now = max(self.now, until) if not self.errors else self.now

    def close(self) -> None:
        """End every actor where it stands."""
        self._is_closing = True
        for actor in self._actors:
            if actor.run and not actor.is_done:
                actor.run.throw(GreenletExit)
        self._actors.clear()
        self._queue.clear()

    def delay(self) -> float:
        """Seconds that a step takes: mostly almost none, sometimes enough for others to do much."""
        draw = self.random.random()
        if draw < 0.75:
            return draw * 0.008
        if draw < 0.97:
            return (draw - 0.75) * 0.3
        return (draw - 0.97) * 20

    # The actors' side ------------------------------------------------------------------------------

    @property
    def is_world(self) -> bool:
        """Whether no actor runs: the world looks at something between two turns."""
        return self._here is None

    def pause(self) -> None:
        """Let others run for a moment."""
        self.sleep(self.delay())

    def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        actor = self._me()
        self._push(self.now + seconds, actor, actor.turn)
        self._main.switch()

    def wait(self, signal: Signal, timeout_s: float | None = None) -> None:
        """Until the signal is given, or for so long."""
        actor = self._me()
        signal.waiters.append((actor, actor.turn))
        if timeout_s is not None:
            self._push(self.now + timeout_s, actor, actor.turn)
        self._main.switch()

    def give(self, signal: Signal) -> None:
        """Wake whoever waits for it."""
        if signal.waiters:
            waiters, signal.waiters = signal.waiters, []
            for actor, turn in waiters:
                if actor.turn == turn:
                    self._push(self.now + self.delay(), actor, turn)

    def _me(self) -> Actor:
        if self._is_closing or self._here is None:
            raise GreenletExit
        return self._here

    def _push(self, when: float, actor: Actor | None, what: Any) -> None:
        self._count += 1
        heappush(self._queue, (when, self._count, actor, what))

    def _live(self, actor: Actor, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:
            if not self._is_closing:
                self.errors.append((f"{actor.process.name}.{actor.name}", error))
        finally:
            actor.is_done = True
        if not self._is_closing:
            self.give(actor.thread)


class Condition:
    """`threading.Condition` for actors. Nobody is interrupted while holding it, but anybody before."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._signal = Signal()

    def __enter__(self) -> bool:
        hub = self._hub
        if not hub.is_world and hub.random.random() < 0.25:
            hub.pause()
        return True

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        pass

    def notify_all(self) -> None:
        self._hub.give(self._signal)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        deadline = None if timeout is None else self._hub.now + timeout
        while not (result := predicate()):
            left = None if deadline is None else deadline - self._hub.now
            if left is not None and left <= 0:
                break
            self._hub.wait(self._signal, left)
        return result


class Thread:
    """`threading.Thread` as an actor of a process."""

    def __init__(self, hub: Hub, process: Process, target: Callable[[], None], name: str) -> None:
        self._hub = hub
        self._process = process
        self._target = target
        self._name = name
        self._actor: Actor | None = None

    def start(self) -> None:
        self._actor = self._hub.spawn(self._process, self._name, self._target)

    def is_alive(self) -> bool:
        return self._actor is not None and not self._actor.is_done

    def join(self, timeout: float | None = None) -> None:
        if self._actor is not None and not self._actor.is_done:
            self._hub.wait(self._actor.thread, timeout)
