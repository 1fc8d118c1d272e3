"""No minute holds more than a limit and its burst, whoever asks how and when; and what is permitted is used."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.gcra import AHEAD_MS, BLIND_WAIT_S, Share, forgotten, grant
from workers.core.lanes import Ask, Go, NotNow, Rates
from workers.core.rate import burst_of

MINUTE_MS = 60_000
# Time that passes, then a chunk of calls by their tokens.
SCHEDULE = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 50, 700, 2_000, 9_000, 31_000, 70_000]),
        st.tuples(st.integers(1, 400), st.sampled_from([1, 90, 2_000])),
    ),
    min_size=1,
    max_size=25,
)


def most_in_a_minute(taken: list[tuple[float, float]]) -> float:
    """The most in any window of a minute, of (time, cost)."""
    taken, start, held, most = sorted(taken), 0, 0.0, 0.0
    for time_ms, cost in taken:
        held += cost
        while taken[start][0] <= time_ms - MINUTE_MS:
            held -= taken[start][1]
            start += 1
        most = max(most, held)
    return most


@settings(max_examples=40)
@given(SCHEDULE, st.sampled_from([(60, 6_000), (6_000, 100_000), (7, 900_000)]))
def test_no_minute_holds_more_than_the_limit_and_its_burst(
    schedule: list[tuple[int, tuple[int, int]]], limits: tuple[int, int]
) -> None:
    rpm, tpm = limits
    requests = forgotten(rpm, burst_of(rpm), 0, counts_tokens=False)
    tokens = forgotten(tpm, burst_of(tpm), 0, counts_tokens=True)
    now_ms, last_ms = 0.0, 0.0
    taken: list[tuple[float, float]] = []
    for pause_ms, (count, size) in schedule:
        now_ms += pause_ms
        for verdict in grant([requests, tokens], [Ask("m", size)] * count, now_ms):
            if isinstance(verdict, Go):
                at_ms = now_ms + verdict.wait_s * 1000
                assert last_ms <= at_ms + 1e-6 and verdict.wait_s <= 2.0
                taken.append((at_ms, size))
                last_ms = at_ms
    # A window is half open, and times are doubles: one call may stand on its edge.
    assert most_in_a_minute([(at_ms, 1) for at_ms, _ in taken]) <= rpm + burst_of(rpm) + 1
    # A call larger than what is left of the burst goes into debt with the rest of it.
    assert most_in_a_minute(taken) <= tpm + max([burst_of(tpm), *(size for _, size in taken)]) + 1


def test_who_asks_steadily_gets_the_whole_rate() -> None:
    bucket, granted = forgotten(600, 60, 0, counts_tokens=False), 0
    for second in range(120):
        verdicts = grant([bucket], [Ask("m", 1)] * 50, second * 1000)
        granted += sum(isinstance(verdict, Go) for verdict in verdicts)
    assert granted >= 1200


@given(st.integers(1, 6_000), st.integers(1, 300))
def test_a_refused_call_finds_its_place_when_it_comes_back_as_told(rpm: int, count: int) -> None:
    bucket, now_ms = forgotten(rpm, burst_of(rpm), 0, counts_tokens=False), 0.0
    refused = [each for each in grant([bucket], [Ask("m", 1)] * count, now_ms) if isinstance(each, NotNow)]
    if refused:
        assert refused == [refused[0]] * len(refused) and refused[0].wait_s * 1000 > AHEAD_MS
        (verdict,) = grant([bucket], [Ask("m", 1)], refused[0].wait_s * 1000)
        assert isinstance(verdict, Go) and verdict.wait_s < 1e-6


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8_000), st.integers(1, 90)), max_size=40))
def test_going_away_and_coming_back_grants_no_more_than_the_limit_and_the_halves(
    steps: list[tuple[bool, int, int]],
) -> None:
    rates, processes, now_ms = Rates(requests_per_minute=600), 4, 0.0
    shared, taken = forgotten(600, 60, 0, counts_tokens=False), []
    shares = [Share(rates, processes) for _ in range(processes)]
    for away, pause_ms, count in steps:
        now_ms += pause_ms
        asks = [Ask("m", 1)] * count
        said = (
            [share.reserve(asks, 0, now_ms) for share in shares] if away else [grant([shared], asks, now_ms)]
        )
        taken += [
            (now_ms + verdict.wait_s * 1000, 1.0)
            for part in said
            for verdict in part
            if isinstance(verdict, Go)
        ]
    assert most_in_a_minute(taken) <= (600 + 60) + (600 + 60) / 2 + 1


def test_processes_on_their_own_keep_half_of_everything_together() -> None:
    rates = Rates(requests_per_minute=600, tokens_per_minute=60_000, concurrency=16)
    shares = [Share(rates, processes=4) for _ in range(4)]
    granted = 0
    for second in range(60):
        for share in shares:
            said = share.reserve([Ask("m", 10)] * 9, 0, second * 1000)
            granted += sum(isinstance(verdict, Go) for verdict in said)
            assert sum(isinstance(verdict, Go) for verdict in said) <= 2, "concurrency"
    assert 290 <= granted <= 300 + 30


def test_a_part_of_concurrency_below_one_call_is_none() -> None:
    share = Share(Rates(concurrency=7), processes=4)
    assert share.reserve([Ask("m", 1)], 0, 0.0) == [NotNow("redis", BLIND_WAIT_S)]


def test_true_usage_settles_what_a_process_keeps_by_itself() -> None:
    share = Share(Rates(tokens_per_minute=60_000), processes=1)
    share.reserve([Ask("m", 100)], 0, 0.0)
    before = share.waits_s(0.0)[1]
    share.settle(-50)
    assert share.waits_s(0.0)[1] == pytest.approx(before - 50 * 0.002)
