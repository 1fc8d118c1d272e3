"""The official SDK as referee: the simulator is what it says, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import json
import math
import struct
import uuid
from typing import Any

import httpx
import jsonschema_rs
import openai
import pytest
from openai import AsyncOpenAI

from app.simulator.answers import answer_text
from app.simulator.usage import count_tokens
from app.simulator.vectors import embedding
from tests.support.simulator import Simulator

SEED = 7
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
INVOICE = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": "^INV-[0-9]{4}$"},
        "total": {"type": "number", "minimum": 0},
        "due": {"type": "string", "format": "date"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1},
        "paid": {"type": ["boolean", "null"]},
    },
    "required": ["number", "total", "due", "lines", "paid"],
    "additionalProperties": False,
    "$defs": {
        "line": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
            "required": ["text", "count"],
            "additionalProperties": False,
        }
    },
}


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_a_chat_answer_is_the_one_foretold_and_its_usage_adds_up(client: AsyncOpenAI) -> None:
    messages = user("Summarise the history of lighthouses in two sentences.")
    reply = await client.chat.completions.create(model="sim-small", messages=messages)
    expected = answer_text("sim-small", messages, SEED)
    assert reply.choices[0].message.content == expected
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == count_tokens(expected)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply._request_id and reply._request_id.startswith("req_")


async def test_a_streamed_answer_is_the_same_text_and_ends_with_its_usage(client: AsyncOpenAI) -> None:
    messages = user("Explain tides to a sailor.")
    options: Any = {"include_usage": True}
    stream = await client.chat.completions.create(
        model="sim-large", messages=messages, stream=True, stream_options=options
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    plain = await client.chat.completions.create(model="sim-large", messages=messages)
    assert text == plain.choices[0].message.content == answer_text("sim-large", messages, SEED)
    assert chunks[-1].choices == [] and chunks[-1].usage == plain.usage
    assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == "stop"
    assert len(chunks) > 4


async def test_a_stream_without_the_option_carries_no_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="sim-small", messages=user("Hello"), stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)


async def test_a_forced_tool_is_called_with_arguments_valid_for_its_schema(client: AsyncOpenAI) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    tools: list[Any] = [WEATHER]
    choices: list[tuple[Any, str]] = [(named, "stop"), ("required", "tool_calls")]
    for choice, reason in choices:
        reply = await client.chat.completions.create(
            model="sim-small", messages=user("Weather in Oslo?"), tools=tools, tool_choice=choice
        )
        (call,) = reply.choices[0].message.tool_calls or []
        assert call.type == "function" and call.function.name == "get_weather"
        jsonschema_rs.validate(WEATHER["function"]["parameters"], json.loads(call.function.arguments))
        assert reply.choices[0].finish_reason == reason
        assert reply.choices[0].message.content is None


async def test_a_streamed_tool_call_adds_up_to_the_same_arguments(client: AsyncOpenAI) -> None:
    shared: Any = {
        "model": "sim-small",
        "messages": user("Weather in Rome?"),
        "tools": [WEATHER],
        "tool_choice": "required",
    }
    async with client.chat.completions.stream(**shared) as stream:
        streamed = await stream.get_final_completion()
    plain = await client.chat.completions.create(**shared)
    (one,), (other,) = streamed.choices[0].message.tool_calls or [], plain.choices[0].message.tool_calls or []
    assert one.function.arguments == other.function.arguments
    assert one.function.name == "get_weather"


async def test_tools_that_are_not_forced_get_a_text_answer(client: AsyncOpenAI) -> None:
    tools: list[Any] = [WEATHER]
    reply = await client.chat.completions.create(model="sim-small", messages=user("Hi there"), tools=tools)
    assert reply.choices[0].message.content and not reply.choices[0].message.tool_calls


async def test_a_schema_is_answered_with_json_valid_for_it_every_time_the_same(client: AsyncOpenAI) -> None:
    wanted: Any = {
        "type": "json_schema",
        "json_schema": {"name": "invoice", "schema": INVOICE, "strict": True},
    }
    texts = []
    for _ in range(2):
        reply = await client.chat.completions.create(
            model="sim-small", messages=user("Extract the invoice."), response_format=wanted
        )
        texts.append(reply.choices[0].message.content or "")
    assert texts[0] == texts[1]
    jsonschema_rs.validate(INVOICE, json.loads(texts[0]))


async def test_json_object_is_a_json_object_and_needs_the_word(client: AsyncOpenAI) -> None:
    wanted: Any = {"type": "json_object"}
    reply = await client.chat.completions.create(
        model="sim-small", messages=user("Answer in JSON."), response_format=wanted
    )
    assert isinstance(json.loads(reply.choices[0].message.content or ""), dict)
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        await client.chat.completions.create(model="sim-small", messages=user("Hi"), response_format=wanted)


async def test_an_output_cap_cuts_the_answer_and_says_so(client: AsyncOpenAI) -> None:
    messages = user("Write a letter.")
    reply = await client.chat.completions.create(
        model="sim-small", messages=messages, max_completion_tokens=3
    )
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage and reply.usage.completion_tokens == 3
    assert answer_text("sim-small", messages, SEED).startswith(reply.choices[0].message.content or "?")


async def test_each_of_n_choices_is_an_answer_of_its_own(client: AsyncOpenAI) -> None:
    messages = user("Give me a name for a boat.")
    reply = await client.chat.completions.create(model="sim-small", messages=messages, n=3)
    assert [c.message.content for c in reply.choices] == [
        answer_text("sim-small", messages, SEED + k) for k in range(3)
    ]


async def test_embeddings_are_the_foretold_unit_vectors_in_both_encodings(client: AsyncOpenAI) -> None:
    texts = ["first text", "second text"]
    plain = await client.embeddings.create(model="sim-embed", input=texts, encoding_format="float")
    # Left alone the SDK asks for base64 and unpacks it itself, after a strict check would have refused it.
    lenient = AsyncOpenAI(base_url=client.base_url, api_key="sk-any", http_client=client._client)
    default = await lenient.embeddings.create(model="sim-embed", input=texts)
    raw: Any = await client.embeddings.with_raw_response.create(
        model="sim-embed", input=texts, encoding_format="base64"
    )
    packed = base64.b64decode(json.loads(raw.text)["data"][1]["embedding"])
    assert plain.data[1].embedding == list(struct.unpack(f"<{len(packed) // 4}f", packed))
    for k, text in enumerate(texts):
        vector = plain.data[k].embedding
        assert vector == list(embedding("sim-embed", text, 256, SEED))
        assert default.data[k].embedding == pytest.approx(vector)
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-6)
    assert plain.usage.prompt_tokens == plain.usage.total_tokens == sum(map(count_tokens, texts))


async def test_embeddings_take_dimensions_and_token_ids(client: AsyncOpenAI) -> None:
    small = await client.embeddings.create(
        model="sim-embed", input="text", dimensions=16, encoding_format="float"
    )
    assert len(small.data[0].embedding) == 16
    tokens = await client.embeddings.create(
        model="sim-embed", input=[[1, 2, 3], [4]], encoding_format="float"
    )
    assert len(tokens.data) == 2 and tokens.usage.prompt_tokens == 4
    one = await client.embeddings.create(model="sim-embed", input=[1, 2, 3], encoding_format="float")
    assert one.data[0].embedding == tokens.data[0].embedding


async def test_models_are_listed_and_found(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert listed == ["sim-small", "sim-large", "sim-embed"]
    assert (await client.models.retrieve("sim-large")).owned_by == "simulator"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-unknown")


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
async def test_an_injected_status_is_the_sdks_own_exception(
    client: AsyncOpenAI, status: int, raised: type[openai.APIStatusError]
) -> None:
    headers = {"x-sim-fault": f"status={status}"}
    with pytest.raises(raised) as caught:
        await client.chat.completions.create(model="sim-small", messages=user("x"), extra_headers=headers)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict) and set(caught.value.body) == {
        "message",
        "type",
        "param",
        "code",
    }


@pytest.mark.parametrize(
    ("body", "raised", "param", "code"),
    [
        ({"messages": []}, openai.BadRequestError, "messages", "empty_array"),
        ({"messages": "hi"}, openai.BadRequestError, "messages", "invalid_type"),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            openai.BadRequestError,
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user"}]},
            openai.BadRequestError,
            "messages[0].content",
            "missing_required_parameter",
        ),
        ({"model": "gpt-9", "messages": user("x")}, openai.NotFoundError, None, "model_not_found"),
        ({"model": "sim-embed", "messages": user("x")}, openai.NotFoundError, "model", None),
        ({"messages": user("x"), "n": 0}, openai.BadRequestError, "n", "integer_below_min_value"),
        (
            {"messages": user("x"), "temperature": 3},
            openai.BadRequestError,
            "temperature",
            "decimal_above_max_value",
        ),
        ({"messages": user("x"), "tool_choice": "required"}, openai.BadRequestError, "tool_choice", None),
    ],
)
async def test_a_wrong_request_is_refused_in_the_providers_words(
    client: AsyncOpenAI,
    body: dict[str, Any],
    raised: type[openai.APIStatusError],
    param: str | None,
    code: str | None,
) -> None:
    with pytest.raises(raised) as caught:
        await client.chat.completions.create(**{"model": "sim-small", **body})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"


async def test_the_sdks_own_retries_get_through_two_injected_failures(
    client: AsyncOpenAI, simulator: Simulator
) -> None:
    prompt = f"[[sim:status=500,retry-after-ms=1,times=2]] {uuid.uuid4()}"
    reply = await client.with_options(max_retries=2).chat.completions.create(
        model="sim-small", messages=user(prompt)
    )
    assert reply.choices[0].message.content == answer_text("sim-small", user(prompt), SEED)
    calls = [c for c in simulator.calls() if c["request_id"] == reply._request_id]
    same = simulator.calls(lambda call: call["prompt_hash"] == calls[0]["prompt_hash"])
    assert [call["status"] for call in same] == [500, 500, 200]


async def test_what_is_no_call_is_refused_in_the_same_shape(simulator: Simulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.url) as http:
        replies = [
            (await http.post("/v1/nothing", json={}), 404),
            (await http.get("/v1/chat/completions"), 405),
            (await http.post("/v1/chat/completions", content=b"{not json"), 400),
            (await http.post("/v1/chat/completions", json=[1]), 400),
            (await http.post("/v1/chat/completions", content=b'{"a":' * 600 + b"1" + b"}" * 600), 400),
        ]
        assert (await http.get("/health")).json()["status"] == "ok"
    for reply, status in replies:
        assert reply.status_code == status
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        assert reply.headers["x-request-id"].startswith("req_")
