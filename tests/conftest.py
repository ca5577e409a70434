"""How hard Hypothesis tries: `unit` is the default, `pytest --hypothesis-profile=thorough` takes its time."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.factories import FIXTURES

# No deadline and no check for slowness: on a busy machine both fail tests that are right.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("unit"), max_examples=3_000)
settings.load_profile("unit")


def pytest_configure(config: pytest.Config) -> None:
    """In CI nothing real is skipped silently: without the recorded messages and answers nothing is run."""
    if os.environ.get("CI") == "true" and not FIXTURES.exists():
        raise pytest.UsageError("CI=true, but the shared recordings are not beside the project (../shared)")
