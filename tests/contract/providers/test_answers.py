"""Our adapters against the simulator, which speaks all four APIs: what each can do, done over real HTTP.

The simulator answers one prompt alike whatever API it came by, so the answer to each is known beforehand. That it
speaks these APIs is held by the official SDKs (tests/compat/simulator); that every answer has OpenAI's shape is
held here by the types of OpenAI's SDK, strictly.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson
import pytest

from app.simulator.answers import answer_text
from app.simulator.openai_audio import transcript
from app.simulator.vectors import embedding
from tests.contract.providers.cases import (
    CASES,
    CHAT,
    EMBEDDINGS,
    RESPONSES,
    SEED,
    SPEECH,
    TIDES,
    TRANSCRIPTIONS,
    Case,
    Wire,
    proves,
)
from tests.support.late import Late
from workers.core.messages import Call, Reply, Usage

if TYPE_CHECKING:
    from openai import types
    from openai.types import audio, responses
    from openai.types import chat as chats
else:
    types, audio = Late("openai.types"), Late("openai.types.audio")
    chats, responses = Late("openai.types.chat"), Late("openai.types.responses")

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORETOLD = answer_text("sim-small", TIDES, SEED)
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
SOUND = b"RIFF" + bytes(96_000)
WAV = base64.b64encode(SOUND).decode()
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": CITY}}
    for name in ("get_weather", "get_tides")
]


def chat(reply: Reply) -> chats.ChatCompletion:
    return chats.ChatCompletion.model_validate_json(reply.body, strict=True)


def user(text: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts] if parts else text}]


def logged_usage(call: dict[str, Any]) -> Usage:
    return Usage(
        call["prompt_tokens"],
        call["completion_tokens"],
        call["cached_tokens"],
        cache_write_tokens=call["cache_write_tokens"],
    )


def body_without_names(reply: Reply) -> dict[str, Any]:
    """An answer without what no two answers share: its id, its time, the ids of its calls.

    Nor with the empty list of annotations, which OpenAI sends in whole answers only.
    """
    body = orjson.loads(reply.body)
    for choice in body["choices"]:
        choice["message"].pop("annotations", None)
        for call in choice["message"].get("tool_calls") or ():
            call.pop("id")
    return {name: value for name, value in body.items() if name not in ("id", "created")}


@proves("chat")
async def test_a_chat_gets_the_answer_foretold(wire: Wire, case: Case) -> None:
    reply = await wire.reply(case, case.call({"messages": TIDES, "temperature": 0.2, "max_tokens": 500}))
    (choice,) = chat(reply).choices
    assert (choice.message.content, choice.finish_reason) == (FORETOLD, "stop")
    assert (reply.model, wire.last_call()["provider"]) == ("sim-small", case.adapter.name)
    cut = await wire.reply(case, case.call({"messages": TIDES, "max_completion_tokens": 5}))
    assert chat(cut).choices[0].finish_reason == "length" and cut.usage.output_tokens == 5


@proves("chat")
async def test_a_response_object_is_answered_like_a_chat(wire: Wire, case: Case) -> None:
    body = {"instructions": "Be brief.", "input": TIDES[1]["content"]}
    reply = await wire.reply(case, case.call(body, RESPONSES))
    response = responses.Response.model_validate_json(reply.body, strict=True)
    assert (response.output_text, response.status) == (FORETOLD, "completed")
    assert response.usage and response.usage.input_tokens == reply.usage.input_tokens > 0


@proves("chat")
async def test_a_request_in_the_providers_own_shape_gets_the_same_answer(wire: Wire, case: Case) -> None:
    call = Call(CHAT, "sim-small", {}, provider_options=case.own_shape)
    assert chat(await wire.reply(case, call)).choices[0].message.content == FORETOLD


@proves("stream", "usage")
@pytest.mark.parametrize("tools", [False, True], ids=["text", "tools"])
async def test_a_streamed_answer_ends_as_the_whole_one(wire: Wire, case: Case, tools: bool) -> None:
    body = asking_for_tools(case) if tools else {"messages": TIDES}
    chunks, streamed = await wire.stream(case, case.call(body))
    logged = wire.last_call()
    whole = await wire.reply(case, case.call(body))
    assert logged["stream"] and streamed.usage == whole.usage == logged_usage(logged)
    assert body_without_names(streamed) == body_without_names(whole)
    read = [chats.ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in chunks]
    said = "".join(each.choices[0].delta.content or "" for each in read if each.choices)
    assert said == (chat(whole).choices[0].message.content or "")
    assert {each.id for each in read} == {chat(streamed).id}


def asking_for_tools(case: Case, **more: Any) -> dict[str, Any]:
    """A request that ends in calls: by insisting on them, or by the simulator's marker."""
    forced = {"tool_choice": "required"} if case.forces_tools else {}
    marker = "" if case.forces_tools else "[[sim:tools=2]] "
    return {"messages": user(f"{marker}Weather and tides in Oslo?"), "tools": TOOLS, **forced, **more}


