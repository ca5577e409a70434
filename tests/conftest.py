"""How hard Hypothesis tries: `unit` is the default, `pytest --hypothesis-profile=thorough` takes its time."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline and no check for slowness: on a busy machine both fail tests that are right.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("unit"), max_examples=3_000)
settings.load_profile("unit")
