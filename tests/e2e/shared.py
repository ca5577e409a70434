"""Where shared material lies, which seeds are used, and when a test may be skipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NoReturn

import pytest

__all__ = ["PROJECT", "SHARED", "seeds", "skip_unless_ci"]

PROJECT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = Path(os.environ.get("CDC_SYNC_SHARED", PROJECT.parent / "shared"))


def seeds(*usual: int) -> list[int]:
    """The seeds of a random test: the usual ones, or those of `CDC_SYNC_TEST_SEEDS` (`1,2,3`)."""
    given = os.environ.get("CDC_SYNC_TEST_SEEDS")
    return [int(seed) for seed in given.split(",")] if given else list(usual)


def skip_unless_ci(reason: str) -> NoReturn:
    """Skip the running test, or fail it with CI=true: there a missing real part is a failure."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)
