"""The oracle of the chaos suite sees what it is there to see: runs made up, one promise broken in each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.arena import Hit
from tests.chaos.oracle import Expected, Finding, _judge_calls, _judge_recovery, most_in_a_window

pytestmark = pytest.mark.fast


def call(at: float, *, prompt: str = "p", status: int = 200, fault: str | None = None) -> dict[str, Any]:
    """One that was answered after a tenth of a second."""
    return {"time": at, "duration_ms": 100, "prompt_hash": prompt, "status": status, "fault": fault}


def run(calls: list[dict[str, Any]], hits: list[Hit], records: tuple[float, ...] = ()) -> Any:
    def record_times(since: float) -> list[float]:
        return [at for at in records if at > since]

    return SimpleNamespace(calls=lambda: iter(calls), hits=hits, record_times=record_times)


def broken(arena: Any, expected: Expected, *, reported: int = 9) -> list[str]:
    found = Finding(excess_reported=reported)
    _judge_calls(arena, expected, found)
    return found.broken


KILLED = Hit("kill", 100.0)


@pytest.mark.parametrize(
    ("calls", "hits", "said"),
    [
        ([call(99.95), call(103.0)], [KILLED], ""),
        ([call(90.0), call(103.0)], [KILLED], "in flight at no fault"),
        ([call(101.5), call(103.0)], [KILLED], "in flight at no fault"),
        ([call(105.0), call(109.0)], [Hit("away", 100.0, healed_at=108.0)], ""),
        ([call(90.0, status=429, fault="status=429"), call(103.0)], [KILLED], ""),
        ([call(90.0, status=0, fault="reset"), call(90.5)], [KILLED], ""),
        ([call(99.95, prompt=f"p{n % 4}") for n in range(8)], [Hit("kill", 99.9)], "at most 3 allowed"),
    ],
)
def test_a_call_may_be_repeated_only_if_a_fault_met_it(
    calls: list[dict[str, Any]], hits: list[Hit], said: str
) -> None:
    told = broken(run(calls, hits), Expected(max_excess=3))
    assert said in "".join(told) if said else not told


def test_a_repeat_that_is_not_reported_breaks_the_promise() -> None:
    told = broken(run([call(99.95), call(103.0)], [KILLED]), Expected(), reported=0)
    assert told == ["I4: 1 calls repeated, only 0 reported"]


@pytest.mark.parametrize(
    ("hits", "records", "said"),
    [
        ([KILLED], (99.0, 104.0), ""),
        ([KILLED], (99.0, 114.0), "back to work 14.0 s after kill"),
        ([KILLED], (99.0,), "nothing left to do"),
        ([Hit("away", 100.0, healed_at=108.0)], (101.0,), ""),
        ([KILLED, Hit("again", 130.0)], (120.0, 131.0), "back to work 20.0 s after kill"),
        ([KILLED, Hit("again", 105.0)], (110.5, 112.0), ""),
    ],
)
def test_work_goes_on_in_time_after_each_fault(
    hits: list[Hit], records: tuple[float, ...], said: str
) -> None:
    found = Finding()
    _judge_recovery(run([], hits, records), found, 10.0)
    assert said in "".join(found.broken) if said else not found.broken


def test_the_fullest_minute_is_found() -> None:
    assert most_in_a_window([0.0, 59.0, 60.5, 61.0, 119.0, 200.0], 60.0) == 4
