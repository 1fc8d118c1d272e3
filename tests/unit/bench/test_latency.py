"""How long providers take, and what was promised of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bench.latency import Measured, Stage, Times, as_json, calls_needed, percentile, rows
from app.bench.providers import model_for
from config.settings import Provider, Settings

pytestmark = pytest.mark.fast


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_one_of_the_values_and_enough_of_them_are_no_larger(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_one_slow_call_of_ten_is_the_p95_and_not_the_p50() -> None:
    times = Times((10.0,) * 9 + (900.0,))
    assert (times.p50, times.p95) == (10.0, 900.0)


def test_nothing_measured_has_no_percentile() -> None:
    assert Times(failed=3, why="KeyRefused: no").p50 is None


def test_promises_for_ollama_are_not_held_against_others() -> None:
    slow: dict[Stage, Times] = {"warm": Times((180.0,))}
    (of_ollama,) = rows([Measured("ollama", "ollama", "m", "httpx", slow)])
    (of_openai,) = rows([Measured("openai", "openai", "m", "httpx", slow)])
    assert of_ollama[-1] == "p50 150 ms missed, p95 200 ms kept, p95 500 ms kept"
    assert of_openai[-1] == "p95 500 ms kept"


def test_a_provider_that_was_not_asked_says_why() -> None:
    (row,) = rows([Measured("own", "openai", skipped="no model is known for it")])
    assert row[2] == "skipped: no model is known for it"


def test_failed_calls_are_counted_among_the_calls() -> None:
    (found,) = as_json(
        [Measured("openai", "openai", "m", "httpx", {"cold": Times((5.0,), 2, "RateLimited: no")})]
    )
    assert (found["cold"]["calls"], found["cold"]["failed"]) == (3, 2)


def test_the_number_of_calls_that_is_said_counts_every_stage_that_calls() -> None:
    assert calls_needed(2, 10) == 62


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (Provider(name="sim", kind="sim", base_url="http://x", models=("sim-*",)), "sim-small"),
        (Provider(name="own", kind="openai", base_url="http://x/v1", models=("a-*", "b-1")), "b-1"),
        (Provider(name="own", kind="openai", base_url="http://x/v1", models=("a-*",)), None),
    ],
)
def test_the_model_to_ask_is_one_that_the_settings_name(provider: Provider, model: str | None) -> None:
    assert model_for(provider, Settings().catalog) == model


def test_a_provider_that_names_no_model_is_asked_for_the_one_auto_takes() -> None:
    anthropic = Provider(name="anthropic", kind="anthropic", base_url="http://x")
    assert (model_for(anthropic, Settings().catalog) or "").startswith("claude-")
