"""A /v1/responses request told as chat: every part in its place, refused with its path, or left in sight."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.chat_reading import read_chat
from workers.providers.responses import as_chat

pytestmark = pytest.mark.fast
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


def told(body: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy(body)
    chat = as_chat("acme", Call("/v1/responses", "m", body))
    assert body == before, "the call was changed"
    assert chat.endpoint == "/v1/chat/completions" and chat.model == "m"
    return dict(chat.body)


def refused(body: dict[str, Any]) -> str:
    with pytest.raises(Untranslatable) as caught:
        as_chat("acme", Call("/v1/responses", "m", body))
    return caught.value.param


def test_words_and_instructions_become_messages() -> None:
    assert told({"instructions": "Be brief", "input": "hi"}) == {
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hi"}]
    }


def test_a_conversation_with_calls_becomes_turns_with_parallel_calls() -> None:
    items = [
        {"role": "user", "content": "Weather in Bern and Ulm?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "I look.", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Bern"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"city":"Ulm"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ]  # fmt: skip
    body = told({"input": items})
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool"]
    assert body["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": "I look."}],
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
            {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}},
        ],
    }
    assert body["messages"][3] == {
        "role": "tool",
        "tool_call_id": "c2",
        "content": [{"type": "text", "text": "rain"}],
    }
    assert list(read_chat("acme", Call("", "m", body)).rest) == ["input[1] (reasoning)"]


def test_words_after_a_call_join_the_call_that_they_belong_to() -> None:
    items = [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"role": "assistant", "content": "I look."},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
    ]
    roles = [(message["role"], message["content"]) for message in told({"input": items})["messages"]]
    assert roles == [("assistant", "I look."), ("tool", "sun")]


def test_pictures_documents_and_sounds_are_carried() -> None:
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"},
        {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "mp3"}},
        {"type": "refusal", "refusal": "no"},
    ]
    body = told({"input": [{"role": "user", "content": parts}]})
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "mp3"}},
        {"type": "refusal", "refusal": "no"},
    ]
    assert len(read_chat("acme", Call("", "m", body)).turns[0].parts) == 5


def test_tools_format_and_limits_are_named_as_chat_names_them() -> None:
    body = told(
        {
            "input": "x",
            "tools": [TOOL],
            "tool_choice": {"type": "function", "name": "weather"},
            "parallel_tool_calls": False,
            "max_output_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True}},
            "stream": True,
            "truncation": "disabled",
            "background": False,
            "previous_response_id": None,
        }
    )
    body.pop("messages")
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert body == {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {}, "strict": True},
        },
    }


@pytest.mark.parametrize(
    ("wanted", "response_format"), [("text", None), ("json_object", {"type": "json_object"})]
)
def test_plain_formats_keep_their_name(wanted: str, response_format: Any) -> None:
    body = told({"input": "x", "tool_choice": "auto", "text": {"format": {"type": wanted}}})
    assert body.get("response_format") == response_format


def test_what_chat_has_no_words_for_stays_in_sight_under_its_path() -> None:
    body = told(
        {
            "input": [{"role": "user", "phase": "final_answer", "content": [
                {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]}],
            "tools": [{**TOOL, "defer_loading": True}],
            "text": {"verbosity": "low", "tone": "dry"},
            "reasoning": {"summary": "auto"},
            "truncation": "auto",
            "include": ["reasoning.encrypted_content"],
            "metadata": {"a": "b"},
            "store": True,
            "novelty": 1,
        }
    )  # fmt: skip
    assert set(read_chat("acme", Call("", "m", body)).rest) == {
        "input[0].phase",
        "input[0].content[0].prompt_cache_breakpoint",
        "tools[0].defer_loading",
        "text.tone",
        "verbosity",
        "reasoning.summary",
        "truncation",
        "include",
        "metadata",
        "store",
        "novelty",
    }


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


def part(**fields: Any) -> dict[str, Any]:
    return item(role="user", content=[fields])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 3}, "input"),
        ({"input": "x", "instructions": ["x"]}, "instructions"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "x", "conversation": {"id": "c"}}, "conversation"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
        ({"input": "x", "top_logprobs": 2}, "top_logprobs"),
        ({"input": "x", "include": ["message.output_text.logprobs"]}, "include"),
        ({"input": "x", "messages": []}, "messages"),
        ({"input": "x", "max_tokens": 3}, "max_tokens"),
        ({"input": "x", "n": 2}, "n"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tools": {}}, "tools"),
        ({"input": "x", "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"input": "x", "text": 3}, "text"),
        ({"input": "x", "reasoning": "low"}, "reasoning"),
        ({"input": ["x"]}, "input[0]"),
        (item(type="item_reference", id="msg_1"), "input[0]"),
        (item(type="computer_call_output"), "input[0]"),
        (item(role="critic", content="x"), "input[0].role"),
        (item(role="user", content=3), "input[0].content"),
        (item(type="function_call", name="f", arguments="{}"), "input[0].call_id"),
        (item(type="function_call", call_id="c", name="f", arguments={}), "input[0].arguments"),
        (item(type="function_call_output", call_id="c"), "input[0].output"),
        (part(type="input_text"), "input[0].content[0].text"),
        (part(type="input_image", file_id="file-1"), "input[0].content[0].file_id"),
        (part(type="input_file", file_url="https://x/a.pdf"), "input[0].content[0].file_url"),
        (part(type="video"), "input[0].content[0]"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_its_path(body: dict[str, Any], param: str) -> None:
    assert refused(body) == param


def test_a_request_in_the_providers_own_shape_needs_no_input() -> None:
    call = Call("/v1/responses", "m", {"temperature": 1}, provider_options={"contents": []})
    chat = as_chat("acme", call)
    assert chat.body == {"temperature": 1} and chat.provider_options == {"contents": []}
