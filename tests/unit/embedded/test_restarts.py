"""What follows a crash."""

import pytest

from app.embedded.restarts import CRASH_WINDOW_S, GiveUp, RestartIn, after_crash


def test_a_first_crash_costs_a_tenth_of_a_second() -> None:
    assert after_crash([100.0], now_s=100.0) == RestartIn(delay_s=0.1)


@pytest.mark.parametrize(("crashes", "delay_s"), [(2, 0.2), (3, 0.4), (4, 0.8)])
def test_each_further_crash_doubles_the_delay(crashes: int, delay_s: float) -> None:
    times = [100.0 + number for number in range(crashes)]
    assert after_crash(times, now_s=times[-1]) == RestartIn(delay_s)


def test_five_crashes_within_a_minute_are_enough() -> None:
    times = [0.0, 10.0, 20.0, 30.0, 59.0]
    assert after_crash(times, now_s=59.0) == GiveUp(crashes=5)


def test_a_crash_older_than_the_window_is_forgotten() -> None:
    times = [0.0, 10.0, 20.0, 30.0, CRASH_WINDOW_S]
    assert isinstance(after_crash(times, now_s=CRASH_WINDOW_S), RestartIn)
