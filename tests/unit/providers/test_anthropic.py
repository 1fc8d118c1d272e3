"""Requests to Anthropic: what the turns, tools and parts of a chat become."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import ModelTraits
from tests.support.anthropic_requests import CHAT, HELLO, NATIVE, WEATHER, build, refusal
from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.anthropic import Anthropic
from workers.providers.base import Built

PIXEL = "iVBORw0KGgo="


@pytest.mark.ability("anthropic", "chat")
def test_a_chat_request_becomes_a_message_request() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": "be kind"},
        *HELLO,
    ]
    call = Call(CHAT, "claude", {"model": "x", "messages": messages, "temperature": 0.2, "stop": "END"})
    built = Anthropic(headers={"Anthropic-Beta": "b1"}).build_request(call, "key")
    assert (built.request.method, built.request.path) == ("POST", "/v1/messages")
    assert built.request.headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "key",
        "anthropic-beta": "b1",
    }
    assert orjson.loads(built.request.body) == {
        "model": "claude",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "stop_sequences": ["END"],
        "temperature": 0.2,
    }
    assert built.warnings == ()


def test_without_a_key_none_is_sent() -> None:
    built = Anthropic().build_request(Call(CHAT, "claude", {"messages": HELLO}), None)
    assert "x-api-key" not in built.request.headers


@pytest.mark.ability("anthropic", "stream")
def test_only_the_engine_asks_for_a_stream() -> None:
    call = Call(CHAT, "claude", {"messages": HELLO, "stream": True}, provider_options={"stream": True})
    plain, streamed = (Anthropic().build_request(call, "key", stream=each) for each in (False, True))
    assert "stream" not in orjson.loads(plain.request.body)
    assert orjson.loads(streamed.request.body)["stream"] is True
    assert streamed.request.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("traits", "cap", "sent"),
    [
        (ModelTraits(), {}, 4096),
        (ModelTraits(default_output_tokens=9000, max_output_tokens=8192), {}, 8192),
        (ModelTraits(default_output_tokens=1000, max_output_tokens=8192), {}, 1000),
        (ModelTraits(), {"max_tokens": 7}, 7),
        (ModelTraits(), {"max_tokens": 7, "max_completion_tokens": 9}, 9),
    ],
)
def test_the_cap_is_the_requests_or_the_models(traits: ModelTraits, cap: Any, sent: int) -> None:
    assert build(traits=traits, **cap)[0]["max_tokens"] == sent


@pytest.mark.ability("anthropic", "parallel tools")
def test_neighbouring_turns_of_one_role_are_one_message() -> None:
    calls = [
        {"id": f"c{k}", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
        for k in (1, 2)
    ]
    messages = [
        *HELLO,
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "dry"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": "thanks"},
    ]
    use = {"type": "tool_use", "name": "weather", "input": {"city": "Bonn"}}
    dry = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "dry"}]}
    assert build(messages)[0]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "and?"}]},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "I look."}, {**use, "id": "c1"}, {**use, "id": "c2"}],
        },
        {
            "role": "user",
            "content": [
                dry,
                {"type": "tool_result", "tool_use_id": "c2"},
                {"type": "text", "text": "thanks"},
            ],
        },
    ]


def test_a_system_message_between_turns_moves_to_the_front_with_a_warning() -> None:
    messages = [*HELLO, {"role": "system", "content": "be brief"}, {"role": "user", "content": "go"}]
    body, warnings = build(messages)
    assert body["system"] == [{"type": "text", "text": "be brief"}]
    assert len(body["messages"]) == 1
    assert [warning.split(":")[0] for warning in warnings] == ["messages[1]"]


def test_an_empty_message_is_left_out_with_a_warning() -> None:
    body, warnings = build([*HELLO, {"role": "assistant", "content": ""}])
    assert len(body["messages"]) == 1
    assert warnings[0].startswith("messages[1]:")


@pytest.mark.ability("anthropic", "image")
def test_images_go_inline_and_by_url_and_documents_inline() -> None:
    parts = [
        {"type": "text", "text": "compare"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": f"data:text/plain;base64,{b64('Zürich')}"}},
    ]
    body, warnings = build([{"role": "user", "content": parts}])
    assert body["messages"][0]["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Zürich"}},
    ]
    assert [warning.split(":")[0] for warning in warnings] == ["messages[0].content[1].image_url.detail"]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,Qk0="}}, ".image_url.url"),
        ({"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}, ""),
        ({"type": "file", "file": {"file_id": "file-1"}}, ".file.file_id"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, ".file.file_data"),
        ({"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}, ".file.file_data"),
    ],
)
def test_what_the_models_cannot_read_is_refused_with_its_path(part: Any, path: str) -> None:
    assert refusal([{"role": "user", "content": [part]}]) == f"messages[0].content[0]{path}"


@pytest.mark.ability("anthropic", "tools")
def test_tools_are_told_with_their_schemas() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    loose = {
        "type": "function",
        "function": {"name": "any", "parameters": {"properties": {}}, "strict": True},
    }
    body, warnings = build(tools=[WEATHER, bare, loose])
    assert body["tools"] == [
        {"name": "weather", "input_schema": WEATHER["function"]["parameters"], "description": "Now."},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        {"name": "any", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert [warning.split(":")[0] for warning in warnings] == ["tools[2].function.strict"]
    assert "tool_choice" not in body
    native, warnings = build(tools=[loose], traits=NATIVE)
    assert (native["tools"][0]["strict"], warnings) == (True, ())


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", True, {"type": "any"}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
@pytest.mark.ability("anthropic", "parallel tools")
def test_the_choice_of_tools_is_told_in_its_words(choice: Any, parallel: Any, sent: Any) -> None:
    body, warnings = build(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=parallel)
    assert (body["tool_choice"], warnings) == (sent, ())


def test_arguments_that_are_no_object_are_refused() -> None:
    call = {"id": "c1", "function": {"name": "weather", "arguments": "Bonn"}}
    path = refusal([*HELLO, {"role": "assistant", "tool_calls": [call]}])
    assert path == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize("endpoint", ["/v1/embeddings", "/v1/audio/transcriptions", "/v1/audio/speech"])
def test_other_endpoints_are_not_offered(endpoint: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        Anthropic().build_request(Call(endpoint, "claude", {"input": "x"}), "key")
    assert refused.value.param == "url"


def test_a_request_can_be_given_in_the_providers_own_shape() -> None:
    own = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "top_k": 3, "system": "brief"}
    body, warnings = build(options=own)
    assert body == {**own, "model": "claude"}
    assert warnings == ()


def test_responses_requests_go_the_same_way() -> None:
    call = Call(
        "/v1/responses", "claude", {"input": "hello", "instructions": "brief", "max_output_tokens": 9}
    )
    body = orjson.loads(Anthropic().build_request(call, "key").request.body)
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert (body["system"][0]["text"], body["max_tokens"]) == ("brief", 9)


# --- laws


names = st.sampled_from(["model", "messages", "tools", "temperature", "response_format", "n", "stop", "x"])
leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "type", "content", "name", "user", "function"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(names, values), st.booleans())
def test_any_request_is_built_or_refused_and_never_changed(body: dict[str, Any], native: bool) -> None:
    call = Call(CHAT, "claude", body, {"top_k": 1}, ModelTraits(native_schema=native, min_cached_tokens=1))
    before = orjson.dumps(body)
    built: Built | None = None
    with suppress(Untranslatable):
        built = Anthropic().build_request(call, "key")
    assert orjson.dumps(body) == before
    if built is not None:
        assert orjson.loads(built.request.body)["top_k"] == 1


def test_calls_of_other_providers_get_names_that_the_api_takes() -> None:
    function = {"name": "f", "arguments": "{}"}
    made = Anthropic().build_request(
        Call(CHAT, "claude", {"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"id": "functions.f:0", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": "functions.f:0", "content": "y"},
        ]}), "key",
    )  # fmt: skip
    _, called, answered = orjson.loads(made.request.body)["messages"]
    assert called["content"][0]["id"] == answered["content"][0]["tool_use_id"] == "functions_f_0"


def test_text_without_a_sign_is_not_sent_and_a_url_of_plain_data_is_refused() -> None:
    blank = [
        {"role": "system", "content": " "},
        {"role": "user", "content": "x"},
        {"role": "user", "content": "\n"},
    ]
    made = Anthropic().build_request(Call(CHAT, "claude", {"messages": blank}), "key")
    body = orjson.loads(made.request.body)
    assert "system" not in body and body["messages"][0]["content"] == [{"type": "text", "text": "x"}]
    image = {"type": "image_url", "image_url": {"url": "data:image/png,abc"}}
    with pytest.raises(Untranslatable, match="base64"):
        Anthropic().build_request(
            Call(CHAT, "claude", {"messages": [{"role": "user", "content": [image]}]}), "key"
        )


def test_a_result_stands_before_what_the_user_said_meanwhile() -> None:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": each, "type": "function", "function": function} for each in ("a", "b")]
    made = Anthropic().build_request(
        Call(CHAT, "claude", {"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "user", "content": "and?"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
        ]}), "key",
    )  # fmt: skip
    said = orjson.loads(made.request.body)["messages"][2]["content"]
    assert [block.get("tool_use_id") for block in said] == ["a", "b", None]
