"""Run one of our processes that dies at a named moment: `python -m tests.chaos.victim MODULE ARG...`.

CHAOS_DEATH names the moment as JSON (`Death`). The process replaces the no-op of core/faultpoints.py
before anything else is loaded, and ends by SIGKILL: nothing is written, closed or said. CHAOS_CONSTANTS has other
values for constants, which no setting scales, as JSON: {"MODULE:NAME": value}.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workers.core import faultpoints

DEATH, CONSTANTS = "CHAOS_DEATH", "CHAOS_CONSTANTS"


@dataclass(frozen=True)
class Death:
    """When a process dies.

    Attributes:
        point: a name of core/faultpoints.py.
        nth: at its so manieth passing, counted in each process.
        containing: only passings whose `about` has this text in it count.
        once: a file that is made at the death; while it is there nobody dies. None: every process that comes there.
    """

    point: str
    nth: int = 1
    containing: str = ""
    once: str | None = None

    def as_environ(self) -> dict[str, str]:
        """How a process is told."""
        return {DEATH: json.dumps(asdict(self))}


def arm(death: Death) -> None:
    """Let this process die at that moment."""
    left = death.nth

    def passes(point: str, about: object = None) -> None:
        nonlocal left
        if point != death.point or (death.containing and death.containing not in _text(about)):
            return
        left -= 1
        if left == 0 and not (death.once and Path(death.once).exists()):
            if death.once:
                Path(death.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    faultpoints.passes = passes


def scale(constants: Mapping[str, int]) -> None:
    """Give constants of the modules that this process loads other values. Raises AttributeError for a wrong name."""
    for place, value in constants.items():
        module, _, name = place.partition(":")
        loaded = importlib.import_module(module)
        getattr(loaded, name)
        setattr(loaded, name, value)


def _text(about: Any) -> str:
    asked = getattr(about, "asked", None)  # an item on its way: what stands in its line
    return str(asked.body if asked is not None else about)


if __name__ == "__main__":
    if DEATH in os.environ:
        arm(Death(**json.loads(os.environ[DEATH])))
    scale(json.loads(os.environ.get(CONSTANTS, "{}")))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
