"""Tokens estimated without a tokenizer: near the truth, mostly above it, for every kind of request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.tokens import estimate_input_tokens, estimate_output_tokens, output_cap, text_tokens


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("a", 1, 1),
        ("You miss 100% of the shots you don't take", 10, 14),  # 11, in OpenAI's guide
        ("The quick brown fox jumps over the lazy dog.", 10, 13),  # 10
        ("1234567890" * 10, 34, 50),  # groups of three
        ("人人生而自由，在尊严和权利上一律平等。" * 10, 140, 230),
        ("Все люди рождаются свободными и равными. " * 10, 80, 200),
        ("모든 인간은 태어날 때부터 자유롭다. " * 10, 100, 180),
        ("😀" * 10, 10, 30),
        ("        return value\n" * 100, 300, 800),  # an indent is one token
    ],
)
def test_a_text_is_counted_near_its_truth(text: str, least: int, most: int) -> None:
    assert least <= text_tokens(text) <= most


@given(st.text())
def test_any_text_has_tokens_and_hardly_more_than_bytes(text: str) -> None:
    assert (text_tokens(text) >= 1) == bool(text)
    assert text_tokens(text) <= len(text.encode("utf-8", "surrogatepass")) * 1.2 + 1


@given(st.text(max_size=40), st.text(max_size=40))
def test_more_text_never_has_fewer_tokens(one: str, other: str) -> None:
    assert text_tokens(one + " " + other) + 5 >= text_tokens(one)


def test_half_a_surrogate_pair_is_counted_too() -> None:
    assert text_tokens("\ud800") >= 1


def chat(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]} | more


@pytest.mark.parametrize(
    ("larger", "smaller"),
    [
        (chat("hello", "hello"), chat("hello")),
        (chat("hello", tools=[{"type": "function", "function": {"name": "f"}}]), chat("hello")),
        (chat("hello", response_format={"json_schema": {"schema": {"a": 1}}}), chat("hello")),
        (chat([{"type": "text", "text": "one two three"}]), chat([{"type": "text", "text": "one"}])),
        (chat([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]), chat("hello")),
        (chat([{"type": "input_audio", "input_audio": {"data": "A" * 40_000}}]), chat("hello")),
        (chat([{"type": "file", "file": {"file_data": "A" * 40_000}}]), chat("hello")),
        (chat([{"type": "refusal", "refusal": "no thanks to that"}]), chat([])),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, {"messages": [{}]}),
        ({"input": ["one two", "three"]}, {"input": ["one two"]}),
        ({"input": [[1, 2, 3], [4]]}, {"input": [[1, 2, 3]]}),
        ({"input": "hi", "instructions": "Be brief."}, {"input": "hi"}),
        ({"input": [{"type": "function_call_output", "output": "4"}]}, {"input": []}),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y"}]}]},
            {"input": [{"role": "user", "content": "hi"}]},
        ),
        ({"prompt": "one two three"}, {"prompt": "one"}),
        ({"file_url": "data:audio/wav;base64," + "A" * 90_000}, {"file_url": "data:,"}),
        ({"provider_options": {"contents": [{"parts": [{"text": "hello"}]}]}}, {}),
    ],
)
def test_whatever_a_request_sends_adds_tokens(larger: dict[str, Any], smaller: dict[str, Any]) -> None:
    assert estimate_input_tokens(larger) > estimate_input_tokens(smaller)


def test_numbers_of_tokens_are_counted_as_they_are() -> None:
    assert estimate_input_tokens({"input": [5, 6, 7]}) == 3
    assert estimate_input_tokens({"input": [[5, 6, 7], [8]]}) == 4


def test_a_body_of_unknown_shape_has_no_estimate() -> None:
    assert estimate_input_tokens({"model": "m", "input": 3, "messages": None}) == 0


@pytest.mark.parametrize(
    ("body", "cap"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_output_tokens": 6}, 6),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": "5"}, None),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
    ],
)
def test_a_cap_is_a_number_above_nothing(body: dict[str, Any], cap: int | None) -> None:
    assert output_cap(body) == cap


@pytest.mark.parametrize(
    ("body", "endpoint", "tokens"),
    [
        ({"input": "x"}, "", 0),
        ({"input": ["x"]}, "", 0),
        ({"input": "x"}, "/v1/responses", 100),
        ({"input": "x", "instructions": "y"}, "", 100),
        ({"input": [{"role": "user", "content": "x"}]}, "", 100),
        ({"prompt": "x", "n": 2}, "", 200),
        ({"messages": [], "max_tokens": 7}, "/v1/chat/completions", 7),
    ],
)
def test_an_answer_is_as_long_as_its_cap_or_as_usual(
    body: dict[str, Any], endpoint: str, tokens: int
) -> None:
    assert estimate_output_tokens(body, endpoint, default=100) == tokens
