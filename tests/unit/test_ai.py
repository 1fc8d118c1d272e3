"""`batchwright.ai`: every name does what docs/ai.md says, and says the same as the engine."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchwright import UserError, ai
from config.catalog import PRIORITIES
from config.catalog_file import builtin_catalog
from config.settings import Cache
from workers.core.chooser import Chooser
from workers.core.errors import Untranslatable
from workers.core.messages import Item
from workers.core.route import Offer
from workers.engine.pipeline import prepare
from workers.engine.ports import Link
from workers.engine.work import Work
from workers.store import keys

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ai.md").read_text(encoding="utf-8")
EXAMPLES = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
BUILDERS = {
    "openai": ai.build_openai_request,
    "anthropic": ai.build_anthropic_request,
    "gemini": ai.build_gemini_request,
    "ollama": ai.build_ollama_request,
}

T = ai.TaskType
# The table that users of the earlier platform know; what it does not name is the last column.
ROUTES: list[tuple[Any, dict[ai.TaskType, str], str]] = [
    (
        "speed",
        {
            T.GENRE_CLASSIFICATION: "ollama",
            T.FACTUAL: "ollama",
            T.AUDIO_ANALYSIS: "gemini",
            T.CREATIVE: "anthropic",
        },
        "ollama",
    ),
    ("quality", {T.CREATIVE: "anthropic", T.TOOL_CALLING: "openai"}, "gemini"),
    ("cost", {T.TOOL_CALLING: "openai"}, "ollama"),
]


# ---------------------------------------------------------------- the page


def test_every_example_of_the_page_gives_what_it_shows() -> None:
    example = doctest.DocTestParser().get_doctest(EXAMPLES, {}, "docs/ai.md", "docs/ai.md", 0)
    said: list[str] = []

    failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)

    assert tried > 30
    assert not failed, "".join(said)


@pytest.mark.parametrize("name", ai.__all__)
def test_the_page_lists_every_name_and_uses_all_but_types(name: str) -> None:
    types = {"Prompt", "StreamingMode", "TaskConfig"}

    assert f"`{name}`" in PAGE or f"`{name}(" in PAGE
    assert name in types or f"ai.{name}" in EXAMPLES


@pytest.mark.parametrize("name", ai.__all__)
def test_every_name_is_there_and_no_other(name: str) -> None:
    assert getattr(ai, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        ai.no_such_name  # noqa: B018


# ---------------------------------------------------------------- tasks


def test_providers_and_streaming_modes_are_their_own_words() -> None:
    assert [*ai.Provider] == ["openai", "anthropic", "gemini", "ollama"]
    assert [*ai.StreamingMode] == ["never", "auto", "always"]


def test_task_types_are_those_of_the_catalogue() -> None:
    assert [*ai.TaskType] == [*builtin_catalog().task_types]


@pytest.mark.parametrize(
    ("short", "task"),
    [
        ("genre", ai.TaskType.GENRE_CLASSIFICATION),
        ("audio", ai.TaskType.AUDIO_ANALYSIS),
        ("tools", ai.TaskType.TOOL_CALLING),
    ],
)
def test_short_values_of_task_types_are_understood_everywhere(short: str, task: ai.TaskType) -> None:
    assert ai.TaskType(short) is task
    assert ai.get_task_config(short) is ai.TASK_CONFIGS[task]
    assert ai.build_ollama_request("Hello", task_type=short) == ai.build_ollama_request(
        "Hello", task_type=task
    )


def test_task_configs_are_the_catalogues_and_cannot_be_changed() -> None:
    configs = {
        task: (each.max_tokens, each.temperature, each.streaming) for task, each in ai.TASK_CONFIGS.items()
    }

    assert configs == {
        name: (task.max_tokens, task.temperature, task.streaming)
        for name, task in builtin_catalog().task_types.items()
    }
    with pytest.raises(TypeError):
        ai.TASK_CONFIGS[ai.TaskType.CREATIVE] = ai.TaskConfig(1, 1.0, ai.StreamingMode.AUTO)  # type: ignore[index]


def test_a_task_config_says_how_the_earlier_platform_asked() -> None:
    assert ai.get_task_config("creative") == ai.TaskConfig(2000, 0.8, ai.StreamingMode.ALWAYS)


@pytest.mark.parametrize(
    ("task", "characters", "streams"),
    [
        ("transcription", 500, False),
        ("transcription", 501, True),
        ("summarization", 1, True),
        ("creative", 1, True),
        ("factual", 501, False),
    ],
)
def test_auto_streams_long_content_and_long_answers(task: str, characters: int, *, streams: bool) -> None:
    assert ai.should_stream(task, "x" * characters) is streams


def test_the_text_of_all_messages_counts_as_content() -> None:
    parts = [{"type": "text", "text": "x" * 300}, IMAGE]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "x" * 201},
        {"role": "user", "content": parts},
    ]

    assert ai.should_stream("transcription", messages)
    assert not ai.should_stream("transcription", messages[1:])


# ---------------------------------------------------------------- routes and models


@pytest.mark.parametrize(("priority", "named", "otherwise"), ROUTES, ids=[row[0] for row in ROUTES])
def test_routes_are_those_of_the_earlier_platform(
    priority: Any, named: dict[ai.TaskType, str], otherwise: str
) -> None:
    for task in ai.TaskType:
        assert ai.route_request(task, priority) == named.get(task, otherwise), task


def test_without_a_priority_the_cheapest_answers() -> None:
    assert [ai.route_request(task) for task in ai.TaskType] == [
        ai.route_request(task, "cost") for task in ai.TaskType
    ]


@given(
    st.sampled_from(ai.TaskType),
    st.sampled_from(PRIORITIES),
    st.lists(st.sampled_from(ai.Provider), min_size=1),
)
def test_whoever_is_available_answers_every_task(
    task: ai.TaskType, priority: Any, available: list[ai.Provider]
) -> None:
    chosen = ai.route_request(task, priority, available=available)

    assert chosen in available
    assert chosen is ai.route_request(task, priority, available=[*reversed(available)])


def test_ollamas_models_are_those_of_the_catalogue_and_cannot_be_changed() -> None:
    assert [*ai.OLLAMA_MODELS] == ["fast", "mini", "quality"]
    assert ai.OLLAMA_MODELS["quality"] == "qwen2.5:7b-instruct"
    with pytest.raises(TypeError):
        ai.OLLAMA_MODELS["fast"] = "another"  # type: ignore[index]


@pytest.mark.parametrize(
    ("task", "preference"), [("genre", "mini"), ("creative", "quality"), ("factual", "fast")]
)
def test_a_local_model_is_chosen_by_task(task: str, preference: str) -> None:
    assert ai.get_ollama_model_for_task(task) == ai.OLLAMA_MODELS[preference]


def test_gemini_is_fast_unless_quality_is_asked_for() -> None:
    assert ai.get_gemini_model() == ai.get_gemini_model(priority="speed") == "gemini-3.8-flash"
    assert ai.get_gemini_model(True) == ai.get_gemini_model(priority="quality") == "gemini-4-argon"
    assert ai.get_gemini_model() in ai.get_provider_url("gemini")


# ---------------------------------------------------------------- requests


def test_an_openai_request_holds_the_task_types_defaults() -> None:
    asked: dict[str, Any] = {"task_type": "factual", "model": "gpt-4o-mini"}

    body = ai.build_openai_request("Why?", system="Be brief.", **asked)

    assert body == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "max_completion_tokens": 300,
        "temperature": 0.2,
    }


def test_a_long_system_prompt_is_marked_for_anthropics_cache_and_a_short_one_is_not() -> None:
    long = ai.build_anthropic_request("Why?", system="Rules. " * 1000)
    short = ai.build_anthropic_request("Why?", system="Rules.")

    assert long["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in short["system"][0]


def test_a_gemini_request_has_no_model_and_its_own_words() -> None:
    assert ai.build_gemini_request("Why?", max_tokens=9) == {
        "contents": [{"role": "user", "parts": [{"text": "Why?"}]}],
        "generationConfig": {"maxOutputTokens": 9},
    }


def test_an_ollama_request_keeps_the_model_loaded_and_sizes_the_context() -> None:
    body = ai.build_ollama_request(
        "Why?",
        model="fast",
        keep_alive="24h",
        num_ctx=2048,
        provider_options={"options": {"top_k": 5}},
    )

    assert body["model"] == ai.OLLAMA_MODELS["fast"]
    assert body["keep_alive"] == "24h"
    assert body["options"] == {"num_ctx": 2048, "top_k": 5}
    assert "options" not in ai.build_ollama_request("Why?")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ai.Provider)
def test_one_builder_builds_for_all(provider: ai.Provider, *, stream: bool) -> None:
    asked: dict[str, Any] = {"system": "Be brief.", "task_type": "genre", "stream": stream}

    assert ai.build_provider_request(provider, "Why?", **asked) == BUILDERS[provider]("Why?", **asked)


def test_ollamas_own_words_reach_it_through_the_common_builder_too() -> None:
    assert ai.build_provider_request("ollama", "Why?", keep_alive=0)["keep_alive"] == 0


@pytest.mark.parametrize("provider", ai.Provider)
def test_words_and_messages_say_the_same_and_nothing_given_is_changed(provider: ai.Provider) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    before = orjson.dumps(messages)

    from_messages = ai.build_provider_request(provider, messages, temperature=None)

    assert from_messages == ai.build_provider_request(provider, "Why?", system="Be brief.")
    assert orjson.dumps(messages) == before


def test_what_a_request_loses_is_a_warning_at_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="seed: anthropic has no such parameter") as lost:
        ai.build_anthropic_request("Why?", seed=7)
    with pytest.warns(UserWarning, match="gpt-4 is retired") as retired:
        ai.build_provider_request("openai", "Why?", model="gpt-4")
    with pytest.warns(UserWarning, match=r"gemini-1.5-pro is retired") as renamed:
        ai.get_provider_url("gemini", "gemini-1.5-pro")

    assert {each.filename for each in (*lost, *retired, *renamed)} == {__file__}


def test_what_the_api_cannot_say_is_refused() -> None:
    with pytest.raises(Untranslatable, match="image_url"):
        ai.build_ollama_request([{"role": "user", "content": [IMAGE]}])


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions"),
        ("anthropic", "https://api.anthropic.com/v1/messages"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta/models/gemini-4-argon:generateContent"),
        ("ollama", "http://127.0.0.1:11434/api/chat"),
    ],
)
def test_the_url_is_that_of_the_chat_call(provider: str, url: str) -> None:
    model = "gemini-pro" if provider == "gemini" else None

    assert ai.get_provider_url(provider, model) == url
    assert ai.get_provider_url("ollama", base_url="http://gpu:1/") == "http://gpu:1/api/chat"


@pytest.mark.parametrize(
    ("provider", "header", "value"),
    [
        ("openai", "authorization", "Bearer k"),
        ("anthropic", "x-api-key", "k"),
        ("gemini", "x-goog-api-key", "k"),
        ("ollama", "authorization", "Bearer k"),
    ],
)
def test_headers_hold_the_key_where_the_provider_looks_for_it(provider: str, header: str, value: str) -> None:
    assert ai.get_provider_headers(provider, "k")[header] == value
    assert header not in ai.get_provider_headers(provider)


def test_anthropics_headers_name_the_version_and_the_stream() -> None:
    headers = ai.get_anthropic_headers("k", stream=True)

    assert headers == ai.get_provider_headers("anthropic", "k", stream=True)
    assert headers["anthropic-version"] and headers["accept"] == "text/event-stream"


# ---------------------------------------------------------------- keys


def prepared(provider: str, url: str, body: dict[str, Any], scope: ai.CacheScope) -> Work:
    """What the engine makes of the same request as a line of a batch."""
    link = SimpleNamespace(
        name=provider,
        kind=provider,
        answers_as=scope.base_url,
        options={},
        cache=Cache(),
        chooser=Chooser([Offer(provider, ("*",), provider)], builtin_catalog()),
    )
    line = orjson.dumps({"custom_id": "1", "method": "POST", "url": url, "body": body})
    work = prepare(
        line,
        Item(1, 0, len(line)),
        batch={"endpoint": url, "options": {}},
        link=cast("Link", link),
        secret=scope.secret,
        generation=scope.generation,
    )
    assert isinstance(work, Work)
    return work


SCOPE = ai.CacheScope(b"s" * 32, 3, "http://gpu:11434")


def test_a_chats_key_is_the_one_the_engine_writes() -> None:
    messages = [{"role": "user", "content": "Why?"}]
    body = {"model": "ollama/fast", "messages": messages, "task_type": "factual", "seed": 1}
    work = prepared("ollama", "/v1/chat/completions", body, SCOPE)

    asked: dict[str, Any] = {"model": "fast", "task_type": "factual", "seed": 1, "scope": SCOPE}

    assert ai.cache_key("ollama", "Why?", **asked) == work.cache_key
    assert ai.prompt_fingerprint("ollama", messages, **asked) == work.fingerprint


def test_an_embeddings_key_is_the_one_the_engine_writes() -> None:
    body = {"model": "nomic-embed-text", "input": ["one", "two"]}
    work = prepared("ollama", "/v1/embeddings", body, SCOPE)

    assert ai.cache_key("ollama", ["one", "two"], embedding=True, scope=SCOPE) == work.cache_key


@pytest.mark.parametrize("embedding", [False, True])
def test_a_key_is_the_stores_form_around_the_fingerprint(*, embedding: bool) -> None:
    endpoint = "/v1/embeddings" if embedding else "/v1/chat/completions"

    fingerprint = ai.prompt_fingerprint("openai", "Why?", embedding=embedding)

    assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    assert ai.cache_key("openai", "Why?", embedding=embedding) == keys.answer("openai", endpoint, fingerprint)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "gpt-4o"},
        {"system": "Be brief."},
        {"task_type": "factual"},
        {"temperature": 0.5},
        {"provider_options": {"seed": 1}},
        {"scope": ai.CacheScope(b"s" * 32)},
        {"scope": ai.CacheScope(generation=2)},
        {"scope": ai.CacheScope(base_url="http://127.0.0.1:8080/v1")},
    ],
    ids="-".join,
)
def test_whatever_is_asked_differently_has_another_fingerprint(other: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o-mini", **other}

    assert ai.prompt_fingerprint("openai", "Why?", **asked) != ai.prompt_fingerprint(
        "openai", "Why?", model="gpt-4o-mini"
    )


def test_a_scope_does_not_show_its_secret() -> None:
    assert "sss" not in repr(SCOPE)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "refused",
    [
        lambda: ai.build_provider_request("mistral", "Why?"),
        lambda: ai.get_provider_url("mistral"),
        lambda: ai.get_provider_headers("mistral"),
        lambda: ai.cache_key("mistral", "Why?"),
        lambda: ai.prompt_fingerprint("mistral", "Why?"),
        lambda: ai.route_request("genre", available=["mistral"]),
    ],
)
def test_an_unknown_provider_is_refused_with_the_known_ones(refused: Any) -> None:
    with pytest.raises(
        UserError, match="unknown provider 'mistral'; known: openai, anthropic, gemini, ollama"
    ):
        refused()


@pytest.mark.parametrize(
    "refused",
    [
        lambda: ai.get_task_config("poetry"),
        lambda: ai.should_stream("poetry", ""),
        lambda: ai.route_request("poetry"),
        lambda: ai.get_ollama_model_for_task("poetry"),
        lambda: ai.build_gemini_request("Why?", task_type="poetry"),
        lambda: ai.cache_key("openai", "Why?", task_type="poetry"),
    ],
)
def test_an_unknown_task_type_is_refused_with_the_known_ones(refused: Any) -> None:
    with pytest.raises(
        UserError, match=r"unknown task type 'poetry'; known: genre_classification, .*scenario"
    ):
        refused()


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: ai.route_request("genre", cast("Any", "luck")), "known: speed, quality, cost"),
        (lambda: ai.get_gemini_model(priority=cast("Any", "luck")), "known: speed, quality, cost"),
        (lambda: ai.route_request("genre", available=[]), "no provider is available"),
        (lambda: ai.build_openai_request("Why?", provider_options="x"), "provider_options"),
        (lambda: ai.cache_key("anthropic", "Why?", embedding=True), "no anthropic model for embeddings"),
        (lambda: ai.cache_key("openai", "Why?", system="x", embedding=True), "no system prompt"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(refused: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        refused()


# ---------------------------------------------------------------- what it costs to import


def test_it_is_loaded_on_demand_and_brings_no_prices() -> None:
    program = (
        "import sys, batchwright\n"
        "assert 'batchwright.ai' not in sys.modules and 'workers.providers' not in sys.modules\n"
        "before = set(sys.modules)\n"
        "import batchwright.ai\n"
        "brought = set(sys.modules) - before\n"
        "print(*sorted({name.partition('.')[0] for name in brought}))\n"
    )

    brought = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert brought.returncode == 0, brought.stderr
    assert not {"genai_prices", "jsonschema_rs", "pydantic", "pymongo", "redis"} & {*brought.stdout.split()}


@pytest.mark.parametrize("odd", ["half of a pair: \ud800", {"content": {1, 2}}])
def test_what_json_cannot_say_has_no_fingerprint_and_is_the_users_error(odd: Any) -> None:
    with pytest.raises(UserError, match="JSON"):
        ai.prompt_fingerprint("openai", odd if isinstance(odd, str) else [odd])


def test_only_words_count_towards_streaming() -> None:
    assert not ai.should_stream("transcription", [{"role": "user", "content": ["no part", {"text": "a"}]}])
