"""What every test may ask for: servers, a simulator, and how hard hypothesis looks."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.abilities", "tests.support.servers", "tests.support.simulator"]

# No deadline: the machines of CI have bad moments. Fixtures of servers are shared by all examples on purpose.
settings.register_profile(
    "house",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("house")
