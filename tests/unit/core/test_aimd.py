"""A lane halves when refused, grows by one per window, rests when nothing passes, and finds a provider's pace."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.aimd import Throttle
from workers.core.lanes import NotNow


def cut(in_flight: int, at_ms: float = 0, *, answered: int = 0) -> Throttle:
    throttle = Throttle()
    throttle.heard(at_ms, answered=answered, throttled=1, in_flight=in_flight)
    return throttle


def test_nothing_is_in_force_until_a_refusal() -> None:
    throttle = Throttle()
    throttle.heard(0, answered=1000, throttled=0, in_flight=900)
    assert throttle.not_now(0, 10**6) is None


@given(st.integers(1, 10_000))
def test_a_refusal_halves_what_was_under_way_and_leaves_one(in_flight: int) -> None:
    assert cut(in_flight).concurrency == max(1, in_flight // 2)


def test_calls_from_before_a_cut_do_not_cut_again() -> None:
    throttle = cut(100)
    for at_ms in (1, 999, 5_000):  # late ones, too, for none has started since
        throttle.heard(at_ms, answered=0, throttled=1, in_flight=99)
    assert throttle.concurrency == 50
    throttle.start(6_000)
    throttle.heard(6_500, answered=1, throttled=1, in_flight=99)
    assert throttle.concurrency == 25


def test_it_grows_by_one_per_window_of_answers_and_ends_above_what_was_used() -> None:
    throttle, at_ms = cut(8, answered=1), 0
    for concurrency in (4, 5, 6, 7, 8):
        assert throttle.concurrency == concurrency
        assert throttle.not_now(at_ms, concurrency) == NotNow("concurrency", 0.25)
        assert throttle.not_now(at_ms, concurrency - 1) is None
        at_ms += 1_000
        throttle.heard(at_ms, answered=concurrency, throttled=0, in_flight=concurrency)
    assert throttle.not_now(at_ms, 10**6) is None, "no longer in force"


def test_refusals_without_an_answer_rest_the_lane_twice_as_long_each_time_up_to_a_minute() -> None:
    throttle, at_ms, rests = Throttle(), 0.0, []
    for _ in range(10):
        throttle.start(at_ms)
        throttle.heard(at_ms, answered=0, throttled=5, in_flight=5)
        throttle.heard(at_ms + 1, answered=0, throttled=5, in_flight=5)  # another process, the same burst
        said = throttle.not_now(at_ms, 0)
        assert said is not None and said.why == "paused"
        rests.append(said.wait_s)
        at_ms += said.wait_s * 1000
    assert rests == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    throttle.start(at_ms)
    throttle.heard(at_ms, answered=1, throttled=0, in_flight=1)
    throttle.start(at_ms + 60_000)
    throttle.heard(at_ms + 60_000, answered=0, throttled=5, in_flight=5)
    assert throttle.rest_till_ms - (at_ms + 60_000) == 500, "an answer ends the row"


def test_after_a_rest_it_starts_again_from_one_and_doubles() -> None:
    throttle = Throttle()
    throttle.heard(0, answered=0, throttled=60, in_flight=64)
    started = []
    for round_trip in range(5):
        at_ms, count = 1_000 + round_trip * 100, 0
        while throttle.not_now(at_ms, count) is None:
            throttle.start(at_ms)
            count += 1
        started.append(count)
        throttle.heard(at_ms + 50, answered=count, throttled=0, in_flight=count)
    assert started == [1, 2, 4, 8, 16]


def test_a_lane_that_was_idle_is_not_taken_for_a_slow_provider() -> None:
    throttle = cut(100)
    throttle.start(1_000)
    throttle.heard(1_000, answered=1, throttled=0, in_flight=1)
    throttle.start(600_000)
    throttle.heard(600_000, answered=0, throttled=1, in_flight=1)
    assert throttle.gap_ms == 500


class Provider:
    """A provider that refuses what goes over `per_s` (with a burst), or over `concurrency`; and one lane before it."""

    def __init__(
        self, *, per_s: float = 0, burst: int = 0, concurrency: int = 0, latency_s: float = 0.05
    ) -> None:
        self.per_s, self.burst, self.concurrency, self.latency_s = per_s, burst, concurrency, latency_s
        self.level, self.filled_s, self.refused, self.took_s = float(burst), 0.0, 0, 0.0

    def takes(self, now_s: float, busy: int) -> bool:
        if self.concurrency:
            return busy < self.concurrency
        self.level = min(self.burst, self.level + (now_s - self.filled_s) * self.per_s)
        self.filled_s = now_s
        self.level -= (passes := self.level >= 1)
        return passes

    def serve(self, items: int, slots: int = 256) -> Provider:
        """Answer `items` over a lane that may have `slots` calls under way; refused ones come again."""
        throttle, tick = Throttle(), 0
        calls: list[tuple[float, bool]] = []
        left, done = items, 0
        while done < items:
            now_s, tick = tick / 50, tick + 1
            ended = []
            while calls and calls[0][0] <= now_s:
                ended.append(heapq.heappop(calls)[1])
            answered, throttled = sum(ended), len(ended) - sum(ended)
            done, left, self.refused = done + answered, left + throttled, self.refused + throttled
            if ended:
                throttle.heard(
                    now_s * 1000, answered=answered, throttled=throttled, in_flight=len(calls) + len(ended)
                )
            while left and len(calls) < slots and throttle.not_now(now_s * 1000, len(calls)) is None:
                passes = self.takes(now_s, sum(kept for _, kept in calls))
                heapq.heappush(calls, (now_s + (self.latency_s if passes else 0.02), passes))
                throttle.start(now_s * 1000)
                left -= 1
            self.took_s = now_s
        return self


@pytest.mark.parametrize(
    ("provider", "items", "refusals", "longest_s"),
    [
        # 140 of the first 200 are refused before anybody can know; then a few per cent, at the full rate
        (Provider(per_s=1, burst=60), 200, 140 + 30, 160),
        (Provider(per_s=1, burst=6), 200, 194 + 50, 220),
        (Provider(per_s=10, burst=60), 1000, 196 + 60, 105),
        (Provider(concurrency=20, latency_s=1.0), 1000, 236 + 40, 100),
        (Provider(concurrency=1, latency_s=0.5), 100, 99 + 20, 80),
    ],
    ids=["60 a minute", "60 a minute, burst 6", "10 a second", "20 at once", "1 at once"],
)
def test_a_provider_whose_limit_nobody_configured_refuses_few(
    provider: Provider, items: int, refusals: int, longest_s: float
) -> None:
    provider.serve(items)
    assert provider.refused <= refusals
    assert provider.took_s <= longest_s