@proves("tools")
async def test_a_named_tool_is_called_and_its_answer_taken(wire: Wire, case: Case) -> None:
    named = {"type": "function", "function": {"name": "get_tides"}}
    marker = "" if case.forces_tools else "[[sim:tools=1]] "
    asked = user(f"{marker}Tides in Oslo?")
    call = case.call({"messages": asked, "tools": TOOLS, "tool_choice": named})
    (choice,) = chat(await wire.reply(case, call)).choices
    (made,) = choice.message.tool_calls or []
    assert made.type == "function" and made.function.name == "get_tides"
    jsonschema_rs.validate(CITY, json.loads(made.function.arguments))
    assistant = choice.message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": made.id, "content": "high at noon"}
    talk = [*user("Tides in Oslo?"), assistant, result]
    answered = chat(await wire.reply(case, case.call({"messages": talk, "tools": TOOLS})))
    assert answered.choices[0].finish_reason == "stop" and answered.choices[0].message.content


@proves("parallel tools")
async def test_two_tools_are_called_at_once(wire: Wire, case: Case) -> None:
    (choice,) = chat(await wire.reply(case, case.call(asking_for_tools(case)))).choices
    calls: list[Any] = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert {call.function.name for call in calls} == {"get_weather", "get_tides"}
    assert len({call.id for call in calls}) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "12"} for call in calls]
    talk = [*user("And?"), choice.message.model_dump(exclude_none=True), *results]
    assert (
        chat(await wire.reply(case, case.call({"messages": talk, "tools": TOOLS}))).choices[0].message.content
    )


@proves("schema")
async def test_an_answer_matches_the_schema_asked_for(wire: Wire, case: Case) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    call = case.call({"messages": user("Which city?"), "response_format": wanted})
    (choice,) = chat(await wire.reply(case, call)).choices
    assert choice.finish_reason == "stop"
    jsonschema_rs.validate(CITY, json.loads(choice.message.content or ""))


@pytest.mark.ability("anthropic", "schema")
async def test_a_model_without_a_schema_of_its_own_answers_through_a_tool(wire: Wire) -> None:
    case = CASES["anthropic"]
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    body = {"messages": user("Which city?"), "response_format": wanted}
    (choice,) = chat(await wire.reply(case, Call(CHAT, "sim-small", body))).choices
    jsonschema_rs.validate(CITY, json.loads(choice.message.content or ""))
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)


@proves("image")
async def test_an_image_is_seen_and_counted(wire: Wire, case: Case) -> None:
    without = await wire.reply(case, case.call({"messages": user("What is this?")}))
    image = {"type": "image_url", "image_url": {"url": PNG}}
    reply = await wire.reply(case, case.call({"messages": user("What is this?", image)}))
    assert chat(reply).choices[0].message.content != chat(without).choices[0].message.content
    assert reply.usage.input_tokens == without.usage.input_tokens + 85


