"""Policy: what is tried again, what becomes a letter, who runs an event that comes by two ways."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.dispatcher.claims import Claimed, LocalClaims
from cdc_sync.dispatcher.consumer import Ended, Item, Lane, Limits
from cdc_sync.dispatcher.context import Context, Handler
from cdc_sync.dispatcher.errors import Exhausted, Reject, RetryLater
from cdc_sync.dispatcher.events import Event
from cdc_sync.dispatcher.handling import Binding, Handling, Policy
from cdc_sync.errors import Abandoned, DecodeError, RecordError
from cdc_sync.model import Partition, Record
from cdc_sync.offsets import OffsetTracker
from tests.dispatcher.harness import Outbox, counted, new_meters, run

PAID = json.dumps({"saleOrderId": "o-1", "attemptUid": "a-1", "merchantId": "m"}).encode()
PAYMENT = Partition("payment.success", 0)


class Turns:
    """A lane's turn whose waits take no time; remembers them."""

    def __init__(self, abandon_after: int = 1_000) -> None:
        self.waits: list[tuple[float, str]] = []
        self._abandon_after = abandon_after

    async def wait(self, seconds: float, why: str) -> None:
        self.waits.append((seconds, why))
        await asyncio.sleep(0)
        if len(self.waits) >= self._abandon_after:
            raise Abandoned(why)


def handler(call: Callable[[Event, Context], Any], *, is_async: bool = True) -> Handler:
    return Handler("a handler", call, is_async=is_async)


def binding(*handlers: Handler, channel: str | None = None) -> Binding:
    return Binding("finance", "payment.success", handlers, channel)


def handling(claims: Any = None, **policy: Any) -> Handling:
    return Handling(Outbox(), Policy(**({"min_backoff_s": 0.001} | policy)), new_meters(), claims)


def raising(*errors: BaseException | None) -> tuple[Handler, list[int]]:
    """A handler that raises these, one a try, and then no more; and its tries."""
    tries: list[int] = []

    async def call(_: Event, __: Context) -> None:
        tries.append(len(tries))
        error = errors[len(tries) - 1] if len(tries) <= len(errors) else None
        if error is not None:
            raise error

    return handler(call), tries


@pytest.mark.parametrize(
    "error",
    [RetryLater("not now"), ConnectionError(), TimeoutError(), ConnectionRefusedError(), OSError(113, "")],
)
def test_what_passes_is_tried_without_an_end(error: Exception) -> None:
    """Much longer than a bug is."""
    failing, tries = raising(*[error] * 30)
    turns = Turns()
    run(handling().from_kafka(binding(failing), Record(PAYMENT, 0, None, PAID), turns))
    assert (len(tries), len(turns.waits)) == (31, 30)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), KeyError("x"), OSError(2, "no such file"), SystemExit(3)]
)
def test_an_unknown_error_is_tried_a_few_times(error: BaseException) -> None:
    failing, tries = raising(*[error] * 30)
    with pytest.raises(Exhausted, match="a handler failed 5 times"):
        run(handling().from_kafka(binding(failing), Record(PAYMENT, 0, None, PAID), Turns()))
    assert len(tries) == 5


@pytest.mark.parametrize(("error", "body"), [(Reject("no"), PAID), (None, b"{}"), (None, None)])
def test_what_can_never_be_is_not_tried_again(error: Exception | None, body: bytes | None) -> None:
    failing, tries = raising(error)
    with pytest.raises(RecordError) as raised:
        run(handling().from_kafka(binding(failing), Record(PAYMENT, 0, None, body), Turns()))
    assert isinstance(raised.value, Reject if error else DecodeError)
    assert len(tries) == (1 if error else 0)


def test_an_outage_between_does_not_use_up_the_tries() -> None:
    errors = [
        ValueError(),
        ConnectionError(),
        ValueError(),
        ConnectionError(),
        ValueError(),
        ValueError(),
        None,
    ]
    failing, tries = raising(*errors)
    run(handling().from_kafka(binding(failing), Record(PAYMENT, 0, None, PAID), Turns()))
    assert len(tries) == len(errors)


