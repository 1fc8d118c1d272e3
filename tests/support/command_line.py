"""The tree of commands is made once for all tests: each would make seventy commands anew, for forty milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import typer.main
import typer.testing


@pytest.fixture(scope="session", autouse=True)
def _commands_made_once() -> Iterator[None]:
    made_once = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(typer.main, "get_command", made_once)
        patched.setattr(typer.testing, "_get_command", made_once)
        yield
