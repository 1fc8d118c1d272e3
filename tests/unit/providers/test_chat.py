"""A chat request read once: every part in its place, what is unknown in sight, what is wrong with its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.chat import Chat, Media, OutputSchema, Text, Tool, ToolCall, data_url
from workers.providers.chat_reading import read_chat

pytestmark = pytest.mark.fast
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}
USER = {"role": "user", "content": "hi"}


def read(body: dict[str, Any], **fields: Any) -> Chat:
    return read_chat("acme", Call("/v1/chat/completions", "m", body, **fields))


def talk(*messages: dict[str, Any], **more: Any) -> Chat:
    return read({"messages": list(messages), **more})


def parts(*content: Any) -> tuple[Any, ...]:
    return talk({"role": "user", "content": list(content)}).turns[0].parts


def test_leading_instructions_are_the_system_and_later_ones_are_turns() -> None:
    chat = talk(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        USER,
        {"role": "system", "content": "c"},
    )
    assert chat.system == ("a", "b")
    assert [(turn.role, turn.text, turn.at) for turn in chat.turns] == [
        ("user", "hi", "messages[2]"),
        ("system", "c", "messages[3]"),
    ]


def test_calls_and_their_answers_are_told_by_name() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    chat = talk(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
        {"role": "tool", "tool_call_id": "c2", "content": "8"},
    )
    assert chat.turns[1].calls == (ToolCall("c1", "f", '{"x":1}'),) and chat.turns[1].parts == ()
    assert (chat.turns[2].call_id, chat.turns[2].name, chat.turns[2].text) == ("c1", "f", "7")
    assert chat.turns[3].name == "", "nobody made that call here"


def test_parts_of_every_kind_are_read() -> None:
    assert parts(
        {"type": "text", "text": "x"},
        {"type": "refusal", "refusal": "no"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,CCCC", "filename": "a.txt"}},
        {"type": "file", "file": {"file_data": "DDDD"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ) == (
        Text("x"),
        Text("no"),
        Media("image", "image/png", "AAAA", detail="low"),
        Media("image", url="https://x/a.png"),
        Media("audio", "audio/mp3", "BBBB"),
        Media("document", "text/plain", "CCCC", filename="a.txt"),
        Media("document", "application/pdf", "DDDD"),
        Media("document", "application/pdf", file_id="file-1"),
    )


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("data:image/png;base64,AA==", ("image/png", "AA==")),
        ("data:;base64,AA==", ("application/octet-stream", "AA==")),
        ("data:text/plain;charset=utf-8;base64,AA==", ("text/plain", "AA==")),
        ("data:text/plain,hello", ("", "")),
        ("https://x/a.png", ("", "")),
        ("", ("", "")),
    ],
)
def test_a_data_url_is_told_from_every_other(url: str, read: tuple[str, str]) -> None:
    assert data_url(url) == read


def test_tools_and_the_wish_for_one_are_read() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    tools = [{"type": "function", "function": function}, {"type": "function", "function": {"name": "g"}}]
    named = {"type": "function", "function": {"name": "g"}}
    chat = talk(USER, tools=tools, tool_choice=named, parallel_tool_calls=False)
    assert chat.tools == (Tool("f", "d", {"type": "object"}, True), Tool("g", "", None, False))
    assert (chat.tool_choice, chat.tool_name, chat.parallel_tools) == ("named", "g", False)
    assert talk(USER, tool_choice="required").tool_choice == "required"
    assert (talk(USER).tool_choice, talk(USER).parallel_tools) == ("", None)


def test_the_wanted_format_is_read() -> None:
    inner = {"name": "a", "schema": {"type": "object"}, "strict": True, "description": "d"}
    assert talk(USER, response_format={"type": "json_schema", "json_schema": inner}).schema == OutputSchema(
        "a", {"type": "object"}, True, "d"
    )
    assert talk(USER, response_format={"type": "json_object"}).json_mode
    plain = talk(USER, response_format={"type": "text"})
    assert (plain.json_mode, plain.schema) == (False, None)


def test_sampling_and_limits_are_read_and_the_newer_cap_goes_first() -> None:
    chat = talk(
        USER,
        max_tokens=5,
        max_completion_tokens=6,
        temperature=0,
        top_p=0.5,
        stop="x",
        seed=7,
        n=2,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        reasoning_effort="low",
        user="u",
    )
    assert (chat.cap, chat.temperature, chat.top_p, chat.stop, chat.seed) == (6, 0, 0.5, ("x",), 7)
    assert (chat.choices, chat.reasoning_effort, chat.user) == (2, "low", "u")
    assert (chat.presence_penalty, chat.frequency_penalty, chat.rest) == (0.1, 0.2, {})
    assert talk(USER, max_tokens=5).cap == 5


def test_what_is_not_read_stays_in_sight_unless_it_says_nothing() -> None:
    chat = talk(USER, metadata={"a": "b"}, store=None, novelty=0, stream=True, stream_options={}, model="m")
    assert chat.rest == {"metadata": {"a": "b"}, "novelty": 0}


def test_what_is_not_read_of_a_message_stays_in_sight_too() -> None:
    chat = talk({**USER, "name": "bob", "refusal": None}, USER, {"role": "assistant", "refusal": "no"})
    assert chat.rest == {"messages[0].name": "bob", "messages[2].refusal": "no"}


@pytest.mark.parametrize(
    ("part", "unread"),
    [
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, "cache_control"),
        ({"type": "refusal", "refusal": "x", "y": 1}, "y"),
        ({"type": "image_url", "image_url": {"url": "https://x/a.png", "width": 9}}, "image_url.width"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "rate": 8}}, "input_audio.rate"),
        ({"type": "file", "file": {"file_id": "f", "pages": [1]}}, "file.pages"),
    ],
)
def test_what_is_not_read_of_a_part_stays_in_sight_too(part: dict[str, Any], unread: str) -> None:
    empty: dict[str, Any] = {"type": "text", "text": "x", "annotations": [], "cache_control": None}
    chat = talk({"role": "user", "content": [empty, part]})
    assert list(chat.rest) == [f"messages[0].content[1].{unread}"]


def test_what_is_not_read_of_a_tool_stays_in_sight_too() -> None:
    function = {"name": "f", "examples": ["x"], "parameters": {"type": "object", "anything": 1}, "tags": []}
    tools = [{"type": "function", "function": {"name": "g"}}, {"function": function, "defer": True}]
    assert talk(USER, tools=tools).rest == {"tools[1].function.examples": ["x"], "tools[1].defer": True}


def test_a_request_in_the_providers_own_shape_needs_no_messages() -> None:
    assert read({}, provider_options={"contents": []}).turns == ()


def part(value: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [value]}]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "critic"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        (part("x"), "messages[0].content[0]"),
        (part({"type": "text"}), "messages[0].content[0]"),
        (part({"type": "image_url", "image_url": "x"}), "messages[0].content[0]"),
        (part({"type": "video", "video": {}}), "messages[0].content[0]"),
        ({"messages": [{"role": "system", "content": [IMAGE]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [USER], "tools": {}}, "tools"),
        ({"messages": [USER], "tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"messages": [USER], "tools": [{"function": {"name": "f", "parameters": 3}}]},
         "tools[0].function.parameters"),
        ({"messages": [USER], "tool_choice": "maybe"}, "tool_choice"),
        ({"messages": [USER], "response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": [USER], "response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": [USER], "stop": [3]}, "stop"),
        ({"messages": [USER], "temperature": "hot"}, "temperature"),
        ({"messages": [USER], "top_p": True}, "top_p"),
        ({"messages": [USER], "max_tokens": 1.5}, "max_completion_tokens"),
        ({"messages": [USER], "n": "2"}, "n"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_with_its_path(body: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        read(body)
    assert caught.value.param == param


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "function", "name", "tool_calls"]), inner
        )
    ),
    max_leaves=8,
)
NAMES = ["messages", "tools", "tool_choice", "response_format", "stop", "n", "temperature", "other"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.lists(JSON, max_size=2)))
def test_any_body_is_read_or_refused_and_never_changed(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    try:
        chat = read(body)
    except Untranslatable:
        chat = Chat()
    assert body == before
    assert all(name == "other" or name.startswith(("messages[", "tools[")) for name in chat.rest)
