"""Who answers once a provider has failed for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog_file import builtin_catalog
from workers.core.choose import AUTO, Chosen
from workers.core.chooser import Chooser
from workers.core.messages import LineProblem
from workers.core.route import Offer

CHAT = "/v1/chat/completions"
CATALOG = builtin_catalog()
OPENAI = Offer("openai", ("gpt-*",), "openai")
AZURE = Offer("azure", ("gpt-*",), "openai")
ANTHROPIC = Offer("anthropic", ("claude-*",), "anthropic")
GEMINI = Offer("gemini", ("gemini-*",), "gemini")
OLLAMA = Offer("ollama", ("*",), "ollama")
VLLM = Offer("vllm", ("*",), "openai")
IMAGE = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}


def after(
    *failed: str, model: str, offers: tuple[Offer, ...], body: dict[str, Any] | None = None
) -> Chosen | None:
    return Chooser(offers, CATALOG).elsewhere(CHAT, model, body or {}, without=frozenset(failed))


def place(chosen: Chosen | None) -> tuple[str, str] | None:
    return None if chosen is None else (chosen.provider, chosen.model)


def test_a_fallback_is_asked_for_the_model_that_is_said_with_it_and_the_item_says_so() -> None:
    offers = (replace(OPENAI, fallback=("anthropic/claude-haiku-4-5", "vllm")), ANTHROPIC, VLLM)
    chosen = after("openai", model="gpt-6-luna", offers=offers)
    assert place(chosen) == ("anthropic", "claude-haiku-4-5")
    assert chosen is not None and chosen.warnings == (
        "model: openai/gpt-6-luna gave no answer; anthropic/claude-haiku-4-5 does in its place",
    )
    assert after("openai", "anthropic", model="gpt-6-luna", offers=offers) == Chosen("vllm", "gpt-6-luna")
    assert after("openai", "anthropic", "vllm", model="gpt-6-luna", offers=offers) is None


def test_a_name_with_its_provider_goes_only_where_the_fallback_says() -> None:
    assert after("openai", model="openai/gpt-6-luna", offers=(OPENAI, AZURE)) is None
    offers = (replace(OPENAI, fallback=("azure",)), AZURE)
    assert after("openai", model="openai/gpt-6-luna", offers=offers) == Chosen("azure", "gpt-6-luna")


def test_a_plain_name_goes_to_who_offers_that_very_name() -> None:
    offers = (OPENAI, OLLAMA, VLLM, AZURE)
    assert after("openai", model="gpt-6-luna", offers=offers) == Chosen("azure", "gpt-6-luna")
    # Who is asked for everything has never said that it knows this name.
    assert after("openai", "azure", model="gpt-6-luna", offers=offers) is None
    listed = replace(VLLM, models=("*", "gpt-6-luna"))
    assert place(after("openai", model="gpt-6-luna", offers=(OPENAI, listed))) == ("vllm", "gpt-6-luna")


def test_auto_goes_on_with_its_route() -> None:
    body = {"priority": "cost", "task_type": "tools"}
    offers = (OPENAI, ANTHROPIC, GEMINI)
    first = Chooser(offers, CATALOG).choose(CHAT, AUTO, body)
    assert isinstance(first, Chosen) and first.provider == "openai"
    second = after("openai", model=AUTO, offers=offers, body=body)
    assert second is not None and second.provider in ("anthropic", "gemini")
    third = after("openai", second.provider, model=AUTO, offers=offers, body=body)
    assert third is not None and third.provider not in ("openai", second.provider)


def test_a_fallback_comes_before_the_route_and_has_its_own_place_in_it() -> None:
    body = {"priority": "cost", "task_type": "tools"}
    offers = (replace(OPENAI, fallback=("gemini",)), ANTHROPIC, GEMINI)
    chosen = after("openai", model=AUTO, offers=offers, body=body)
    assert chosen is not None and (chosen.provider, chosen.model[:6]) == ("gemini", "gemini")


def test_a_fallback_that_cannot_do_what_the_request_needs_is_passed_over() -> None:
    offers = (replace(OPENAI, fallback=("ollama/phi3.5:mini", "ollama/llava")), OLLAMA)
    assert place(after("openai", model="gpt-6-luna", offers=offers)) == ("ollama", "phi3.5:mini")
    assert place(after("openai", model="gpt-6-luna", offers=offers, body=IMAGE)) == ("ollama", "llava")


def test_a_fallback_that_has_failed_names_the_next() -> None:
    offers = (
        replace(OPENAI, fallback=("vllm", "absent")),
        replace(VLLM, fallback=("openai", "anthropic/claude-haiku-4-5")),
        ANTHROPIC,
    )
    assert place(after("openai", "vllm", model="openai/gpt-6-luna", offers=offers)) == (
        "anthropic",
        "claude-haiku-4-5",
    )


def test_who_is_meant_by_new_settings_and_had_nothing_yet_comes_first() -> None:
    assert place(after("acme", model="openai/gpt-6-luna", offers=(OPENAI,))) == ("openai", "gpt-6-luna")


def test_a_request_that_nobody_can_read_any_more_goes_nowhere() -> None:
    assert after("openai", model="gpt-6-luna", offers=(OPENAI, AZURE), body={"task_type": 1}) is None
    assert after("openai", model="nobodys", offers=(OPENAI, AZURE)) is None


ALL = (OPENAI, AZURE, ANTHROPIC, GEMINI, OLLAMA, VLLM)
NAMES = [offer.provider for offer in ALL]
ENTRIES = st.sampled_from([*NAMES, *(f"{name}/gpt-6-luna" for name in NAMES)])


@given(
    st.lists(st.lists(ENTRIES, max_size=3).map(tuple), min_size=len(ALL), max_size=len(ALL)),
    st.sampled_from(["gpt-6-luna", "openai/gpt-6-luna", "claude-haiku-4-5", "quality", "llama3", AUTO]),
    st.sampled_from([{}, {"task_type": "creative", "priority": "quality"}, IMAGE]),
)
def test_however_they_name_each_other_an_item_is_nobodys_twice(
    fallbacks: list[tuple[str, ...]], model: str, body: dict[str, Any]
) -> None:
    offers = [replace(offer, fallback=named) for offer, named in zip(ALL, fallbacks, strict=True)]
    chooser = Chooser(offers, CATALOG)
    chosen = chooser.choose(CHAT, model, body)
    assert not isinstance(chosen, LineProblem)
    had: list[str] = []
    while chosen is not None:
        assert chosen.provider not in had
        had.append(chosen.provider)
        chosen = chooser.elsewhere(CHAT, model, body, without=frozenset(had))
    assert len(had) <= len(ALL)


@pytest.mark.parametrize("body", [{}, IMAGE])
def test_equal_wishes_are_chosen_for_once(body: dict[str, Any]) -> None:
    chooser = Chooser(ALL, CATALOG)
    one = chooser.elsewhere(CHAT, "gpt-6-luna", body, without=frozenset({"openai"}))
    assert one is chooser.elsewhere(CHAT, "gpt-6-luna", dict(body), without=frozenset({"openai"}))
