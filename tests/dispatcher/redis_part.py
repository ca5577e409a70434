"""A real Redis for a test session."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.shared import skip_unless_ci
from tools.stack import LocalProcess, Unavailable
from tools.stack.layout import RUNS
from tools.stack.ledger import Ledger
from tools.stack.redis import redis

__all__ = ["redis_part"]


@contextmanager
def redis_part() -> Iterator[LocalProcess]:
    """Started, and stopped at the end. Skips where there is none, fails with CI=true."""
    RUNS.mkdir(parents=True, exist_ok=True)
    run = Path(tempfile.mkdtemp(prefix="redis-", dir=RUNS))
    try:
        part = redis(run, Ledger(run))
    except Unavailable as error:
        skip_unless_ci(f"a real part is missing: {error}")
    part.start()
    try:
        part.wait_ready()
        yield part
    finally:
        part.stop()
