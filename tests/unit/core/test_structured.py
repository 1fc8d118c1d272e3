"""Answers are held against the schema their request asked for."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.messages import Call
from workers.core.structured import CHAT, RESPONSES, asked_again, mismatch

SCHEMA = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}}
    },
    "required": ["items"],
}
MESSAGES = [{"role": "user", "content": "Price it."}]


def chat_call(schema: Any = SCHEMA, kind: str = "json_schema") -> Call:
    wanted = {"type": kind, "json_schema": {"name": "prices", "schema": schema}}
    return Call(CHAT, "m", {"messages": MESSAGES, "response_format": wanted})


def chat_answer(*texts: str | None, reason: str = "stop", **message: Any) -> bytes:
    choices = [{"message": {"content": text, **message}, "finish_reason": reason} for text in texts]
    return orjson.dumps({"choices": choices})


def response_call() -> Call:
    return Call(
        RESPONSES, "m", {"input": "Price it.", "text": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    )


def response_answer(text: str, status: str = "completed") -> bytes:
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    return orjson.dumps({"status": status, "output": [{"type": "reasoning"}, item]})


def test_an_answer_that_matches_passes() -> None:
    assert mismatch(chat_call(), chat_answer('{"items": [{"price": 1.5}]}')) is None
    assert mismatch(response_call(), response_answer('{"items": []}')) is None


def test_the_place_that_fails_is_named() -> None:
    found = mismatch(chat_call(), chat_answer('{"items": [{"price": 1}, {"price": "dear"}]}'))
    assert found is not None and found.path == "$.items[1].price"
    assert "number" in found.message


def test_every_choice_must_match() -> None:
    assert mismatch(chat_call(), chat_answer('{"items": []}', "[]")) is not None


@pytest.mark.parametrize("text", ["", "Here you are: {}", "```json\n{}\n```", '{"items": ['])
def test_words_that_are_no_json_do_not_match(text: str) -> None:
    found = mismatch(chat_call(), chat_answer(text))
    assert found is not None and found.path == "$" and found.text == text


def test_json_mode_wants_an_object_of_any_kind() -> None:
    call = chat_call(kind="json_object")
    assert mismatch(call, chat_answer('{"anything": 1}')) is None
    assert mismatch(call, chat_answer("[1]")) is not None


def test_an_answer_that_the_cap_cut_off_is_told_apart() -> None:
    by_chat = mismatch(chat_call(), chat_answer('{"items": [', reason="length"))
    by_response = mismatch(response_call(), response_answer('{"items": [', status="incomplete"))
    assert by_chat is not None and by_chat.cut_off
    assert by_response is not None and by_response.cut_off


def test_refusals_and_tool_calls_are_answers_of_another_kind() -> None:
    assert mismatch(chat_call(), chat_answer(None, refusal="I will not.")) is None
    assert mismatch(chat_call(), chat_answer(None, tool_calls=[{"id": "1"}])) is None
    assert mismatch(chat_call(), chat_answer(None, function_call={"name": "f"})) is None


def test_what_a_model_says_before_it_calls_a_tool_is_held_against_nothing() -> None:
    answer = orjson.loads(response_answer("Let me look."))
    answer["output"].append({"type": "function_call", "name": "f", "arguments": "{}"})
    assert mismatch(response_call(), orjson.dumps(answer)) is None


def test_an_answer_in_parts_is_read_whole() -> None:
    parts = [
        {"type": "thinking", "text": "Well."},
        *({"type": "text", "text": half} for half in ('{"items"', ": []}")),
    ]
    answer = orjson.dumps({"choices": [{"message": {"content": parts}}]})
    assert mismatch(chat_call(), answer) is None


def test_a_cap_that_ends_the_thinking_leaves_no_answer() -> None:
    found = mismatch(
        response_call(), orjson.dumps({"status": "incomplete", "output": [{"type": "reasoning"}]})
    )
    assert found is not None and found.cut_off


@pytest.mark.parametrize(
    "body", [b'{"choices": [null]}', b'{"choices": [{"message": "x"}]}', b'{"choices": {"a": 1}}', b"{}"]
)
def test_an_answer_of_an_odd_shape_has_no_words_to_hold_against_anything(body: bytes) -> None:
    assert mismatch(chat_call(), body) is None


def test_a_request_without_a_schema_takes_any_words() -> None:
    assert mismatch(Call(CHAT, "m", {"messages": MESSAGES}), chat_answer("Hello")) is None
    assert mismatch(Call("/v1/embeddings", "m", {"input": "x"}), b'{"data": []}') is None


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/x"}, {"pattern": "("}])
def test_a_schema_that_cannot_be_compiled_refuses_nobody_and_fetches_nothing(schema: dict[str, Any]) -> None:
    assert mismatch(chat_call(schema), chat_answer("{}")) is None


def test_asking_again_shows_the_reply_and_what_is_wrong_with_it() -> None:
    call = chat_call()
    wrong = mismatch(call, chat_answer('{"items": 3}'))
    assert wrong is not None
    again = asked_again(call, wrong)
    assert call.body["messages"] == MESSAGES
    *earlier, reply, reproach = again.body["messages"]
    assert earlier == MESSAGES
    assert reply == {"role": "assistant", "content": '{"items": 3}'}
    assert reproach["role"] == "user" and "$.items" in reproach["content"]


def test_asking_again_makes_a_list_of_a_plain_input() -> None:
    call = response_call()
    wrong = mismatch(call, response_answer("{}"))
    assert wrong is not None
    said = asked_again(call, wrong).body["input"]
    assert [turn["role"] for turn in said] == ["user", "assistant", "user"]
    assert said[0]["content"] == "Price it."


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=5), c, max_size=3),
        max_leaves=6,
    )
)
def test_any_json_value_passes_or_has_a_place_that_fails(value: Any) -> None:
    found = mismatch(chat_call(), chat_answer(json.dumps(value)))
    matches = isinstance(value, dict) and isinstance(value.get("items"), list)
    assert found is None or found.path.startswith("$")
    assert matches or found is not None
