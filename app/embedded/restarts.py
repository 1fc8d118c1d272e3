"""Decide what follows the crash of a supervised process. Pure: the caller supplies the times.

supervisor.py asks after every end nobody wished for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

CRASHES_TO_GIVE_UP = 5
CRASH_WINDOW_S = 60.0
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 10.0


@dataclass(frozen=True)
class RestartIn:
    """Start it again after `delay_s` seconds."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """Leave it down: it crashed `crashes` times within the window."""

    crashes: int


def after_crash(crash_times_s: Sequence[float], now_s: float) -> RestartIn | GiveUp:
    """Choose between one more start and leaving a process down.

    Args:
        crash_times_s: when it crashed, on a monotonic clock, the one just seen included.
    Returns: the delay doubles with each crash inside the window, so one crash costs a tenth of a second and a
        process that cannot live does not keep a core busy.
    """
    recent = [time_s for time_s in crash_times_s if now_s - time_s < CRASH_WINDOW_S]
    if len(recent) >= CRASHES_TO_GIVE_UP:
        return GiveUp(crashes=len(recent))
    return RestartIn(delay_s=min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** max(0, len(recent) - 1)))
