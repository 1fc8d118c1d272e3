"""f(prompt): deterministic, distinct, and one of the labels where labels are offered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.answers import answer_text, labels_asked_for
from app.simulator.usage import count_tokens, cut_to_tokens, prompt_tokens

pytestmark = pytest.mark.fast


def asked(text: str, model: str = "sim-small", seed: int = 0) -> str:
    return answer_text(model, [{"role": "user", "content": text}], seed)


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        (
            "Classify the review as positive, negative or neutral: it broke.",
            ("positive", "negative", "neutral"),
        ),
        (
            "Choose exactly one of: billing, shipping, other.\nTicket: where is it?",
            ("billing", "shipping", "other"),
        ),
        ("Labels:\n- cat\n- dog\n\nText: woof", ("cat", "dog")),
        ("Answer with one of 'yes' / 'no'. Is it late?", ("yes", "no")),
        (
            "Categories: sports | politics | very bad weather\nText: rain",
            ("sports", "politics", "very bad weather"),
        ),
        ("Pick one category from red, green, and blue; then stop", ("red", "green", "blue")),
        ("Translate this sentence into French.", ()),
        ("Is this one of the finest days you remember, or not so much in the end?", ()),
        ("", ()),
    ],
)
def test_a_prompt_that_offers_labels_is_answered_with_one_of_them(
    prompt: str, labels: tuple[str, ...]
) -> None:
    assert labels_asked_for(prompt) == labels
    if labels:
        assert asked(prompt) in labels


def test_labels_are_spread_over_many_prompts() -> None:
    chosen = {asked(f"Classify as positive, negative or neutral: number {k}") for k in range(60)}
    assert chosen == {"positive", "negative", "neutral"}


def test_an_answer_depends_on_model_messages_and_seed_and_on_nothing_else() -> None:
    answers = {asked("a"), asked("b"), asked("a", seed=1), asked("a", model="sim-large")}
    assert len(answers) == 4
    reordered = answer_text("sim-small", [{"content": "a", "role": "user"}], 0)
    assert reordered == asked("a")


@given(st.text(max_size=400))
def test_any_text_is_answered_twice_the_same(text: str) -> None:
    answer = asked(text)
    assert answer
    assert asked(text) == answer


@given(st.text(max_size=60), st.integers(1, 20))
def test_a_cut_answer_is_a_prefix_within_its_tokens(text: str, cap: int) -> None:
    cut = cut_to_tokens(text, cap)
    assert text.startswith(cut)
    assert count_tokens(cut) <= cap
    assert cut == text or count_tokens(cut + text[len(cut)]) > cap


def test_tokens_are_four_bytes_each_and_every_part_of_a_prompt_costs() -> None:
    assert [count_tokens(text) for text in ("", "a", "abcd", "abcde", "\u00e9\u00e9\u00e9")] == [
        0,
        1,
        1,
        2,
        2,
    ]
    plain = prompt_tokens([{"role": "user", "content": "abcd"}])
    parts = [{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {"url": "https://x"}}]
    assert prompt_tokens([{"role": "user", "content": parts}]) == plain + 85
    assert prompt_tokens([{"role": "user", "content": "abcd"}], tools=[{"type": "function"}]) > plain
