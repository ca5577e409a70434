"""Handlers for tests, named in settings as `tests.dispatcher.handlers:…`: they write down what they saw."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cdc_sync.dispatcher.context import Context
from cdc_sync.dispatcher.errors import Reject, RetryLater
from cdc_sync.dispatcher.events import Event

__all__ = ["RECORD", "finance", "moody", "record", "seen", "slow", "stuck_thread"]

RECORD = "CDC_SYNC_TEST_RECORD"
RUN = "CDC_SYNC_TEST_RUN"
TRIES: Counter[str] = Counter()


def note(event: Event, context: Context, what: str = "handled") -> None:
    """One line; appended at once, so that several processes may write and any may be killed."""
    line = {
        "what": what,
        "service": context.service,
        "address": context.address,
        "transport": context.transport,
        "key": event.key,
        "idempotency_key": context.idempotency_key,
        "body": context.body.decode(),
        "pid": os.getpid(),
        "at": time.time(),
    }
    descriptor = os.open(os.environ[RECORD], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def seen(path: Path) -> list[dict[str, Any]]:
    """What was written down so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


async def record(event: Event, context: Context) -> None:
    """Handles at once."""
    note(event, context)


def finance(event: Event, context: Context) -> None:
    """A plain function: it runs on a thread."""
    note(event, context, f"on thread {threading.current_thread().name}")


async def slow(event: Event, context: Context) -> None:
    """Takes a moment, so that a process can be killed in the middle."""
    await asyncio.sleep(0.0005)
    note(event, context)


async def moody(event: Event, context: Context) -> None:
    """Does what the event's key asks for."""
    TRIES[event.key] += 1
    tries = TRIES[event.key]
    note(event, context, f"try {tries}")
    mood = event.key.partition("-")[0]
    if mood == "reject":
        raise Reject("it is not wanted")
    if mood == "bug":
        raise ValueError("a bug in a handler")
    if mood == "outage" and tries < 8:
        raise ConnectionError("a database is away")
    if mood == "later" and tries < 3:
        raise RetryLater("not yet", 0.1)
    if mood == "hang" and tries < 2:
        await asyncio.sleep(3600)
    note(event, context)


def stuck_thread(event: Event, context: Context) -> None:
    """Never ends for an event of this run."""
    note(event, context, "begun")
    if event.key == f"hang-{os.environ[RUN]}":
        time.sleep(3600)
    note(event, context)