def test_errors_of_other_libraries_pass_where_the_settings_say_so() -> None:
    failing, tries = raising(*[LookupError()] * 9)
    work = handling(transient=(LookupError,))
    run(work.from_kafka(binding(failing), Record(PAYMENT, 0, None, PAID), Turns()))
    assert len(tries) == 10


def test_a_retry_goes_on_at_the_handler_that_failed() -> None:
    first, tries_of_first = raising()
    second, tries_of_second = raising(ConnectionError())
    run(handling().from_kafka(binding(first, second), Record(PAYMENT, 0, None, PAID), Turns()))
    assert (len(tries_of_first), len(tries_of_second)) == (1, 2)


def test_a_wait_that_is_asked_for_is_kept() -> None:
    failing, _ = raising(RetryLater("busy", 7.5))
    turns = Turns()
    run(handling().from_kafka(binding(failing), Record(PAYMENT, 0, None, PAID), turns))
    assert [seconds for seconds, _ in turns.waits] == [7.5]


@given(st.integers(1, 200), st.floats(0, 1))
def test_pauses_grow_and_have_a_limit(failures: int, dice: float) -> None:
    policy = Policy()
    pause = policy.backoff_s(failures, lambda: dice)
    assert 0.1 <= pause <= 60.0
    assert pause <= policy.backoff_s(failures + 1, lambda: dice)


def test_a_handler_that_cancels_itself_ends_nothing_else() -> None:
    failing, tries = raising(*[asyncio.CancelledError()] * 30)
    with pytest.raises(Exhausted, match="cancelled itself"):
        run(handling().from_kafka(binding(failing), Record(PAYMENT, 0, None, PAID), Turns()))
    assert len(tries) == 5


def test_a_hung_handler_is_cancelled_and_tried_again() -> None:
    tries = []

    async def call(_: Event, __: Context) -> None:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.sleep(3600)

    run(handling(deadline_s=0.05).from_kafka(binding(handler(call)), Record(PAYMENT, 0, None, PAID), Turns()))
    assert len(tries) == 2


def test_a_plain_function_runs_on_a_thread_once_at_a_time() -> None:
    """Past its deadline it is waited for, not run again beside itself."""
    running: list[str] = []

    def call(_: Event, __: Context) -> None:
        running.append(threading.current_thread().name)
        time.sleep(0.2)

    work = handling(deadline_s=0.05)
    turn = binding(handler(call, is_async=False))
    run(work.from_kafka(turn, Record(PAYMENT, 0, None, PAID), Turns()))
    assert running == ["handler-a handler"]
    labels = {"service": "finance", "topic": "payment.success", "handler": "a handler"}
    assert counted(work._meters, "handler_timeouts_total", **labels) >= 1


# Two ways ----------------------------------------------------------------------------------------------


def test_the_first_delivery_runs_it_and_the_second_finds_it_done() -> None:
    async def main() -> int:
        runs, tries = raising()
        both = binding(runs, channel="payment.order.success")
        work = handling(LocalClaims(600))
        await work.from_redis(both, "payment.order.success", PAID)
        await work.from_kafka(both, Record(PAYMENT, 0, None, PAID), Turns())
        await work.from_redis(both, "payment.order.success", PAID)
        return len(tries)

    assert run(main()) == 1


def test_what_failed_from_redis_comes_again_from_kafka() -> None:
    async def main() -> int:
        runs, tries = raising(ValueError())
        both = binding(runs, channel="payment.order.success")
        work = handling(LocalClaims(600))
        await work.from_redis(both, "payment.order.success", PAID)
        await work.from_kafka(both, Record(PAYMENT, 0, None, PAID), Turns())
        return len(tries)

    assert run(main()) == 2


