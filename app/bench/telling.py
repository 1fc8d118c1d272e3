"""How a bench says what it does: notes stay, a step gives way to the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.embedded.state import Say


@dataclass(frozen=True, slots=True)
class Telling:
    """Two ways to say a line."""

    note: Say
    step: Callable[[str], None]
