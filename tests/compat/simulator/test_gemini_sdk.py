"""The official google-genai SDK as referee of the simulator's Gemini dialect: it refuses fields it does not know."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import jsonschema_rs
import pytest

from app.simulator.answers import answer_text
from app.simulator.usage import TOKENS_PER_IMAGE, count_tokens
from app.simulator.vectors import embedding
from tests.support.simulator import Simulator

pytestmark = pytest.mark.compat
SEED = 7
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
NAMES = ("get_weather", "get_tides")
TOOLS = [
    {"function_declarations": [{"name": name, "description": "d", "parameters": CITY} for name in NAMES]}
]


@pytest.fixture(scope="module")
def genai() -> Any:
    """The SDK; its import takes a second."""
    import google.genai

    return google.genai


@pytest.fixture(scope="module")
def client(simulator: Simulator, genai: Any) -> Iterator[Any]:
    with genai.Client(api_key="any", http_options={"base_url": simulator.url}) as sdk:
        yield sdk


def foretold(text: str, model: str = "sim-small") -> str:
    return answer_text(model, [{"role": "user", "content": text}], SEED)


def asked(client: Any, contents: Any, model: str = "sim-small", **config: Any) -> Any:
    return client.models.generate_content(model=model, contents=contents, config=config or None)


def test_an_answer_is_the_one_foretold_and_its_usage_adds_up(client: Any) -> None:
    reply = asked(client, "Summarise the history of lighthouses.")
    assert reply.text == foretold("Summarise the history of lighthouses.")
    (candidate,) = reply.candidates
    assert candidate.finish_reason.value == "STOP" and candidate.content.role == "model"
    usage = reply.usage_metadata
    assert usage.candidates_token_count == count_tokens(reply.text)
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert reply.model_version == "sim-small" and reply.response_id


def test_a_stream_is_the_same_text_and_ends_with_reason_and_usage(client: Any) -> None:
    chunks = list(client.models.generate_content_stream(model="sim-large", contents="Explain tides."))
    assert "".join(chunk.text for chunk in chunks) == foretold("Explain tides.", "sim-large")
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks]
    assert len(chunks) > 4 and reasons[-1].value == "STOP" and not any(reasons[:-1])
    plain = asked(client, "Explain tides.", "sim-large")
    assert chunks[-1].usage_metadata == plain.usage_metadata


def test_a_system_instruction_and_earlier_turns_are_part_of_the_prompt(client: Any) -> None:
    turns = [
        {"role": "user", "parts": [{"text": "Hello"}]},
        {"role": "model", "parts": [{"text": "Hello you"}]},
        {"role": "user", "parts": [{"text": "Go on"}]},
    ]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello you"},
        {"role": "user", "content": "Go on"},
    ]
    assert asked(client, turns, system_instruction="Be brief.").text == answer_text(
        "sim-small", messages, SEED
    )


def test_parallel_calls_are_made_and_their_results_taken_back(client: Any) -> None:
    config = {"function_calling_config": {"mode": "ANY"}}
    reply = asked(client, "Weather and tides in Oslo?", tools=TOOLS, tool_config=config)
    calls = reply.function_calls
    assert {call.name for call in calls} == set(NAMES)
    for call in calls:
        jsonschema_rs.validate(CITY, call.args)
    results = [
        {"function_response": {"id": call.id, "name": call.name, "response": {"result": "fine"}}}
        for call in calls
    ]
    question = {"role": "user", "parts": [{"text": "Weather and tides in Oslo?"}]}
    history = [question, reply.candidates[0].content, {"role": "user", "parts": results}]
    final = asked(client, history, tools=TOOLS)
    assert final.text and not final.function_calls


def test_an_allowed_function_is_the_one_called_and_none_means_text(client: Any) -> None:
    forced = {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_tides"]}}
    for _ in range(2):
        reply = asked(client, "Anything", tools=TOOLS, tool_config=forced)
        assert [call.name for call in reply.function_calls] == ["get_tides"]
    never = {"function_calling_config": {"mode": "NONE"}}
    assert asked(client, "[[sim:tools=2]] Anything", tools=TOOLS, tool_config=never).text
    stream = client.models.generate_content_stream(
        model="sim-small", contents="Anything", config={"tools": TOOLS, "tool_config": forced}
    )
    assert [call.name for chunk in stream for call in chunk.function_calls or ()] == ["get_tides"]


def test_both_kinds_of_schema_are_answered_with_valid_json(client: Any, genai: Any) -> None:
    nullable = {"type": "STRING", "nullable": True, "enum": ["red", "green"]}
    openapi = {
        "type": "OBJECT",
        "properties": {"z": {"type": "INTEGER"}, "a": nullable},
        "required": ["a", "z"],
        "propertyOrdering": ["a", "z"],
    }
    mime = "application/json"
    made = json.loads(asked(client, "Extract.", response_mime_type=mime, response_schema=openapi).text)
    assert list(made) == ["a", "z"] and made["a"] in ("red", "green", None) and isinstance(made["z"], int)
    plain = json.loads(asked(client, "Extract.", response_mime_type=mime, response_json_schema=CITY).text)
    jsonschema_rs.validate(CITY, plain)
    with pytest.raises(genai.errors.ClientError, match="is not supported") as caught:
        asked(client, "x", response_mime_type=mime, response_json_schema={"type": "string", "pattern": "a"})
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


def test_an_image_counts_as_one(client: Any, genai: Any) -> None:
    image = genai.types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    reply = asked(client, ["What is this?", image])
    details = {each.modality.value: each.token_count for each in reply.usage_metadata.prompt_tokens_details}
    assert details["IMAGE"] == TOKENS_PER_IMAGE
    assert sum(details.values()) == reply.usage_metadata.prompt_token_count
    assert reply.text != foretold("What is this?")


def test_candidates_caps_and_stop_sequences_are_obeyed(client: Any) -> None:
    two = asked(client, "Name a boat.", candidate_count=2).candidates
    assert [each.content.parts[0].text for each in two] == [
        answer_text("sim-small", [{"role": "user", "content": "Name a boat."}], SEED + k) for k in range(2)
    ]
    capped = asked(client, "Name a boat.", max_output_tokens=3)
    assert capped.candidates[0].finish_reason.value == "MAX_TOKENS"
    assert capped.usage_metadata.candidates_token_count == 3
    assert asked(client, "Name a boat.", stop_sequences=[" "]).text == foretold("Name a boat.").split(" ")[0]


def test_thoughts_are_counted_apart_and_shown_on_request(client: Any) -> None:
    hidden = asked(client, "Why?", thinking_config={"thinking_budget": 128})
    usage = hidden.usage_metadata
    assert usage.thoughts_token_count and hidden.text == foretold("Why?")
    assert usage.total_token_count == (
        usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    )
    parts = asked(client, "Why?", thinking_config={"include_thoughts": True}).candidates[0].content.parts
    assert [bool(part.thought) for part in parts] == [True, False]
    assert (
        asked(client, "Why?", thinking_config={"thinking_budget": 0}).usage_metadata.thoughts_token_count
        is None
    )


def test_a_long_beginning_met_before_is_read_from_the_cache(client: Any) -> None:
    prefix = f"{uuid.uuid4()} " + "lighthouse " * 600
    first, second = (asked(client, prefix + end).usage_metadata for end in ("one", "two"))
    assert first.cached_content_token_count is None
    assert 1024 <= second.cached_content_token_count <= second.prompt_token_count


def test_an_unsafe_prompt_has_a_block_reason_and_no_candidates(client: Any) -> None:
    reply = asked(client, "[[sim:safety]] something")
    assert reply.prompt_feedback.block_reason.value == "SAFETY" and not reply.candidates
    chunks = list(client.models.generate_content_stream(model="sim-small", contents="[[sim:safety]] x"))
    assert [chunk.prompt_feedback.block_reason.value for chunk in chunks] == ["SAFETY"]


def test_embeddings_are_the_foretold_vectors(client: Any) -> None:
    texts = ["first text", "second text"]
    reply = client.models.embed_content(model="sim-embed", contents=texts)
    assert [each.values for each in reply.embeddings] == [
        list(embedding("sim-embed", t, 256, SEED)) for t in texts
    ]
    small = client.models.embed_content(
        model="sim-embed", contents="one", config={"output_dimensionality": 16, "task_type": "CLUSTERING"}
    )
    assert len(small.embeddings[0].values) == 16


def test_tokens_are_counted_before_they_are_paid_and_the_count_is_free(
    client: Any, simulator: Simulator
) -> None:
    before = len(simulator.calls())
    counted = client.models.count_tokens(model="sim-small", contents="How many?").total_tokens
    assert len(simulator.calls()) == before
    assert asked(client, "How many?").usage_metadata.prompt_token_count == counted


def test_models_are_listed_page_by_page_and_found(client: Any, genai: Any) -> None:
    listed = list(client.models.list(config={"page_size": 2}))
    assert [model.name for model in listed] == ["models/sim-small", "models/sim-large", "models/sim-embed"]
    assert "embedContent" in client.models.get(model="sim-embed").supported_actions
    for ask in (client.models.get, partial(client.models.generate_content, contents="x")):
        with pytest.raises(genai.errors.ClientError) as caught:
            ask(model="nobody")
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED"), (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"),
     (503, "UNAVAILABLE")],
)  # fmt: skip
def test_an_injected_status_is_the_sdks_own_error(client: Any, genai: Any, status: int, name: str) -> None:
    with pytest.raises(genai.errors.APIError) as caught:
        asked(client, f"[[sim:status={status},retry-after=2]] x")
    assert (caught.value.code, caught.value.status) == (status, name)
    infos = [each for each in caught.value.details["error"].get("details", ()) if "retryDelay" in each]
    assert [each["retryDelay"] for each in infos] == (["2s"] if status == 429 else [])


def test_a_stream_without_alt_sse_is_one_json_array(simulator: Simulator) -> None:
    body = {"contents": [{"parts": [{"text": "Explain tides."}]}]}
    url = f"{simulator.url}/v1beta/models/sim-small:streamGenerateContent"
    array, events = httpx.post(url, json=body), httpx.post(f"{url}?alt=sse", json=body)
    texts = [each["candidates"][0]["content"]["parts"][0]["text"] for each in array.json()]
    assert "".join(texts) == foretold("Explain tides.")
    assert array.headers["content-type"] == "application/json"
    assert events.headers["content-type"].startswith("text/event-stream")
    assert len(events.text.split("\r\n\r\n")) == len(texts) + 1
