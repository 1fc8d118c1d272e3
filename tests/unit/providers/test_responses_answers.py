"""A chat answer told as a whole response, which OpenAI's own SDK is the referee of."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from workers.core.messages import Call, Reply, Usage
from workers.providers.chat import ToolCall
from workers.providers.responses import as_chat, from_completion
from workers.providers.shape import Answer, Choice, completion_bytes, usage_object

pytestmark = pytest.mark.fast
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


def whole(choice: Choice, asked: dict[str, Any] | None = None, usage: Usage | None = None) -> dict[str, Any]:
    used = usage or Usage(9, 12, 4, 5, 2)
    reply = Reply(
        completion_bytes(Answer("chatcmpl-1", "m-1", [choice], used, 1_700_000_000)),
        used,
        "m-1",
        "req_1",
        ("w",),
    )
    made = from_completion(Call("/v1/responses", "m", asked or {"input": "x"}), reply)
    assert (made.usage, made.model, made.request_id, made.warnings) == (used, "m-1", "req_1", ("w",))
    data: dict[str, Any] = orjson.loads(made.body)
    return data


@pytest.fixture(scope="module")
def response_type() -> Any:
    from openai.types.responses import Response

    return Response


CHOICES = {
    "words": Choice("hello", "stop"),
    "nothing": Choice("", "stop"),
    "cut": Choice("hel", "length"),
    "filtered": Choice(None, "content_filter"),
    "refused": Choice(None, "stop", refusal="I will not"),
    "thought": Choice("42", "stop", reasoning="hm"),
    "calls": Choice(
        None, "tool_calls", [ToolCall("c1", "weather", '{"city":"Bern"}'), ToolCall("c2", "weather", "{}")]
    ),
}
ASKED: dict[str, dict[str, Any]] = {
    "little": {"input": "x"},
    "much": {
        "input": "x",
        "instructions": "Be brief",
        "tools": [TOOL, {"type": "function", "name": "bare"}],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 50,
        "temperature": 1,
        "top_p": 0.5,
        "metadata": {"a": "b"},
        "user": "u",
    },
}


@pytest.mark.parametrize("asked", list(ASKED))
@pytest.mark.parametrize("choice", list(CHOICES))
def test_the_official_sdk_takes_every_answer_as_a_response(
    choice: str, asked: str, response_type: Any
) -> None:
    made = whole(CHOICES[choice], ASKED[asked])
    response = response_type.model_validate_json(orjson.dumps(made), strict=True)
    assert response.output_text == (CHOICES[choice].text or "")
    assert response.usage.total_tokens == 21
    known = set(response_type.model_fields)
    assert set(made) <= known


def test_words_are_an_output_message_and_calls_are_items() -> None:
    (message,) = whole(CHOICES["words"])["output"]
    assert message["content"] == [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]
    first, second = whole(CHOICES["calls"])["output"]
    assert (first["type"], first["call_id"], first["arguments"]) == ("function_call", "c1", '{"city":"Bern"}')
    assert second["call_id"] == "c2"
    assert [each["type"] for each in whole(CHOICES["thought"])["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize(
    ("choice", "status", "details"),
    [
        ("words", "completed", None),
        ("calls", "completed", None),
        ("cut", "incomplete", {"reason": "max_output_tokens"}),
        ("filtered", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_an_answer_that_was_cut_short_says_why(choice: str, status: str, details: Any) -> None:
    made = whole(CHOICES[choice])
    assert (made["status"], made["incomplete_details"]) == (status, details)


def test_usage_is_counted_as_responses_count_it() -> None:
    used = Usage(9, 12, 4, 5, 2)
    assert whole(CHOICES["words"], usage=used)["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": usage_object(used)["total_tokens"],
    }


def test_the_output_of_one_response_can_be_the_input_of_the_next() -> None:
    output = whole(CHOICES["calls"])["output"] + whole(CHOICES["words"])["output"]
    body = as_chat("acme", Call("/v1/responses", "m", {"input": output})).body
    assert body["messages"][0]["content"] == [{"type": "text", "text": "hello"}]
    assert [call["id"] for call in body["messages"][0]["tool_calls"]] == ["c1", "c2"]
    assert set(body) == {"messages"}
