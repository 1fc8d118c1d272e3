"""What providers say of their own limits is read as documented; what makes no sense is not there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.rate_headers import Allowance, allowances

NOW_S = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def openai(limit: str, left: str, reset: str, kind: str = "requests") -> dict[str, str]:
    words = {"limit": limit, "remaining": left, "reset": reset}
    return {f"x-ratelimit-{word}-{kind}": value for word, value in words.items()}


def anthropic(limit: str, left: str, reset: str, kind: str = "requests") -> dict[str, str]:
    words = {"limit": limit, "remaining": left, "reset": reset}
    return {f"anthropic-ratelimit-{kind}-{word}": value for word, value in words.items()}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (openai("60", "59", "1s"), Allowance("requests", 60, 59, 1_000, 60)),
        (openai("150000", "149984", "6ms", "tokens"), Allowance("tokens", 150_000, 149_984, 0.375, 60)),
        (openai("60", "0", "6m0s"), Allowance("requests", 60, 0, 6_000, 360)),
        (openai("14400", "14370", "2m59.56s"), Allowance("requests", 14_400, 14_370, 179_560 / 30, 179.56)),
        (openai("10", "0", "1h2m3s"), Allowance("requests", 10, 0, 372_300, 900)),
        (openai("60", "60", "0s"), Allowance("requests", 60, 60, 1_000, 60)),
        (openai("60", "70", "20ms"), Allowance("requests", 60, 60, 1_000, 60)),
        (openai("2", "0", "1d"), Allowance("requests", 2, 0, 900_000, 900)),
        (anthropic("50", "40", "2023-11-14T22:13:32Z"), Allowance("requests", 50, 40, 1_200, 60)),
        (anthropic("50", "40", "2023-11-14T23:13:32+01:00"), Allowance("requests", 50, 40, 1_200, 60)),
        (anthropic("60", "40", "2023-11-14T22:00:00Z"), Allowance("requests", 60, 40, 1_000, 60)),
        (
            {"date": "Tue, 14 Nov 2023 22:13:22 GMT", **anthropic("50", "40", "2023-11-14T22:13:32Z")},
            Allowance("requests", 50, 40, 1_000, 60),
        ),
    ],
    ids=str,
)
def test_a_word_of_a_provider_is_read(headers: dict[str, str], expected: Allowance) -> None:
    (said,) = allowances(headers, now_s=NOW_S)
    assert said.step_ms == pytest.approx(expected.step_ms) and said.fresh_s == pytest.approx(expected.fresh_s)
    assert (said.kind, said.limit, said.left) == (expected.kind, expected.limit, expected.left)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        openai("-1", "-1", "0s"),
        openai("0", "0", "1s"),
        openai("nan", "1", "1s"),
        openai("60", "inf", "1s"),
        openai("60", "1", "soon"),
        openai("60", "1", ""),
        openai("60", "1", "1s" * 40),
        anthropic("60", "1", "2023-11-14T22:13:32"),
        {"x-ratelimit-remaining-requests": "0"},
    ],
    ids=str,
)
def test_what_is_incomplete_or_makes_no_sense_is_not_there(headers: dict[str, str]) -> None:
    assert allowances(headers, now_s=NOW_S) == []


def test_of_several_kinds_of_tokens_the_one_with_the_least_left_counts() -> None:
    reset = "2023-11-14T22:13:50Z"
    headers = {
        **anthropic("50", "49", reset),
        **anthropic("48000", "47000", reset, "tokens"),
        **anthropic("40000", "39000", reset, "input-tokens"),
        **anthropic("8000", "7000", reset, "output-tokens"),
    }
    said = {each.kind: each.left for each in allowances(headers, now_s=NOW_S)}
    assert said == {"requests": 49, "tokens": 7000}


@given(*[st.text(max_size=8) | st.from_regex(r"-?[0-9.e]{1,9}(ms|s|m|h)?", fullmatch=True)] * 3)
def test_no_word_of_a_provider_makes_us_fail_or_sleep_for_more_than_a_quarter_of_an_hour(
    limit: str, left: str, reset: str
) -> None:
    for headers in (openai(limit, left, reset), anthropic(limit, left, reset)):
        for said in allowances(headers, now_s=NOW_S):
            assert 0 <= said.left <= said.limit and 0 < said.step_ms <= 900_000 and said.fresh_s <= 900
            assert math.isfinite(said.limit)
