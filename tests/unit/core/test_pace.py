"""A pace is a pure function of looks."""

from __future__ import annotations

from workers.core.pace import Pace


def test_the_pace_is_that_of_the_last_ten_seconds() -> None:
    pace = Pace()
    for second in range(31):
        pace.look(float(second), 1000 if second > 20 else second * 10)
    assert pace.per_second == 0.0 or pace.per_second < 100.0
    assert pace.still_s == 9.0


def test_a_pace_needs_two_looks() -> None:
    pace = Pace()
    pace.look(1.0, 5)
    assert pace.per_second == 0.0
    pace.look(2.0, 25)
    assert pace.per_second == 20.0
