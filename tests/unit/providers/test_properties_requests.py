"""Laws of every adapter's requests: no call is changed, and nothing is lost that is neither refused nor named."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import ModelTraits
from tests.support.adapters import CHAT, ENDPOINTS, MESSAGES, a_call, few
from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter, Built
from workers.providers.gemini import Gemini
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI

pytestmark = pytest.mark.fast


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "g"}},
]
CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
# Every parameter of a chat request, with a value that is not its default.
PARAMETERS: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "frequency_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 17,
    "max_tokens": 17,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "reasoning_effort": "high",
    "response_format": FORMAT,
    "safety_identifier": "s",
    "seed": 7,
    "service_tier": "flex",
    "stop": ["END"],
    "store": True,
    "temperature": 0.25,
    "tool_choice": "required",
    "tools": TOOLS[:1],
    "top_logprobs": 3,
    "top_p": 0.5,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {},
    "what_nobody_knows": {"a": [1]},
}
TURNS: dict[str, dict[str, Any]] = {
    "name": {"role": "user", "content": "hi", "name": "bob"},
    "image": {"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]},
    "image by url": {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}],
    },
    "sound": {
        "role": "user",
        "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
    },
    "file": {
        "role": "user",
        "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}],
    },
    "file by id": {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
    "a system message in between": {"role": "system", "content": "be brief"},
    "calls": {"role": "assistant", "content": None, "tool_calls": CALLS},
    "a refusal": {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
}


def asked(
    adapter: Adapter, body: dict[str, Any], endpoint: str = CHAT, *, stream: bool = False
) -> Built | Untranslatable:
    call = a_call(adapter, body, endpoint)
    before = copy.deepcopy(call)
    try:
        return adapter.build_request(call, "key", stream=stream)
    except Untranslatable as refusal:
        return refusal
    finally:
        assert call == before, "the call was changed"


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_a_parameter_is_translated_refused_or_named(adapter: Adapter, name: str) -> None:
    body: dict[str, Any] = {"messages": MESSAGES, name: PARAMETERS[name]}
    if name in ("tool_choice", "parallel_tool_calls"):
        body["tools"] = TOOLS
    if name == "top_logprobs":
        body["logprobs"] = True
    made, plain = asked(adapter, body), asked(adapter, _without(body, name))
    if isinstance(made, Untranslatable):
        assert made.param.split(".")[0] in body, made.param
        return
    assert isinstance(plain, Built)
    told = any(warning.startswith(name) for warning in made.warnings)
    assert told or made.request != plain.request, f"{name} was dropped silently"


@pytest.mark.parametrize("turn", list(TURNS))
def test_what_a_turn_says_is_translated_refused_or_named(adapter: Adapter, turn: str) -> None:
    said = TURNS[turn]
    plain = {"role": said["role"], "content": "hi"}
    made = asked(adapter, {"messages": [*MESSAGES, said, *MESSAGES]})
    other = asked(adapter, {"messages": [*MESSAGES, plain, *MESSAGES]})
    if isinstance(made, Untranslatable):
        assert made.param.startswith("messages[1]"), made.param
        return
    assert not isinstance(other, Built) or made.warnings or made.request != other.request, (
        f"{turn} was dropped"
    )


def subsets() -> st.SearchStrategy[dict[str, Any]]:
    chosen = st.lists(st.sampled_from(sorted(PARAMETERS)), unique=True, max_size=6)
    turns = st.lists(st.sampled_from(list(TURNS.values())), max_size=3)
    return st.builds(
        lambda names, said: {"messages": [*said, *MESSAGES]} | {name: PARAMETERS[name] for name in names},
        chosen,
        turns,
    )


@few
@given(body=subsets(), stream=st.booleans())
def test_a_whole_request_never_changes_its_call_and_is_the_same_bytes_each_time(
    adapter: Adapter, body: dict[str, Any], stream: bool
) -> None:
    first = asked(adapter, body, stream=stream)
    if isinstance(first, Built):
        assert asked(adapter, body, stream=stream) == first
        assert first.request.method == "POST"
        assert isinstance(orjson.loads(first.request.body), dict)


def _odd_bodies() -> Iterator[st.SearchStrategy[dict[str, Any]]]:
    # Only what can stand in a line of JSON that was read: integers of 64 bits, text without lone surrogates.
    scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=4)
    words = st.sampled_from([
        "role", "content", "type", "text", "name", "function", "parameters", "arguments", "tool_calls",
        "image_url", "url", "file", "input", "call_id", "schema", "json_schema", "format", "effort",
        "output", "input_text", "message", "function_call", "user", "assistant",
    ])  # fmt: skip
    value = st.recursive(
        scalars | words | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
        max_leaves=10,
    )
    yield st.dictionaries(st.sampled_from([*PARAMETERS, "messages"]), value, max_size=5)
    yield st.fixed_dictionaries(
        {"messages": st.just(MESSAGES)}, optional=dict.fromkeys(sorted(PARAMETERS), value)
    )
    names = [
        "input",
        "instructions",
        "text",
        "reasoning",
        "tools",
        "tool_choice",
        "include",
        "truncation",
        "file_url",
    ]
    more = [
        "dimensions",
        "encoding_format",
        "voice",
        "prompt",
        "background",
        "max_output_tokens",
        "n",
        "file",
    ]
    yield st.dictionaries(st.sampled_from([*names, *more]), value, max_size=6)


@few
@given(endpoint=st.sampled_from(ENDPOINTS), body=st.one_of(*_odd_bodies()))
def test_any_body_is_built_or_refused_with_a_path_and_never_changed(
    adapter: Adapter, endpoint: str, body: dict[str, Any]
) -> None:
    made = asked(adapter, body, endpoint)
    assert made.param if isinstance(made, Untranslatable) else made.request.body


DEEP = '{"a":' + "[" * 300 + "]" * 300 + "}"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [*MESSAGES, {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": DEEP}}]}]},
        {"messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": {
            "name": "a", "schema": {"type": "array", "items": orjson.loads(DEEP)}}}},
        {"messages": MESSAGES, "tools": [
            {"type": "function", "function": {"name": "f", "parameters": orjson.loads(DEEP)}}]},
    ],
)  # fmt: skip
def test_what_is_deeper_than_can_be_written_is_refused_and_no_bug(
    adapter: Adapter, body: dict[str, Any]
) -> None:
    made = asked(adapter, body)
    # OpenAI is sent the arguments as the text they came as.
    assert isinstance(made, Untranslatable) or (adapter.name == "openai" and body["messages"] is not MESSAGES)


def test_options_of_any_depth_are_looked_through_for_the_callers_own_marks() -> None:
    options: dict[str, Any] = {"x": [1, {"cache_control": None}]}
    for _ in range(400):
        options = {"a": options}
    call = Call(CHAT, "claude", {"messages": MESSAGES}, options, ModelTraits(min_cached_tokens=1))
    with pytest.raises(Untranslatable):
        Anthropic().build_request(call, "key")


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"role": "user", "content": "x", "tool_calls": CALLS}, "messages[0].tool_calls"),
        ({"role": "assistant", "content": "x", "tool_call_id": "c1"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "tool_calls": [{**CALLS[0], "odd": 1}]}, "messages[0].tool_calls[0].odd"),
    ],
)
def test_what_a_role_has_no_use_for_is_named(adapter: Adapter, message: dict[str, Any], path: str) -> None:
    made = asked(adapter, {"messages": [message, *MESSAGES]})
    assert isinstance(made, Built)
    assert adapter.name == "openai" or any(warning.startswith(f"{path}:") for warning in made.warnings)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_call_that_has_to_be_made_without_tools_is_never_dropped_silently(
    adapter: Adapter, choice: Any
) -> None:
    made = asked(adapter, {"messages": MESSAGES, "tool_choice": choice})
    assert isinstance(made, Untranslatable) or made.warnings or adapter.name == "openai"


@pytest.mark.parametrize("kind", [OpenAI, Anthropic, Gemini, Ollama])
def test_a_providers_own_headers_stand_over_ours_however_they_are_written(kind: Any) -> None:
    own = {"Content-Type": "own", "Authorization": "own", "X-Api-Key": "own", "X-Goog-Api-Key": "own"}
    built = kind(headers=own).build_request(Call(CHAT, "m", {"messages": MESSAGES}), "key")
    assert {
        name: value for name, value in built.request.headers.items() if name.lower() in map(str.lower, own)
    } == {name.lower(): "own" for name in own}


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning_effort": "secret " * 1000},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "secret " * 1000}}},
        {"response_format": {"type": "json_schema", "json_schema": {
            "name": "a", "schema": {"type": "string", "format": "secret " * 1000}}}},
    ],
)  # fmt: skip
def test_what_is_said_of_a_request_does_not_repeat_it_at_length(
    adapter: Adapter, more: dict[str, Any]
) -> None:
    made = asked(adapter, {"messages": MESSAGES, **more})
    said = [str(made)] if isinstance(made, Untranslatable) else made.warnings
    assert all(len(each) < 300 for each in said)
