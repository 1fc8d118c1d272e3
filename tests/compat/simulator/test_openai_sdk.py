"""The official SDK as referee: the simulator is what it says, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import json
import math
import struct
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema_rs
import pytest

from app.simulator.answers import answer_text
from app.simulator.openai_audio import transcript
from app.simulator.usage import count_tokens
from app.simulator.vectors import embedding
from tests.support.late import Late
from tests.support.simulator import Simulator

if TYPE_CHECKING:
    import openai
    from openai import AsyncOpenAI
else:
    openai = Late("openai")

pytestmark = pytest.mark.compat
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


both_versions = pytest.mark.parametrize("client", ["HTTP/1.1", "HTTP/2"], indirect=True)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@both_versions
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


@both_versions
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
    lenient = openai.AsyncOpenAI(base_url=client.base_url, api_key="sk-any", http_client=client._client)
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
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (422, "UnprocessableEntityError"),
        (429, "RateLimitError"),
        (500, "InternalServerError"),
        (503, "InternalServerError"),
        (529, "InternalServerError"),
    ],
)
async def test_an_injected_status_is_the_sdks_own_exception(
    client: AsyncOpenAI, status: int, raised: str
) -> None:
    headers = {"x-sim-fault": f"status={status}"}
    with pytest.raises(getattr(openai, raised)) as caught:
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
        ({"messages": []}, "BadRequestError", "messages", "empty_array"),
        ({"messages": "hi"}, "BadRequestError", "messages", "invalid_type"),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            "BadRequestError",
            "messages[0].role",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user"}]},
            "BadRequestError",
            "messages[0].content",
            "missing_required_parameter",
        ),
        ({"model": "gpt-9", "messages": user("x")}, "NotFoundError", None, "model_not_found"),
        ({"model": "sim-embed", "messages": user("x")}, "NotFoundError", "model", None),
        ({"messages": user("x"), "n": 0}, "BadRequestError", "n", "integer_below_min_value"),
        (
            {"messages": user("x"), "temperature": 3},
            "BadRequestError",
            "temperature",
            "decimal_above_max_value",
        ),
        ({"messages": user("x"), "tool_choice": "required"}, "BadRequestError", "tool_choice", None),
    ],
)
async def test_a_wrong_request_is_refused_in_the_providers_words(
    client: AsyncOpenAI,
    body: dict[str, Any],
    raised: str,
    param: str | None,
    code: str | None,
) -> None:
    with pytest.raises(getattr(openai, raised)) as caught:
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


TIME: dict[str, Any] = {**WEATHER, "function": {**WEATHER["function"], "name": "get_time"}}
FUNCTIONS: list[Any] = [{"type": "function", "strict": True, **each["function"]} for each in (WEATHER, TIME)]


async def test_required_tools_are_called_in_parallel_unless_that_is_forbidden(client: AsyncOpenAI) -> None:
    shared: Any = {
        "model": "sim-small",
        "messages": user("Weather and time in Oslo?"),
        "tools": [WEATHER, TIME],
        "tool_choice": "required",
    }
    plain = await client.chat.completions.create(**shared)
    async with client.chat.completions.stream(**shared) as stream:
        streamed = await stream.get_final_completion()
    called: list[Any] = plain.choices[0].message.tool_calls or []
    assert {call.function.name for call in called} == {"get_weather", "get_time"}
    assert len({call.id for call in called}) == 2
    assert [call.function.arguments for call in called] == [
        call.function.arguments for call in streamed.choices[0].message.tool_calls or []
    ]
    single = await client.chat.completions.create(**shared, parallel_tool_calls=False)
    assert len(single.choices[0].message.tool_calls or []) == 1


async def test_a_marker_asks_for_so_many_tool_calls_where_the_choice_is_free(client: AsyncOpenAI) -> None:
    tools: list[Any] = [WEATHER, TIME]
    reply = await client.chat.completions.create(
        model="sim-small", messages=user("[[sim:tools=3]] Weather?"), tools=tools
    )
    called: list[Any] = reply.choices[0].message.tool_calls or []
    assert len(called) == 3 and reply.choices[0].finish_reason == "tool_calls"
    assert len({call.function.arguments for call in called}) == 3


async def test_a_long_prompt_is_read_from_the_cache_the_second_time(client: AsyncOpenAI) -> None:
    messages = user(f"{uuid.uuid4()} " + "Lighthouses were kept by people. " * 200)
    used = []
    for _ in range(2):
        reply = await client.chat.completions.create(model="sim-small", messages=messages)
        assert reply.usage and reply.usage.prompt_tokens_details
        used.append(reply.usage.prompt_tokens_details.cached_tokens)
        whole = reply.usage.prompt_tokens
    assert used[0] == 0
    assert used[1] and used[1] >= 1024 and used[1] % 128 == 0 and used[1] > whole - 129


async def test_reasoning_effort_is_paid_in_reasoning_tokens(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="sim-small", messages=user("Why?"), reasoning_effort="low"
    )
    assert reply.usage and reply.usage.completion_tokens_details
    reasoned = reply.usage.completion_tokens_details.reasoning_tokens
    text = reply.choices[0].message.content or ""
    assert reasoned and reply.usage.completion_tokens == reasoned + count_tokens(text)


async def test_a_response_answers_as_chat_does(client: AsyncOpenAI) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *user("Explain tides.")]
    expected = answer_text("sim-small", messages, SEED)
    for given in (
        "Explain tides.",
        [{"role": "user", "content": [{"type": "input_text", "text": "Explain tides."}]}],
    ):
        body: Any = {"model": "sim-small", "instructions": "Be brief.", "input": given}
        reply = await client.responses.create(**body)
        assert (reply.output_text, reply.status) == (expected, "completed")
        assert reply.usage and reply.usage.output_tokens == count_tokens(expected)
    cut = await client.responses.create(model="sim-large", input="Explain tides.", max_output_tokens=16)
    assert cut.status == "incomplete" and cut.incomplete_details
    assert cut.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"tools": FUNCTIONS, "tool_choice": "required"},
        {"reasoning": {"effort": "low", "summary": "auto"}},
    ],
)
async def test_a_streamed_response_is_numbered_and_ends_as_the_whole_one(
    client: AsyncOpenAI, more: dict[str, Any]
) -> None:
    body: Any = {"model": "sim-small", "input": "Explain tides to a sailor.", **more}
    plain = await client.responses.create(**body)
    events = [event async for event in await client.responses.create(**body, stream=True)]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last.type == "response.completed" and last.response.usage == plain.usage
    assert last.response.output_text == plain.output_text
    for one, other in zip(last.response.output, plain.output, strict=True):
        assert one.model_dump(exclude={"id", "call_id"}) == other.model_dump(exclude={"id", "call_id"})
    async with client.responses.stream(**body) as stream:
        async for _ in stream:
            pass
        assert (await stream.get_final_response()).output_text == plain.output_text


async def test_a_response_calls_tools_and_takes_their_outputs(client: AsyncOpenAI) -> None:
    shared: Any = {"model": "sim-small", "tools": FUNCTIONS}
    asked: list[Any] = user("Weather in Oslo?")
    called = await client.responses.create(**shared, input=asked, tool_choice="required")
    calls = [item for item in called.output if item.type == "function_call"]
    assert {call.name for call in calls} == {"get_weather", "get_time"}
    back: list[Any] = [call.model_dump(exclude_none=True) for call in calls]
    outputs: list[Any] = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "12 C"} for call in calls
    ]
    reply = await client.responses.create(**shared, input=[*asked, *back, *outputs])
    assert reply.output_text
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        await client.responses.create(**shared, input=[*asked, *back, *outputs[:1]])


async def test_a_response_takes_a_schema_and_an_image(client: AsyncOpenAI) -> None:
    wanted: Any = {"format": {"type": "json_schema", "name": "invoice", "schema": INVOICE, "strict": True}}
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    parts: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Read it."}, image]}]
    reply = await client.responses.create(model="sim-small", input=parts, text=wanted)
    jsonschema_rs.validate(INVOICE, json.loads(reply.output_text))
    assert reply.usage and reply.usage.input_tokens > 85


async def test_what_a_response_does_not_know_is_refused_by_name(client: AsyncOpenAI) -> None:
    for name, code in (("messages", "unsupported_parameter"), ("tempo", "unknown_parameter")):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="sim-small", input="x", extra_body={name: 1})
        assert (caught.value.param, caught.value.code) == (name, code)


async def test_a_recording_is_transcribed_in_every_format(client: AsyncOpenAI) -> None:
    sound = b"RIFF" + bytes(96_000)
    expected = transcript(sound, SEED)
    shared: Any = {"model": "sim-small", "file": ("talk.mp3", sound), "language": "en"}
    plain = await client.audio.transcriptions.create(**shared)
    assert plain.text == expected and plain.usage and plain.usage.type == "tokens"
    verbose = await client.audio.transcriptions.create(
        **shared, response_format="verbose_json", timestamp_granularities=["segment", "word"]
    )
    assert verbose.text == expected and verbose.segments and verbose.words
    assert "".join(segment.text for segment in verbose.segments).strip() == expected
    assert verbose.segments[-1].end == verbose.duration
    lenient = openai.AsyncOpenAI(base_url=client.base_url, api_key="sk-any", http_client=client._client)
    texts = {
        wanted: str(await lenient.audio.transcriptions.create(**shared, response_format=wanted))
        for wanted in ("text", "srt", "vtt")
    }
    assert texts["text"].strip() == expected
    assert texts["srt"].startswith("1\n00:00:00,000 --> ") and texts["vtt"].startswith(
        "WEBVTT\n\n00:00:00.000"
    )
    events = [event async for event in await client.audio.transcriptions.create(**shared, stream=True)]
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == expected


async def test_speech_has_the_type_and_the_head_of_its_format(client: AsyncOpenAI) -> None:
    heads = {"mp3": ("audio/mpeg", b"ID3"), "wav": ("audio/wav", b"RIFF"), "flac": ("audio/flac", b"fLaC")}
    spoken = {}
    for wanted, (content_type, head) in heads.items():
        format_wanted: Any = wanted
        reply = await client.audio.speech.create(
            model="sim-small", voice="alloy", input="Good morning.", response_format=format_wanted
        )
        assert reply.response.headers["content-type"] == content_type
        assert reply.content.startswith(head)
        spoken[wanted] = reply.content
    again = await client.audio.speech.create(model="sim-small", voice="alloy", input="Good morning.")
    assert again.content == spoken["mp3"]


async def test_an_old_completion_has_a_choice_for_each_prompt(client: AsyncOpenAI) -> None:
    prompts = ["Explain tides.", "Explain winds."]
    reply = await client.completions.create(model="sim-small", prompt=prompts, max_tokens=500)
    expected = [answer_text("sim-small", user(prompt), SEED) for prompt in prompts]
    assert [choice.text for choice in reply.choices] == expected
    # The SDK's own type has no chunk without a finish reason, which is what the provider sends.
    lenient = openai.AsyncOpenAI(base_url=client.base_url, api_key="sk-any", http_client=client._client)
    stream = await lenient.completions.create(
        model="sim-small", prompt=prompts[0], max_tokens=500, stream=True
    )
    assert "".join([chunk.choices[0].text async for chunk in stream]) == expected[0]


async def test_azures_paths_and_key_header_are_understood(simulator: Simulator) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=simulator.url, api_key="key", api_version="2025-01-01", max_retries=0
    ) as azure:
        reply = await azure.chat.completions.create(model="sim-small", messages=user("Explain tides."))
    assert reply.choices[0].message.content == answer_text("sim-small", user("Explain tides."), SEED)
    path = "/openai/deployments/sim-large/chat/completions?api-version=2025-01-01"
    async with httpx.AsyncClient(base_url=simulator.url) as http:
        bare = await http.post(path, json={"messages": user("Explain tides.")})
    assert bare.json()["model"] == "sim-large"
