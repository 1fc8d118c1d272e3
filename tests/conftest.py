"""What every test may ask for: servers, a simulator, and how hard hypothesis looks."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.abilities", "tests.support.servers", "tests.support.simulator"]

# Thousands of collected tests live to the end: looking through them all again and again takes a tenth of the time.
gc.set_threshold(50_000, 20, 50)

# No deadline: the machines of CI have bad moments. Fixtures of servers are shared by all examples on purpose.
# `make test ARGS="--hypothesis-profile thorough"` looks longer than a working day allows.
for _name, _examples in (("house", 40), ("thorough", 1000)):
    settings.register_profile(
        _name,
        deadline=None,
        max_examples=_examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("house")

# Files with the longest waits go first, so that no process is left alone with one of them at the end.
_ORDER = ("tests/e2e", "tests/integration/engine", "tests/integration", "tests/contract", "tests/unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a folder the order stays."""
    root = Path(__file__).parents[1]

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(root).as_posix()
        return next((k for k, start in enumerate(_ORDER) if path.startswith(start)), len(_ORDER))

    items.sort(key=place)