def test_kafka_waits_while_redis_is_at_work_and_goes_first_when_nobody_can_be_asked() -> None:
    async def main() -> tuple[int, int, int]:
        claims = LocalClaims(600)
        runs, tries = raising()
        both = binding(runs, channel="payment.order.success")
        work = handling(claims)
        turns = Turns(abandon_after=3)
        async with claims.hold("finance", "o-1:a-1") as claim:
            assert claim.state is Claimed.WON
            with pytest.raises(Abandoned):
                await work.from_kafka(both, Record(PAYMENT, 0, None, PAID), turns)
        held = len(tries)
        unsure = handling(Unsure())
        await unsure.from_kafka(both, Record(PAYMENT, 0, None, PAID), Turns())
        await unsure.from_redis(both, "payment.order.success", PAID)  # rather never: Kafka has it
        return held, len(turns.waits), len(tries)

    assert run(main()) == (0, 3, 1)


class Unsure(LocalClaims):
    """Claims whose Redis is away."""

    def __init__(self) -> None:
        super().__init__(1)

    def hold(self, service: str, key: str, keep_s: float | None = None) -> Any:
        from contextlib import asynccontextmanager

        from cdc_sync.dispatcher.claims import Claim

        @asynccontextmanager
        async def unsure() -> Any:
            yield Claim(Claimed.UNSURE)

        return unsure()


# Lanes -------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["done", "refused", "slow"]), max_size=20), st.integers(0, 20))
def test_nothing_is_committed_past_what_is_not_done(fates: list[str], taken_after: int) -> None:
    """Any run of fates, taken away at any moment: what is committable is the unbroken run that is done."""

    async def main() -> None:
        ended: list[Ended] = []
        begun: list[int] = []

        async def handle(record: Record, _: Any) -> None:
            begun.append(record.offset)
            fate = fates[record.offset]
            await asyncio.sleep(0)
            if fate == "refused":
                raise Reject("no")
            if record.offset >= taken_after:
                await asyncio.sleep(3600)

        lane = Lane(handle, ended.append, Limits())
        tracker = OffsetTracker()
        items = []
        for n in range(len(fates)):
            record = Record(PAYMENT, n, None, b"x")
            (span,) = tracker.open((record,)).values()
            span.hold()
            items.append(Item(record, span))
        lane.add(items)
        for _ in range(3 * len(fates) + 3):
            await asyncio.sleep(0)
        await lane.drain(0.001)
        for done in ended:
            done.item.span.release()
        tracker.settle()
        count = len(ended)
        assert [done.item.record.offset for done in ended] == list(range(count))
        assert begun == list(range(len(begun)))
        assert tracker.committable() == ({PAYMENT: count} if count else {})

    run(main())


def test_a_lane_is_full_until_half_of_it_is_done() -> None:
    async def main() -> None:
        gate = asyncio.Semaphore(0)

        async def handle(_: Record, __: Any) -> None:
            await gate.acquire()

        lane = Lane(handle, lambda _: None, Limits(lane_records=10))
        lane.add([Item(Record(PAYMENT, n, None, b"x" * 10), None) for n in range(11)])  # type: ignore[arg-type]  # no span needed
        await asyncio.sleep(0)
        assert lane.is_full
        for expected in (True, True, True, True, True, False):
            gate.release()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert lane.is_full is expected or lane.waiting <= 5
        await lane.drain(0.01)
        assert lane.waiting == 0

    run(main())


def test_a_break_of_ours_is_no_letter() -> None:
    """The process ends with it, and the event is read again."""

    async def main() -> None:
        ended: list[Ended] = []

        async def handle(_: Record, __: Any) -> None:
            raise AssertionError("a bug in the dispatcher")

        lane = Lane(handle, ended.append, Limits())
        lane.add([Item(Record(PAYMENT, 0, None, b"x"), None)])  # type: ignore[arg-type]  # no span needed
        await asyncio.sleep(0.01)
        assert (ended, repr(lane.crash)) == ([], "AssertionError('a bug in the dispatcher')")

    run(main())
