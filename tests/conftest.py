"""Settings of every test: how hypothesis runs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A shared machine is slow at times; pytest's own limit of 20 s a test stays.
settings.register_profile(
    "fairlead", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
settings.load_profile("fairlead")
