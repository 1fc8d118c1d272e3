"""Who is chosen for a request, and what the request is then."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import PRIORITIES, Candidate, Catalog
from config.catalog_file import builtin_catalog
from workers.core.choose import (
    AUTO,
    Chosen,
    Wanted,
    call_of,
    choose,
    considered,
    read_wanted,
    should_stream,
)
from workers.core.messages import LineProblem
from workers.core.route import Offer

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
CATALOG = builtin_catalog()
OPENAI = Offer("openai", ("gpt-[!o]*", "o[0-9]*", "text-embedding-*"), "openai")
ANTHROPIC = Offer("anthropic", ("claude-*",), "anthropic")
GEMINI = Offer("gemini", ("gemini-*",), "gemini")
OLLAMA = Offer("ollama", ("*",), "ollama")
VLLM = Offer("vllm", ("*",), "openai")
SIM = Offer("sim", ("sim-*",), "sim")
SIM_FOR_ALL = Offer("sim", ("*",), "sim")
ALL = (SIM, OPENAI, ANTHROPIC, GEMINI, OLLAMA)
CLOUD = (OPENAI, ANTHROPIC, GEMINI)


def wanted(body: dict[str, Any], model: str = AUTO, endpoint: str = CHAT) -> Wanted:
    read = read_wanted(endpoint, model, body, CATALOG)
    assert isinstance(read, Wanted)
    return read


def with_parts(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


@pytest.mark.parametrize(
    ("priority", "task_type", "provider"),
    [
        ("speed", "genre", "ollama"),
        ("speed", "factual", "ollama"),
        ("speed", "audio", "gemini"),
        ("speed", "creative", "anthropic"),
        ("speed", "summarization", "ollama"),
        ("quality", "creative", "anthropic"),
        ("quality", "tools", "openai"),
        ("quality", "conversation", "gemini"),
        ("cost", "tool_calling", "openai"),
        ("cost", "scenario", "ollama"),
        ("cost", None, "ollama"),
    ],
)
def test_auto_takes_the_first_choice_for_its_priority_and_task(
    priority: str, task_type: str | None, provider: str
) -> None:
    chosen = choose(wanted({"priority": priority, "task_type": task_type}), ALL, CATALOG)
    assert chosen is not None
    assert chosen.provider == provider


def test_auto_passes_over_who_is_not_configured() -> None:
    body = {"priority": "cost"}
    assert choose(wanted(body), CLOUD, CATALOG) == Chosen("openai", "gpt-6-luna")
    assert choose(wanted(body), (GEMINI,), CATALOG) == Chosen("gemini", "gemini-3.5-flash-lite")
    assert choose(wanted(body), (SIM, VLLM), CATALOG) is None


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (with_parts({"type": "image_url", "image_url": {"url": "data:,"}}), "llava"),
        (
            with_parts({"type": "image_url", "image_url": {"url": "data:,"}}, task_type="factual"),
            "gpt-6-luna",
        ),
        (with_parts({"type": "input_audio", "input_audio": {}}), "gemini-3.5-flash-lite"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "llava"),
        ({"task_type": "genre", "tools": [{"type": "function"}]}, "gpt-6-luna"),
        ({"task_type": "genre", "response_format": {"type": "json_schema"}}, "phi3.5:mini"),
    ],
)
def test_auto_takes_a_model_that_can_do_what_the_request_needs(body: dict[str, Any], model: str) -> None:
    chosen = choose(wanted(body), ALL, CATALOG)
    assert chosen is not None
    assert chosen.model == model


def test_auto_for_embeddings_takes_an_embedding_model() -> None:
    read = wanted({"input": "x"}, endpoint=EMBEDDINGS)
    assert choose(read, ALL, CATALOG) == Chosen("ollama", "nomic-embed-text")
    assert choose(read, CLOUD, CATALOG) == Chosen("openai", "text-embedding-3-small")
    assert choose(read, (ANTHROPIC,), CATALOG) is None


def test_a_simulator_for_every_model_gets_the_name_of_the_first_candidate() -> None:
    read = wanted({"priority": "quality", "task_type": "creative"})
    assert choose(read, (SIM_FOR_ALL,), CATALOG) == Chosen("sim", "claude-opus-5-5")
    assert choose(read, (SIM,), CATALOG) is None


def test_why_a_candidate_is_passed_over_is_said() -> None:
    images = with_parts({"type": "image_url"}, task_type="genre", priority="speed")
    said = [str(each.candidate) + " " + each.why_not for each in considered(wanted(images), ALL, CATALOG)]
    assert said[0] == "ollama/phi3.5:mini cannot do vision"
    said = [each.why_not for each in considered(wanted({}), (VLLM, GEMINI), CATALOG)]
    assert said[:2] == ["ollama is not configured", "openai does not offer it"]


@pytest.mark.parametrize(
    ("model", "chosen"),
    [
        ("gpt-9-new", Chosen("openai", "gpt-9-new")),
        ("gpt-oss:20b", Chosen("ollama", "gpt-oss:20b")),
        ("anthropic/claude-opus-4-6", Chosen("anthropic", "claude-opus-4-6")),
        ("claude-sonnet", Chosen("anthropic", "claude-sonnet-5-5")),
        ("anthropic/claude-sonnet", Chosen("anthropic", "claude-sonnet-5-5")),
        ("fast", Chosen("ollama", "llama3.2:3b-instruct-q8_0")),
        ("ollama/quality", Chosen("ollama", "qwen2.5:7b-instruct")),
        ("org/model", Chosen("ollama", "org/model")),
    ],
)
def test_a_name_finds_its_provider_and_what_it_means_there(model: str, chosen: Chosen) -> None:
    assert choose(Wanted(CHAT, model), ALL, CATALOG) == chosen


def test_a_kind_stands_for_the_first_provider_of_that_kind() -> None:
    mine = Offer("claude-eu", ("claude-*",), "anthropic")
    assert choose(Wanted(CHAT, "anthropic/claude-x"), (VLLM, mine), CATALOG) == Chosen(
        "claude-eu", "claude-x"
    )
    # A server of one's own may have such names itself.
    assert choose(Wanted(CHAT, "anthropic/claude-x"), (VLLM,), CATALOG) == Chosen(
        "vllm", "anthropic/claude-x"
    )


def test_a_retired_model_is_replaced_with_a_warning_that_names_both() -> None:
    chosen = choose(Wanted(CHAT, "gpt-4-turbo"), ALL, CATALOG)
    text = "model: gpt-4-turbo is retired; gpt-6.1-sol answers in its place"
    assert chosen == Chosen("openai", "gpt-6.1-sol", (text,))


def test_a_server_with_models_of_its_own_is_asked_for_a_retired_name_as_it_is() -> None:
    azure = Offer("azure", ("gpt-4",), "openai")
    for offers in ((azure, OPENAI), (VLLM,), (SIM_FOR_ALL,)):
        assert choose(Wanted(CHAT, "gpt-4"), offers, CATALOG) == Chosen(offers[0].provider, "gpt-4")


def test_nobody_is_chosen_for_a_model_that_nobody_offers() -> None:
    assert choose(Wanted(CHAT, "llama3"), CLOUD, CATALOG) is None
    assert choose(Wanted(CHAT, "fast"), CLOUD, CATALOG) is None


NAMES = st.one_of(
    st.just(AUTO),
    st.sampled_from(sorted(CATALOG.aliases)),
    st.sampled_from(["gpt-4", "gpt-6", "claude-3-opus", "sim-x", "x", "a/b", "gpt-oss:20b"]),
    st.tuples(
        st.sampled_from(["openai", "anthropic", "ollama", "vllm", "gemini"]),
        st.sampled_from(["fast", "gpt-4", "gpt-luna", "claude-opus", "gemini-pro", "x"]),
    ).map("/".join),
)
OFFERS = st.lists(st.sampled_from([*ALL, VLLM, SIM_FOR_ALL]), unique=True, max_size=6)
BODIES = st.fixed_dictionaries(
    {"task_type": st.sampled_from([None, *CATALOG.task_types]), "priority": st.sampled_from(PRIORITIES)},
    optional={"tools": st.just([{"type": "function"}])},
)


@given(model=NAMES, offers=OFFERS, body=BODIES)
def test_choosing_again_among_the_chosen_alone_gives_the_same(
    model: str, offers: list[Offer], body: dict[str, Any]
) -> None:
    read = wanted(body, model)
    chosen = choose(read, offers, CATALOG)
    if chosen is not None:
        alone = [offer for offer in offers if offer.provider == chosen.provider]
        assert choose(read, alone, CATALOG) == chosen


@pytest.mark.parametrize(
    ("body", "code", "param", "word"),
    [
        ({"task_type": "poetry"}, "invalid_value", "body.task_type", "genre_classification"),
        ({"task_type": 3}, "invalid_type", "body.task_type", "an integer"),
        ({"priority": "cheap"}, "invalid_value", "body.priority", "speed, quality, cost"),
        ({"provider_options": []}, "invalid_type", "body.provider_options", "an array"),
    ],
)
def test_a_wrong_field_of_ours_is_a_problem_that_says_what_is_right(
    body: dict[str, Any], code: str, param: str, word: str
) -> None:
    problem = read_wanted(CHAT, "gpt-6", body, CATALOG)
    assert isinstance(problem, LineProblem)
    assert (problem.code, problem.param) == (code, param)
    assert word in problem.message


@given(
    body=st.dictionaries(
        st.sampled_from(["messages", "input", "tools", "response_format", "text", "priority", "task_type"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["content", "type", "format"]), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    assert isinstance(read_wanted(CHAT, AUTO, body, CATALOG), (Wanted, LineProblem))


def test_an_integer_priority_stays_in_the_body() -> None:
    body = {"messages": [], "priority": 2, "task_type": "factual"}
    call = call_of(CHAT, body, Chosen("vllm", "qwen3"), "openai", CATALOG)
    assert wanted(body, "qwen3").priority is None
    assert call.body["priority"] == 2


def test_a_plain_request_is_shared_and_gets_the_providers_options() -> None:
    body, options = {"messages": [], "model": "x"}, {"keep_alive": "24h"}
    call = call_of(CHAT, body, Chosen("ollama", "llama3.2"), "ollama", CATALOG, options)
    assert call.body is body
    assert call.provider_options is options
    assert call.traits.context_tokens == 131072


def test_a_task_type_fills_in_what_the_request_does_not_say() -> None:
    body = {"messages": [], "task_type": "genre", "priority": "cost"}
    call = call_of(CHAT, body, Chosen("ollama", "llama3.2"), "ollama", CATALOG)
    assert call.body == {"messages": [], "max_tokens": 100, "temperature": 0.1}
    said = {"messages": [], "task_type": "genre", "max_tokens": 7, "top_p": 0.5}
    call = call_of(CHAT, said, Chosen("ollama", "llama3.2"), "ollama", CATALOG)
    assert call.body == {"messages": [], "max_tokens": 7, "top_p": 0.5}


def test_a_model_that_thinks_gets_room_for_it_and_no_temperature() -> None:
    body = {"messages": [], "task_type": "genre"}
    call = call_of(CHAT, body, Chosen("openai", "gpt-6-luna"), "openai", CATALOG)
    assert call.body == {"messages": [], "max_completion_tokens": 100 + call.traits.thought_tokens}
    call = call_of(
        "/v1/responses", {"input": "x", "task_type": "genre"}, Chosen("o", "gpt-6"), "openai", CATALOG
    )
    assert call.body == {"input": "x", "max_output_tokens": 100 + call.traits.thought_tokens}
    call = call_of(EMBEDDINGS, {"input": "x", "task_type": "genre"}, Chosen("o", "x"), "openai", CATALOG)
    assert call.body == {"input": "x"}


def test_a_requests_options_lie_over_the_providers_and_a_null_stays() -> None:
    defaults = {"keep_alive": "24h", "options": {"num_ctx": 8192, "seed": 1}}
    body = {"messages": [], "provider_options": {"options": {"num_ctx": 2048}, "think": None}}
    before = copy.deepcopy((body, defaults))
    call = call_of(CHAT, body, Chosen("ollama", "llama3.2"), "ollama", CATALOG, defaults)
    assert call.provider_options == {
        "keep_alive": "24h",
        "options": {"num_ctx": 2048, "seed": 1},
        "think": None,
    }
    assert call.body == {"messages": []}
    assert (body, defaults) == before


@pytest.mark.parametrize(
    ("task_type", "characters", "streaming", "streams"),
    [
        (None, 500, "auto", False),
        (None, 501, "auto", True),
        ("summarization", 1, "auto", True),
        ("creative", 9999, "never", False),
        ("factual", 1, "always", True),
    ],
)
def test_auto_streams_long_content_and_what_people_watch(
    task_type: str | None, characters: int, streaming: Any, streams: bool
) -> None:
    assert should_stream(task_type, characters, streaming) is streams


def test_a_users_alias_leads_to_the_provider_it_names() -> None:
    catalog = Catalog(aliases={"house": Candidate("vllm", "qwen3"), "home": Candidate(None, "house")})
    for name in ("house", "home"):
        assert choose(Wanted(CHAT, name), (OLLAMA, VLLM), catalog) == Chosen("vllm", "qwen3")


def test_a_model_in_provider_options_is_refused_since_it_would_be_priced_as_another() -> None:
    wanted = read_wanted(CHAT, "gpt-4o-mini", {"provider_options": {"model": "gpt-4o"}}, builtin_catalog())
    assert isinstance(wanted, LineProblem) and wanted.param == "body.provider_options.model"