@proves("embedding")
async def test_texts_become_vectors_in_either_encoding(wire: Wire, case: Case) -> None:
    texts = ["high tide", "low tide"]
    expected = [embedding("sim-embed", text, 16, SEED) for text in texts]
    body = {"input": texts, "dimensions": 16}
    reply = await wire.reply(case, case.call(body, EMBEDDINGS, "sim-embed"))
    vectors = types.CreateEmbeddingResponse.model_validate_json(reply.body, strict=True).data
    for vector, wanted in zip(vectors, expected, strict=True):
        assert vector.embedding == pytest.approx(wanted, abs=1e-6)
    packed = await wire.reply(case, case.call({**body, "encoding_format": "base64"}, EMBEDDINGS, "sim-embed"))
    for each, wanted in zip(orjson.loads(packed.body)["data"], expected, strict=True):
        floats = struct.unpack("<16f", base64.b64decode(each["embedding"]))
        assert floats == pytest.approx(wanted, abs=1e-6)


@proves("audio")
async def test_a_sound_is_heard_and_a_recording_written_down(wire: Wire, case: Case) -> None:
    part = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
    heard = chat(await wire.reply(case, case.call({"messages": user("Who speaks?", part)})))
    assert heard.choices[0].message.content
    body = {"file_url": f"data:audio/wav;base64,{WAV}", "language": "en"}
    reply = await wire.reply(case, case.call(body, TRANSCRIPTIONS))
    assert audio.Transcription.model_validate_json(reply.body, strict=True).text


@pytest.mark.ability("openai", "audio")
async def test_a_text_is_spoken_and_a_recording_has_the_words_foretold(wire: Wire) -> None:
    case = CASES["openai"]
    body = {"input": "Good morning.", "voice": "alloy", "response_format": "flac"}
    spoken = orjson.loads((await wire.reply(case, case.call(body, SPEECH))).body)
    assert spoken["content_type"] == "audio/flac" and base64.b64decode(spoken["data"]).startswith(b"fLaC")
    call = case.call({"file_url": f"data:audio/wav;base64,{WAV}"}, TRANSCRIPTIONS)
    assert orjson.loads((await wire.reply(case, call)).body)["text"] == transcript(SOUND, SEED)


@proves("prompt caching", "usage")
async def test_a_long_beginning_is_read_from_the_cache_the_second_time(wire: Wire, case: Case) -> None:
    rules = f"{case.adapter.name}. " + "Lighthouses were kept by people. " * 200
    used = []
    for question in ("Who kept them?", "Why were they kept?"):
        messages = [{"role": "system", "content": rules}, *user(question)]
        reply = await wire.reply(case, case.call({"messages": messages}))
        assert reply.usage == logged_usage(wire.last_call())
        used.append(reply.usage)
        counted = chat(reply).usage
        assert counted and counted.prompt_tokens_details
        assert counted.prompt_tokens_details.cached_tokens == reply.usage.cached_tokens
    assert used[0].cached_tokens == 0 and 1024 <= used[1].cached_tokens < used[1].input_tokens
    assert (used[0].cache_write_tokens > 0) == (case is CASES["anthropic"])


@proves("usage")
async def test_tokens_are_counted_as_the_provider_logged_them(wire: Wire, case: Case) -> None:
    bodies = (
        {"messages": TIDES},
        asking_for_tools(case),
        {"messages": user("Why?"), "reasoning_effort": "low"},
    )
    for body in bodies:
        reply = await wire.reply(case, case.call(body))
        # The log does not tell thoughts apart from the rest of the output.
        assert replace(reply.usage, reasoning_tokens=0) == logged_usage(wire.last_call())
        assert reply.usage.output_tokens > reply.usage.reasoning_tokens
        counted = chat(reply).usage
        assert counted and counted.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
