"""A finding, and how checks run: all at once, each in bounded time, whatever one of them meets.

A check is a function that gives findings. The modules beside this one make them; app/cli/doctor.py collects them.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]
Check = Callable[[], Sequence["Finding"]]
_Answers = queue.SimpleQueue[tuple[str, Sequence["Finding"]]]

# Of one check; they run side by side, so this is nearly the limit of all.
LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        text: one sentence without a secret.
        fix: what to do about it; empty where nothing is to be done.
        data: the figures behind it, fit for JSON.
    """

    name: str
    state: State
    text: str
    fix: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding for programs."""
        return asdict(self)


def run_checks(checks: Mapping[str, Check], limit_s: float = LIMIT_S) -> list[Finding]:
    """The findings of all checks, in their order.

    A check that takes longer than `limit_s` seconds is left behind on its thread, which ends with the process: a
    look-up of a host name cannot be broken off.
    """
    answers: _Answers = queue.SimpleQueue()
    for name, check in checks.items():
        threading.Thread(
            target=lambda name=name, check=check: answers.put((name, _result(name, check))),
            name=f"check {name}",
            daemon=True,
        ).start()
    late = "the look at it took too long and was given up"
    found: dict[str, Sequence[Finding]] = {
        name: [Finding(name, "problem", f"{late} after {limit_s:g} s", "see whether its host name resolves")]
        for name in checks
    }
    deadline = time.monotonic() + limit_s
    for _ in checks:
        try:
            name, findings = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[name] = findings
    return [each for findings in found.values() for each in findings]


def _result(name: str, check: Check) -> Sequence[Finding]:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  one broken check must not hide what the others found
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {at.name}, line {at.lineno} of {Path(at.filename).name}"
        return [Finding(name, "problem", f"the check itself broke: {where}", "report this bug")]
