"""Wait for something that another process does: look again and again, never longer than a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
LOOK_EVERY_S = 0.01


def eventually(condition: Callable[[], T], within_s: float, *, what: Callable[[], object] | None = None) -> T:
    """What `condition` gives once it is true. `what` tells, in the failure, how things stood at the end."""
    until = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            pytest.fail(f"did not come true within {within_s:g} s; at the end: {what() if what else found}")
        time.sleep(LOOK_EVERY_S)
