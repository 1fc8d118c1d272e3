"""What a file will cost: by model, equal requests once, unknown prices unknown."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog_file import builtin_catalog
from config.prices import OwnPrice
from workers.core.choose import Chosen
from workers.core.estimate import Estimate, Estimator, expected_usage, total
from workers.core.messages import Call
from workers.core.price import Prices

CHAT = "/v1/chat/completions"
KNOWN, UNKNOWN = Chosen("lab", "known"), Chosen("lab", "unknown")
PRICES = Prices((OwnPrice(name="known", input_usd=1.0, output_usd=100.0),), today=lambda: date(2026, 11, 1))


def estimator() -> Estimator:
    return Estimator(PRICES, {"lab": "openai"}, builtin_catalog())


def body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 10, **more}


def test_requests_are_added_up_by_provider_and_model() -> None:
    sums = estimator()
    sums.add(CHAT, body("one"), KNOWN)
    sums.add(CHAT, body("two"), KNOWN)
    sums.add(CHAT, body("one"), UNKNOWN)
    rows = sums.rows()
    assert list(rows) == [("lab", "known"), ("lab", "unknown")]
    known = rows["lab", "known"]
    assert (known.requests, known.duplicates, known.output_tokens, known.uncapped) == (2, 0, 20, 0)
    assert known.cost_usd == pytest.approx((known.input_tokens + 20 * 100.0) / 1e6)
    assert known.saved_usd == 0.0


def test_equal_requests_are_paid_once_and_save_the_rest() -> None:
    sums = estimator()
    sums.add(CHAT, body(temperature=0, model="known"), KNOWN)
    once = sums.rows()["lab", "known"]
    sums.add(CHAT, {"temperature": 0} | body(model="alias-of-known"), KNOWN)
    sums.add(CHAT, body(temperature=0), KNOWN)
    row = sums.rows()["lab", "known"]
    assert (row.requests, row.duplicates) == (3, 2)
    assert (row.input_tokens, row.output_tokens, row.cost_usd) == (
        once.input_tokens,
        once.output_tokens,
        once.cost_usd,
    )
    assert row.saved_usd == pytest.approx(2 * (once.cost_usd or 0.0))


def test_another_endpoint_model_or_parameter_is_another_request() -> None:
    sums = estimator()
    sums.add(CHAT, body(), KNOWN)
    sums.add("/v1/responses", body(), KNOWN)
    sums.add(CHAT, body(), UNKNOWN)
    sums.add(CHAT, body(temperature=1), KNOWN)
    assert total(sums.rows().values()).duplicates == 0


def test_a_request_without_a_cap_is_counted_with_a_usual_length() -> None:
    sums = estimator()
    sums.add(CHAT, body(max_tokens=None), KNOWN)
    row = sums.rows()["lab", "known"]
    assert (row.output_tokens, row.uncapped) == (256, 1)


def test_a_model_that_thinks_is_taken_to_think() -> None:
    sums = Estimator(PRICES, {"openai": "openai"}, builtin_catalog())
    sums.add(CHAT, body(max_tokens=None), Chosen("openai", "gpt-5"))
    assert sums.rows()["openai", "gpt-5"].output_tokens > 1_000


def test_each_choice_without_a_cap_is_held_at_its_own_length() -> None:
    call = Call("/v1/chat/completions", "m", {"messages": [], "n": 8})
    assert expected_usage(call, uncapped=1024).output_tokens == 8 * 1024


def test_a_task_types_cap_is_a_cap() -> None:
    sums = estimator()
    sums.add(CHAT, body(max_tokens=None, task_type="genre"), KNOWN)
    row = sums.rows()["lab", "known"]
    assert (row.output_tokens, row.uncapped) == (100, 0)


def test_a_cap_in_the_providers_own_words_is_a_cap() -> None:
    own = {"provider_options": {"max_tokens": 7, "messages": [{"role": "user", "content": "hello"}]}}
    sums = estimator()
    sums.add(CHAT, own, KNOWN)
    row = sums.rows()["lab", "known"]
    assert (row.output_tokens, row.uncapped) == (7, 0)
    assert row.input_tokens > 5


def test_an_embedding_has_no_output_and_needs_no_cap() -> None:
    sums = estimator()
    sums.add("/v1/embeddings", {"input": "some text"}, KNOWN)
    row = sums.rows()["lab", "known"]
    assert (row.output_tokens, row.uncapped) == (0, 0)


def test_a_body_of_unknown_shape_is_counted_by_its_bytes() -> None:
    sums = estimator()
    sums.add(CHAT, {"own": "x" * 400}, KNOWN)
    assert 100 <= sums.rows()["lab", "known"].input_tokens <= 130


def test_an_unknown_price_makes_the_sum_unknown_and_shows_what_is_known() -> None:
    sums = estimator()
    sums.add(CHAT, body("one"), KNOWN)
    sums.add(CHAT, body("two"), UNKNOWN)
    known, unknown = sums.rows().values()
    assert unknown.cost_usd is None
    every = total([known, unknown])
    assert every.cost_usd is None
    assert every.known_cost_usd == known.cost_usd
    assert every.saved_usd == 0.0, "nothing is saved, whatever it would have cost"
    sums.add(CHAT, body("two"), UNKNOWN)
    assert total(sums.rows().values()).saved_usd is None


def test_nothing_costs_nothing() -> None:
    assert total([]) == Estimate()


@given(st.lists(st.integers(0, 5), max_size=30))
def test_what_is_paid_and_what_is_saved_is_what_all_would_cost(texts: list[int]) -> None:
    sums = estimator()
    for number in texts:
        sums.add(CHAT, body("x" * number), KNOWN)
    alone = 0.0
    for number in texts:
        one = estimator()
        one.add(CHAT, body("x" * number), KNOWN)
        alone += total(one.rows().values()).cost_usd or 0.0
    every = total(sums.rows().values())
    assert (every.cost_usd or 0.0) + (every.saved_usd or 0.0) == pytest.approx(alone)
    assert every.requests - every.duplicates == len(set(texts))


@pytest.mark.parametrize(
    ("options", "output_tokens"),
    [
        ({"generationConfig": {"maxOutputTokens": 600, "candidateCount": 8}}, 4800),
        ({"options": {"num_predict": 70}}, 70),
        ({"max_tokens": 50}, 50),
        ({"options": {"num_predict": -1}}, 256),  # as long as it likes: the usual length
    ],
)
def test_a_cap_in_the_providers_own_words_counts(options: dict[str, Any], output_tokens: int) -> None:
    call = Call(CHAT, "known", body(), provider_options=options)
    assert expected_usage(call).output_tokens == output_tokens
