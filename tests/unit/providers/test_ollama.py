"""What Ollama is asked: its own request shapes, nothing of the call dropped without a word."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import ModelTraits
from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.base import Built
from workers.providers.ollama import Ollama

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
OLLAMA = Ollama()
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}


def build(
    body: dict[str, Any], endpoint: str = CHAT, *, stream: bool = False, model: str = "llama3.2", **more: Any
) -> Built:
    return OLLAMA.build_request(Call(endpoint, model, body, **more), None, stream=stream)


def asked(body: dict[str, Any], endpoint: str = CHAT, **more: Any) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(build(body, endpoint, **more).request.body)
    return data


def refused(body: dict[str, Any], endpoint: str = CHAT) -> str:
    with pytest.raises(Untranslatable) as caught:
        build(body, endpoint)
    return caught.value.param


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.ability("ollama", "chat")
def test_a_chat_is_asked_of_api_chat_with_its_sampling_as_options() -> None:
    body = {
        "messages": [{"role": "developer", "content": "be brief"}, *HELLO],
        "max_tokens": 50,
        "temperature": 0.1,
        "top_p": 0.9,
        "stop": "END",
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "stream": True,
    }
    built = build(body)
    assert (built.request.method, built.request.path, built.warnings) == ("POST", "/api/chat", ())
    assert orjson.loads(built.request.body) == {
        "model": "llama3.2",
        "stream": False,
        "truncate": False,
        "shift": False,
        "messages": [{"role": "system", "content": "be brief"}, *HELLO],
        "options": {
            "num_predict": 50,
            "temperature": 0.1,
            "top_p": 0.9,
            "stop": ["END"],
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.25,
        },
    }


def test_a_key_and_headers_of_ones_own_go_along() -> None:
    headers = OLLAMA.build_request(Call(CHAT, "m", {"messages": HELLO}), None).request.headers
    assert "authorization" not in headers
    own = Ollama(headers={"x-team": "a"}).build_request(Call(CHAT, "m", {"messages": HELLO}), "secret")
    assert own.request.headers["authorization"] == "Bearer secret"
    assert own.request.headers["x-team"] == "a"


def test_a_tool_conversation_is_told_with_objects_and_names() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    told = asked({"messages": messages, "tools": [WEATHER]})
    assert told["tools"] == [WEATHER]
    assert told["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"place": "Rome"}}}],
        },
        {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize("arguments", ["{", "[1]"])
def test_arguments_that_are_no_object_are_refused_with_their_path(arguments: str) -> None:
    call = {"id": "c1", "function": {"name": "weather", "arguments": arguments}}
    body = {"messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}]}
    assert refused(body) == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.ability("ollama", "image")
def test_an_image_goes_as_base64_beside_the_words() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR="}}
    told = asked(user({"type": "text", "text": "what is it?"}, image))
    assert told["messages"] == [{"role": "user", "content": "what is it?", "images": ["iVBOR="]}]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            "messages[0].content[1].image_url.url",
        ),
        ({"type": "input_audio", "input_audio": {"data": "UklG"}}, "messages[0].content[1].input_audio"),
        ({"type": "file", "file": {"file_data": "JVBE"}}, "messages[0].content[1].file"),
    ],
)
def test_what_ollama_cannot_read_is_refused_with_its_path(part: dict[str, Any], param: str) -> None:
    assert refused(user({"type": "text", "text": "see"}, part)) == param


@pytest.mark.ability("ollama", "schema")
def test_a_schema_is_the_format_and_json_mode_is_json() -> None:
    schema = {"type": "object", "properties": {"genre": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "genre", "strict": True, "schema": schema}}
    assert asked({"messages": HELLO, "response_format": wanted})["format"] == schema
    assert asked({"messages": HELLO, "response_format": {"type": "json_object"}})["format"] == "json"
    assert "format" not in asked({"messages": HELLO})


@pytest.mark.parametrize(
    ("effort", "think", "warned"),
    [
        ("none", "low", True),
        ("minimal", "low", True),
        ("medium", "medium", False),
        ("xhigh", "high", True),
        ("immense", None, True),
    ],
)
def test_reasoning_effort_is_a_level_for_the_one_family_that_has_them(
    effort: str, think: object, warned: bool
) -> None:
    built = build({"messages": HELLO, "reasoning_effort": effort}, model="gpt-oss:20b")
    assert orjson.loads(built.request.body).get("think") == think
    assert bool(built.warnings) is warned


@pytest.mark.parametrize(("effort", "think", "warned"), [("none", False, False), ("medium", True, True)])
def test_any_other_model_thinks_or_does_not_for_it_refuses_a_level(
    effort: str, think: object, warned: bool
) -> None:
    built = build({"messages": HELLO, "reasoning_effort": effort}, model="qwen3")
    assert orjson.loads(built.request.body).get("think") == think
    assert bool(built.warnings) is warned


def test_tool_choice_is_said_by_the_tools_that_are_sent() -> None:
    body: dict[str, Any] = {"messages": HELLO, "tools": [WEATHER, TIME]}
    assert "tools" not in asked({**body, "tool_choice": "none"})
    assert build({**body, "tool_choice": "auto", "parallel_tool_calls": True}).warnings == ()
    assert "cannot force a call" in build({**body, "tool_choice": "required"}).warnings[0]
    named = build({**body, "tool_choice": {"type": "function", "function": {"name": "time"}}})
    assert [tool["function"]["name"] for tool in orjson.loads(named.request.body)["tools"]] == ["time"]
    assert "only that tool was offered" in named.warnings[0]
    unknown = {**body, "tool_choice": {"type": "function", "function": {"name": "fly"}}}
    assert refused(unknown) == "tool_choice.function.name"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("max_tokens", 0),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("functions", []),
        ("web_search_options", {}),
    ],
)
def test_what_would_change_the_answer_is_refused(name: str, value: object) -> None:
    param = {"max_tokens": "max_completion_tokens"}.get(name, name)
    assert refused({"messages": HELLO, name: value}) == param


def test_hints_are_left_out_with_a_warning_each() -> None:
    strict = {"type": "function", "function": {"name": "time", "strict": True}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR=", "detail": "high"}}
    body = {
        **user(image),
        "tools": [strict],
        "parallel_tool_calls": False,
        "user": "u",
        "logit_bias": {"1": 2},
        "store": True,
        "something_new": 1,
    }
    warnings = " ".join(build(body).warnings)
    lost = ("user", "logit_bias", "store", "something_new", "parallel_tool_calls", "tools.function.strict")
    for name in (*lost, "messages[0].content[0].image_url.detail"):
        assert f"{name}: ollama has no such parameter" in warnings


def test_sampling_is_not_sent_to_a_model_that_takes_none() -> None:
    body = {"messages": HELLO, "temperature": 0.1, "top_p": 1}
    built = build(body, traits=ModelTraits(takes_sampling=False))
    assert "options" not in orjson.loads(built.request.body)
    assert [warning.partition(":")[0] for warning in built.warnings] == ["temperature", "top_p"]


def test_log_probabilities_are_asked_for() -> None:
    told = asked({"messages": HELLO, "logprobs": True, "top_logprobs": 3})
    assert (told["logprobs"], told["top_logprobs"]) == (True, 3)
    assert "logprobs" not in asked({"messages": HELLO, "logprobs": False, "top_logprobs": 0})


def test_ollamas_own_options_are_laid_over_and_cannot_change_how_the_answer_is_read() -> None:
    options = {"keep_alive": "24h", "options": {"num_ctx": 8192}, "stream": True}
    told = asked({"messages": HELLO, "temperature": 0.5}, provider_options=options)
    assert told["keep_alive"] == "24h"
    assert told["options"] == {"temperature": 0.5, "num_ctx": 8192}
    assert told["stream"] is False


def test_a_request_wholly_in_ollamas_shape_needs_no_messages() -> None:
    assert asked({}, provider_options={"messages": HELLO})["messages"] == HELLO
    assert asked({}, COMPLETIONS, provider_options={"prompt": "a", "raw": True})["prompt"] == "a"
    assert asked({}, EMBEDDINGS, provider_options={"input": ["a"]})["input"] == ["a"]


def context_of(characters: int, **more: Any) -> int | None:
    body = {"messages": [{"role": "user", "content": "x" * characters}], "max_tokens": more.pop("cap", None)}
    found: int | None = asked(body, **more).get("options", {}).get("num_ctx")
    return found


def test_a_prompt_over_the_usual_context_asks_for_a_larger_one() -> None:
    assert context_of(100) is None
    assert context_of(6_000) == 4_096
    assert context_of(60_000) == 32_768
    assert context_of(100, cap=3_000) == 4_096
    assert context_of(60_000, traits=ModelTraits(context_tokens=20_000)) == 20_000


def test_a_huge_cap_does_not_reserve_a_huge_context() -> None:
    assert context_of(100, cap=1_000_000) == 32_768


def test_who_sets_the_context_decides_alone() -> None:
    assert context_of(60_000, provider_options={"options": {"num_ctx": 2_048}}) == 2_048
    assert context_of(60_000, provider_options={"options": {"num_ctx": None}}) is None


def test_an_images_bytes_are_no_words() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    assert "options" not in asked(user(image))
    assert asked(user(image, image, image))["options"] == {"num_ctx": 4_096}


def test_a_completion_is_asked_of_api_generate() -> None:
    body = {
        "prompt": ["def f("],
        "suffix": "return",
        "max_tokens": 9,
        "echo": False,
        "best_of": 1,
        "user": "u",
    }
    built = build(body, COMPLETIONS)
    assert built.request.path == "/api/generate"
    told = orjson.loads(built.request.body)
    assert (told["prompt"], told["suffix"], told["options"]) == ("def f(", "return", {"num_predict": 9})
    assert built.warnings == ("user: ollama has no such parameter; it was left out",)


@pytest.mark.parametrize(
    "more",
    [{"prompt": ["a", "b"]}, {"prompt": ""}, {"echo": True}, {"best_of": 3}, {"logprobs": 1}, {"suffix": 1}],
)
def test_a_completion_that_ollama_cannot_give_is_refused(more: dict[str, Any]) -> None:
    assert refused({"prompt": "a", **more}, COMPLETIONS) in more


@pytest.mark.ability("ollama", "embedding")
@pytest.mark.parametrize("texts", ["a", ["a", "b"]])
def test_embeddings_are_asked_of_api_embed_and_never_cut(texts: object) -> None:
    built = build({"input": texts, "dimensions": 256, "encoding_format": "base64", "user": "u"}, EMBEDDINGS)
    assert built.request.path == "/api/embed"
    assert orjson.loads(built.request.body) == {
        "model": "llama3.2",
        "truncate": False,
        "input": texts,
        "dimensions": 256,
    }
    assert len(built.warnings) == 1


@pytest.mark.parametrize("texts", ["", [], [1, 2], [[1]], ["a", ""], None])
def test_embeddings_of_what_is_no_text_are_refused(texts: object) -> None:
    assert refused({"input": texts}, EMBEDDINGS) == "input"


@pytest.mark.parametrize(
    "endpoint", ["/v1/audio/transcriptions", "/v1/audio/speech", "/v1/images/generations"]
)
def test_an_endpoint_that_ollama_has_not_is_refused(endpoint: str) -> None:
    assert refused({"input": "a"}, endpoint) == "url"


def test_a_response_is_asked_as_a_chat() -> None:
    built = build({"input": "hello", "instructions": "be brief", "max_output_tokens": 5}, RESPONSES)
    told = orjson.loads(built.request.body)
    assert built.request.path == "/api/chat"
    assert [message["role"] for message in told["messages"]] == ["system", "user"]
    assert told["options"] == {"num_predict": 5}


def test_a_body_too_deep_for_json_is_refused_and_no_crash() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"x": deep}
    wanted = {"type": "json_schema", "json_schema": {"name": "deep", "schema": deep}}
    assert refused({"messages": HELLO, "response_format": wanted}) == "body"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = (
    "messages",
    "prompt",
    "input",
    "tools",
    "tool_choice",
    "stop",
    "max_tokens",
    "logprobs",
    "response_format",
)


@given(
    body=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4),
    options=st.dictionaries(st.sampled_from(("options", "messages", "images", "x")), JSON, max_size=2),
    endpoint=st.sampled_from((CHAT, COMPLETIONS, EMBEDDINGS)),
)
def test_any_body_is_built_or_refused_and_never_changed(
    body: dict[str, Any], options: dict[str, Any], endpoint: str
) -> None:
    before = copy.deepcopy((body, options))
    with contextlib.suppress(Untranslatable):
        assert isinstance(asked(body, endpoint, provider_options=options), dict)
    assert (body, options) == before
