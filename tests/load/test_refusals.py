"""A provider that says "too many", with no limit of ours: who was told to wait waits, and refusals stay few."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.load.crew import (
    began_within,
    configure,
    load_site,
    mean_overlap,
    of_simulator,
    of_small,
    overlaps,
    show,
    small,
    started_workers,
)
from tests.support.batches import chat_line
from tests.support.servers import TestServers
from tests.support.small_provider import Asked, Say, SmallProvider, running_provider

pytestmark = [pytest.mark.load, pytest.mark.slow, pytest.mark.integration]
# What a refusal needs to be read, told to Redis and heard by four busy processes on two cores.
HEARD_S = 0.25


class Windowed:
    """So many calls in each window of some seconds; the rest is told when the next one begins."""

    def __init__(self, calls: int, window_s: float, after_s: float) -> None:
        self.calls, self.window_s, self.after_s = calls, window_s, after_s
        self._window = self._spent = 0

    def __call__(self, asked: Asked) -> Say:
        window = int(asked.at // self.window_s)
        if window != self._window:
            self._window, self._spent = window, 0
        self._spent += 1
        if self._spent <= self.calls:
            return Say(after_s=self.after_s)
        wait_s = math.ceil((window + 1) * self.window_s - asked.at)
        return Say(429, headers={"retry-after": str(wait_s)})


def early_calls(provider: SmallProvider) -> list[float]:
    """Calls that began while a Retry-After ran and was heard: how many seconds too early each."""
    pauses = [
        (call.ended, call.ended + float(call.said.headers["retry-after"]))
        for call in provider.calls
        if call.said.status == 429
    ]
    return [
        max(until for since, until in pauses if since + HEARD_S < call.began < until) - call.began
        for call in provider.calls
        if any(since + HEARD_S < call.began < until for since, until in pauses)
    ]


def test_after_a_retry_after_nobody_calls_before_it_is_over(servers: TestServers, tmp_path: Path) -> None:
    items = 200
    with load_site(servers, tmp_path) as site, running_provider(Windowed(20, 4.0, 0.1)) as provider:
        with started_workers(site, configure(site, small(provider.base_url))):
            lines = [chat_line(f"c{n}", f"wait {n}", model="small-1") for n in range(items)]
            batch = site.ended(site.submit(lines), 240.0)
        calls = of_small(provider.calls)
        refused = [call for call in calls if call.status == 429]
        early = early_calls(provider)
        show(
            "Retry-After: 20 calls in each 4 s",
            answers=len(calls) - len(refused),
            refusals=len(refused),
            after_the_first_two_seconds=len(began_within(refused, calls[0].began + 2, math.inf)),
            too_early=len(early),
            seconds=calls[-1].ended - calls[0].began,
        )
        assert batch["counts"]["completed"] == items
        assert early == []


def test_a_provider_of_sixty_a_minute_refuses_little(servers: TestServers, tmp_path: Path) -> None:
    items = 200
    with load_site(servers, tmp_path, "--rpm", "60", "--latency-ms", "100") as site:
        with started_workers(site):
            batch = site.ended(site.submit([chat_line(f"c{n}", f"sixty {n}") for n in range(items)]), 280.0)
        calls = of_simulator(site.simulator.calls())
        refused = [call for call in calls if call.status == 429]
        late = began_within(refused, calls[0].began + 5, math.inf)
        seconds = calls[-1].ended - calls[0].began
        show(
            "60 a minute without a limit of ours",
            answers=len(calls) - len(refused),
            refusals=len(refused),
            after_the_first_five_seconds=len(late),
            seconds=seconds,
            of_the_possible_pace=f"{(items - 60) / seconds:.0%}",
        )
        assert batch["counts"]["completed"] == items
        assert len(refused) <= items / 2 + 10 and len(late) <= items / 10


def test_a_provider_that_takes_twenty_calls_at_once_ends_with_few_refusals(
    servers: TestServers, tmp_path: Path
) -> None:
    most, items, after_s = 20, 6_000, 0.1

    def crowded(asked: Asked) -> Say:
        return Say(after_s=after_s) if asked.under_way <= most else Say(429)

    with load_site(servers, tmp_path) as site, running_provider(crowded) as provider:
        with started_workers(site, configure(site, small(provider.base_url))):
            lines = [chat_line(f"c{n}", f"crowd {n}", model="small-1") for n in range(items)]
            batch = site.ended(site.submit(lines), 280.0)
        calls = of_small(provider.calls)
        refused = [call for call in calls if call.status == 429]
        middle = calls[0].began + (calls[-1].ended - calls[0].began) / 2
        second = began_within(calls, middle, math.inf)
        refused_late = began_within(refused, middle, math.inf)
        taken = overlaps([call for call in calls if call.status == 200])
        used = mean_overlap(taken, middle, calls[-1].began) / most
        show(
            f"adaptive concurrency: {most} calls of {after_s} s at once",
            answers=len(calls) - len(refused),
            refusals=len(refused),
            refusals_in_the_second_half=f"{len(refused_late)} of {len(second)} calls",
            used_in_the_second_half=f"{used:.0%}",
            seconds=calls[-1].ended - calls[0].began,
        )
        assert batch["counts"]["completed"] == items
        assert len(refused_late) <= 0.02 * len(second)
        assert used >= 0.4, "it stays careful, but it does not stand still"
