"""Gemini's answers in the OpenAI shape, and any bytes read or refused."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gemini_requests import (
    ANSWER,
    CHAT,
    EMBEDDINGS,
    GEMINI,
    JSON,
    RESPONSES,
    TRANSCRIPTIONS,
    USER,
    call,
    ok,
    read,
)
from workers.core.errors import ContentBlocked, KeyRefused, ProviderError, RequestRefused, UnusableReply
from workers.core.messages import Usage


def candidate(*parts: dict[str, Any], ends: str = "STOP") -> dict[str, Any]:
    return {"content": {"parts": list(parts), "role": "model"}, "finishReason": ends}


def message(*parts: dict[str, Any], ends: str = "STOP") -> dict[str, Any]:
    answer = orjson.loads(read({**ANSWER, "candidates": [candidate(*parts, ends=ends)]}).body)
    choice: dict[str, Any] = answer["choices"][0]
    return choice


# --- answers


@pytest.mark.ability("gemini", "chat")
@pytest.mark.ability("gemini", "usage")
def test_an_answer_becomes_a_completion_with_its_usage() -> None:
    response = ok(ANSWER, date="Sun, 06 Nov 1994 12:00:00 GMT")
    reply = GEMINI.parse_response(call({"messages": USER}), response)
    usage = Usage(input_tokens=11, output_tokens=17, cached_tokens=4, reasoning_tokens=5)
    assert (reply.usage, reply.model, reply.request_id) == (usage, "gemini-2.5-flash-001", "r1")
    assert (reply.warnings, reply.tier) == ((), "")
    completion = orjson.loads(reply.body)
    assert completion["choices"] == [{
        "index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None},
        "logprobs": None, "finish_reason": "stop",
    }]  # fmt: skip
    assert (completion["id"], completion["created"], completion["object"]) == (
        "r1",
        784123200,
        "chat.completion",
    )
    assert completion["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}


def test_thoughts_and_words_are_told_apart() -> None:
    choice = message(
        {"text": "Hm. ", "thought": True}, {"text": "So", "thoughtSignature": "x"}, {"text": "!"}
    )
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("So!", "Hm. ")


def test_several_candidates_are_several_choices() -> None:
    blocked = {"finishReason": "SAFETY", "index": 2}
    reply = read({**ANSWER, "candidates": [candidate({"text": "a"}), candidate({"text": "b"}), blocked]})
    choices = orjson.loads(reply.body)["choices"]
    assert [(c["message"]["content"], c["finish_reason"]) for c in choices] == [
        ("a", "stop"), ("b", "stop"), ("", "content_filter"),
    ]  # fmt: skip


@pytest.mark.ability("gemini", "parallel tools")
def test_function_calls_become_tool_calls_with_lasting_ids() -> None:
    parts = (
        {"functionCall": {"name": "weather", "args": {"town": "Pau"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "now"}},
        {"functionCall": {"name": "now", "id": "own"}},
    )
    choice = message(*parts)
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert [each["id"] for each in calls] == ["call_0_r1", "call_1_r1", "own"]
    assert [each["function"]["arguments"] for each in calls] == ['{"town":"Pau"}', "{}", "{}"]
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert message(*parts) == choice


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("STOP", "stop"), ("MAX_TOKENS", "length"), ("OTHER", "stop"), ("SOMETHING_NEW", "stop"),
        ("SAFETY", "content_filter"), ("RECITATION", "content_filter"), ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"), ("LANGUAGE", "content_filter"),
    ],
)  # fmt: skip
def test_a_finish_reason_has_its_name_in_the_openai_shape(reason: str, told: str) -> None:
    assert message({"text": "a"}, ends=reason)["finish_reason"] == told


@pytest.mark.ability("gemini", "errors")
@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("SAFETY", ContentBlocked),
        ("SPII", ContentBlocked),
        ("OTHER", UnusableReply),
        ("", UnusableReply),
        ("MALFORMED_FUNCTION_CALL", UnusableReply),
        ("UNEXPECTED_TOOL_CALL", UnusableReply),
        ("MISSING_THOUGHT_SIGNATURE", RequestRefused),
        ("PUP_LIMITED_DISABLED", KeyRefused),
    ],
)
def test_an_answer_without_content_is_the_error_that_its_reason_says(reason: str, kind: type) -> None:
    with pytest.raises(ProviderError) as caught:
        read({**ANSWER, "candidates": [{"finishReason": reason}]})
    assert type(caught.value) is kind
    assert caught.value.usage is not None and caught.value.usage.input_tokens == 11


def test_an_answer_cut_before_its_first_word_is_an_empty_one() -> None:
    assert message(ends="MAX_TOKENS") == {
        "index": 0, "message": {"role": "assistant", "content": "", "refusal": None},
        "logprobs": None, "finish_reason": "length",
    }  # fmt: skip


@pytest.mark.ability("gemini", "errors")
def test_a_blocked_prompt_is_content_blocked_with_what_it_cost() -> None:
    with pytest.raises(ContentBlocked) as caught:
        read({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    error = caught.value
    assert error.usage == Usage(input_tokens=3) and error.provider_code == "SAFETY"
    assert error.status is None and error.body is not None
    assert orjson.loads(error.body)["error"]["code"] == "SAFETY"


def test_parts_that_the_openai_shape_has_no_place_for_are_named() -> None:
    parts: list[dict[str, Any]] = [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "x"}}]
    reply = read({**ANSWER, "candidates": [candidate(*parts)]})
    assert len(reply.warnings) == 1 and reply.warnings[0].startswith("inlineData:")


def test_the_tier_that_answered_is_told() -> None:
    response = ok(ANSWER, x_gemini_service_tier="flex")
    assert GEMINI.parse_response(call({"messages": USER}), response).tier == "flex"
    usage = {**ANSWER["usageMetadata"], "serviceTier": "STANDARD"}
    assert read({**ANSWER, "usageMetadata": usage}).tier == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        json.dumps(ANSWER).encode()[:-9],
        b"[]",
        b"null",
        b"{}",
        b'{"candidates": 3}',
        b'{"candidates": "abc"}',
        b'{"candidates": [3]}',
        b'{"candidates": [{"content": 3}]}',
        b'{"candidates": [{"content": {"parts": [{"text": 3}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": 3}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": []}}]}}]}',
        b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": -1}}',
        b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1e300}}',
        b'{"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 9007199254740993}}',
        b"[" * 5000,
    ],
)
def test_what_is_no_answer_is_unusable_and_may_be_asked_again(body: bytes) -> None:
    with pytest.raises(UnusableReply) as caught:
        read(body)
    assert caught.value.retryable


def test_names_without_end_are_cut() -> None:
    reply = read({**ANSWER, "modelVersion": "m" * 9000, "responseId": "i" * 9000})
    assert len(reply.model) == 200 and len(reply.request_id or "") == 200


PARTS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"text": JSON, "thought": JSON, "functionCall": JSON, "thoughtSignature": JSON}
    )
    | JSON,
    max_size=2,
)
LIKE_ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "content": st.fixed_dictionaries({"parts": PARTS}) | JSON,
                    "finishReason": st.sampled_from(["STOP", "SAFETY"]) | JSON,
                    "index": JSON,
                },
            )
            | JSON,
            max_size=2,
        )
        | JSON,
        "promptFeedback": JSON,
        "usageMetadata": st.fixed_dictionaries({"promptTokenCount": JSON, "serviceTier": JSON}) | JSON,
        "embeddings": st.lists(st.fixed_dictionaries({"values": st.lists(JSON, max_size=2)}), max_size=2)
        | JSON,
        "modelVersion": JSON,
        "responseId": JSON,
        "error": JSON,
    },
)


@given(
    st.binary()
    | LIKE_ANSWERS.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda v: json.dumps(v).encode()),
    st.sampled_from([CHAT, RESPONSES, EMBEDDINGS, TRANSCRIPTIONS]),
)
def test_any_bytes_are_a_reply_or_a_provider_error(body: bytes, endpoint: str) -> None:
    asked = call({"encoding_format": "base64"} if endpoint == EMBEDDINGS else {}, endpoint=endpoint)
    try:
        reply = GEMINI.parse_response(asked, ok(body))
    except ProviderError:
        return
    assert b"\n" not in reply.body
    assert isinstance(orjson.loads(reply.body), dict)
    assert 0 <= reply.usage.input_tokens <= 2**53


def test_a_truth_value_is_no_count_of_tokens() -> None:
    answer = {"candidates": [candidate({"text": "a"})], "usageMetadata": {"thoughtsTokenCount": True}}
    with pytest.raises(UnusableReply):
        read(answer)


def test_an_answer_that_could_be_continued_is_not_told_as_whole() -> None:
    reply = read({"candidates": [candidate({"text": "a"}, ends="CONTINUATION")]})
    assert json.loads(reply.body)["choices"][0]["finish_reason"] == "length"
