"""Anthropic's official SDK as referee: the simulator speaks the Messages API, plain and streamed."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from app.simulator.answers import answer_text
from app.simulator.usage import count_tokens
from tests.support.late import Late
from tests.support.simulator import Simulator

if TYPE_CHECKING:
    import anthropic
    from anthropic import AsyncAnthropic
else:
    anthropic = Late("anthropic")

pytestmark = pytest.mark.compat
SEED = 7
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"name": "get_weather", "description": "Weather of a city", "input_schema": CITY},
    {"name": "get_time", "input_schema": CITY},
]
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[AsyncAnthropic]:
    """The SDK, which refuses any reply that is not exactly of the shape it knows."""
    async with anthropic.AsyncAnthropic(
        base_url=simulator.url,
        api_key="sk-any",
        max_retries=0,
        timeout=20,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=False),  # it speaks without TLS
        _strict_response_validation=True,
    ) as sdk:
        yield sdk


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def asked(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "sim-small", "max_tokens": 300, "messages": user(content), **more}


async def test_an_answer_is_the_one_foretold_for_every_dialect(client: AsyncAnthropic) -> None:
    reply = await client.messages.create(**asked("Explain tides.", system="Be brief."))
    plain = [{"role": "system", "content": "Be brief."}, *user("Explain tides.")]
    expected = answer_text("sim-small", plain, SEED)
    (block,) = reply.content
    assert block.type == "text" and block.text == expected
    assert reply.stop_reason == "end_turn" and reply.stop_sequence is None
    assert reply.usage.output_tokens == count_tokens(expected)
    assert reply.usage.cache_creation_input_tokens == reply.usage.cache_read_input_tokens == 0
    assert reply._request_id and reply._request_id.startswith("req_")
    in_blocks = asked(
        [{"type": "text", "text": "Explain tides."}], system=[{"type": "text", "text": "Be brief."}]
    )
    assert (await client.messages.create(**in_blocks)).content == reply.content


async def test_a_stream_adds_up_to_the_same_message(client: AsyncAnthropic) -> None:
    plain = await client.messages.create(**asked("Explain tides to a sailor."))
    async with client.messages.stream(**asked("Explain tides to a sailor.")) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert [block.model_dump() for block in plain.content] == [
        block.model_dump(exclude={"parsed_output"}) for block in final.content
    ]
    assert (final.usage, final.stop_reason) == (plain.usage, plain.stop_reason)
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_a_stream_tells_its_input_first_and_its_output_last(client: AsyncAnthropic) -> None:
    events = [event async for event in await client.messages.create(**asked("Hello"), stream=True)]
    first, last = events[0], events[-2]
    assert first.type == "message_start" and first.message.stop_reason is None
    assert first.message.usage.input_tokens > 0
    assert last.type == "message_delta" and last.usage.output_tokens > first.message.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_any_tool_means_two_calls_at_once_unless_parallel_use_is_disabled(
    client: AsyncAnthropic, stream: bool
) -> None:
    for choice, count in (({"type": "any"}, 2), ({"type": "any", "disable_parallel_tool_use": True}, 1)):
        request = asked("Weather in Oslo?", tools=TOOLS, tool_choice=choice)
        if stream:
            async with client.messages.stream(**request) as events:
                reply: Any = await events.get_final_message()
        else:
            reply = await client.messages.create(**request)
        assert reply.stop_reason == "tool_use"
        assert len({block.id for block in reply.content}) == len(reply.content) == count
        assert len({block.name for block in reply.content}) == count
        for block in reply.content:
            jsonschema_rs.validate(CITY, block.input)


async def test_a_named_tool_is_called_and_none_is_not(client: AsyncAnthropic) -> None:
    named: Any = {"type": "tool", "name": "get_time"}
    (call,) = (await client.messages.create(**asked("Now?", tools=TOOLS, tool_choice=named))).content
    assert call.type == "tool_use" and call.name == "get_time"
    for choice in ({"type": "none"}, {"type": "auto"}):
        reply = await client.messages.create(**asked("Now?", tools=TOOLS, tool_choice=choice))
        assert [block.type for block in reply.content] == ["text"]


async def test_results_of_all_calls_lead_to_an_answer_and_a_missing_one_is_refused(
    client: AsyncAnthropic,
) -> None:
    any_tool: Any = {"type": "any"}
    called = await client.messages.create(**asked("Weather?", tools=TOOLS, tool_choice=any_tool))
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "12 C"}
        for block in called.content
        if block.type == "tool_use"
    ]
    turns = [*user("Weather?"), called.to_param(), *user(results)]
    reply = await client.messages.create(**{**asked("x", tools=TOOLS), "messages": turns})
    assert reply.stop_reason == "end_turn"
    with pytest.raises(anthropic.BadRequestError, match="without `tool_result` blocks immediately after"):
        await client.messages.create(
            **{**asked("x", tools=TOOLS), "messages": [*turns[:2], *user(results[:1])]}
        )


async def test_an_output_format_is_answered_with_json_valid_for_it(client: AsyncAnthropic) -> None:
    wanted: Any = {"format": {"type": "json_schema", "schema": CITY}}
    reply = await client.messages.create(**asked("Where?", output_config=wanted))
    (block,) = reply.content
    assert block.type == "text"
    jsonschema_rs.validate(CITY, json.loads(block.text))
    open_object: Any = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        await client.messages.create(**asked("Where?", output_config=open_object))


async def test_images_and_documents_are_seen_and_paid(client: AsyncAnthropic) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    pages = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A page."}}
    text = {"type": "text", "text": "What is this?"}
    replies = [
        await client.messages.create(**asked(parts)) for parts in ([text], [image, text], [pages, text])
    ]
    assert replies[1].usage.input_tokens - replies[0].usage.input_tokens == 85
    assert replies[2].usage.input_tokens - replies[0].usage.input_tokens == 2
    assert len({reply.content[0].model_dump_json() for reply in replies}) == 3


async def test_thinking_comes_first_signed_and_is_paid_as_output(client: AsyncAnthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    request = asked("Why?", thinking=thinking, max_tokens=2000)
    reply = await client.messages.create(**request)
    thought, answer = reply.content
    assert thought.type == "thinking" and thought.thinking and thought.signature
    assert answer.type == "text"
    assert reply.usage.output_tokens == count_tokens(thought.thinking) + count_tokens(answer.text)
    async with client.messages.stream(**request) as stream:
        assert (await stream.get_final_message()).content[0] == thought


async def test_a_stop_sequence_and_a_cap_end_the_answer_and_say_so(client: AsyncAnthropic) -> None:
    stopped = await client.messages.create(**asked("Explain tides.", stop_sequences=["note"]))
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "note")
    cut = await client.messages.create(**asked("Explain tides.", max_tokens=3))
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)


async def test_a_marked_prefix_is_written_once_and_read_from_then_on(client: AsyncAnthropic) -> None:
    control = {"type": "ephemeral"}
    long = [{"type": "text", "text": f"{uuid.uuid4()} " + "rule " * 1000, "cache_control": control}]
    first, again, longer = [
        (await client.messages.create(**asked(content, system=long))).usage
        for content in ("one", "other", [{"type": "text", "text": "more " * 99, "cache_control": control}])
    ]
    written = first.cache_creation_input_tokens
    assert written and written >= 1024 and first.cache_read_input_tokens == 0
    assert first.cache_creation and first.cache_creation.ephemeral_5m_input_tokens == written
    assert (again.cache_creation_input_tokens, again.cache_read_input_tokens) == (0, written)
    assert longer.cache_read_input_tokens == written and longer.cache_creation_input_tokens
    assert longer.input_tokens == 0
    short = [{"type": "text", "text": "rule", "cache_control": control}]
    assert (await client.messages.create(**asked("x", system=short))).usage.cache_creation_input_tokens == 0


async def test_tokens_are_counted_before_a_call_as_the_call_counts_them(client: AsyncAnthropic) -> None:
    request = asked("How much is this?", system="Be brief.", tools=TOOLS)
    reply = await client.messages.create(**request)
    del request["max_tokens"]
    assert (await client.messages.count_tokens(**request)).input_tokens == reply.usage.input_tokens


async def test_models_are_listed_and_found(client: AsyncAnthropic) -> None:
    assert [model.id async for model in client.models.list()] == ["sim-small", "sim-large"]
    assert (await client.models.retrieve("sim-large")).display_name == "sim-large"
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("claude-unknown")


@pytest.mark.parametrize(
    ("status", "raised", "kind"),
    [
        (400, "BadRequestError", "invalid_request_error"),
        (401, "AuthenticationError", "authentication_error"),
        (403, "PermissionDeniedError", "permission_error"),
        (404, "NotFoundError", "not_found_error"),
        (413, "RequestTooLargeError", "request_too_large"),
        (429, "RateLimitError", "rate_limit_error"),
        (500, "InternalServerError", "api_error"),
        (529, "OverloadedError", "overloaded_error"),
    ],
)
async def test_an_injected_status_is_the_sdks_own_exception(
    client: AsyncAnthropic, status: int, raised: str, kind: str
) -> None:
    with pytest.raises(getattr(anthropic, raised)) as caught:
        await client.messages.create(**asked("x"), extra_headers={"x-sim-fault": f"status={status}"})
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert isinstance(caught.value.body, dict) and caught.value.body["request_id"] == caught.value.request_id


async def test_an_unknown_model_is_not_found(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model: claude-9"):
        await client.messages.create(**{**asked("x"), "model": "claude-9"})


async def test_the_sdks_own_retries_get_through_a_429_and_a_529(
    client: AsyncAnthropic, simulator: Simulator
) -> None:
    prompt = f"[[sim:status=529,retry-after-ms=1,times=1]] {uuid.uuid4()}"
    patient = client.with_options(max_retries=2)
    reply = await patient.messages.create(**asked(prompt))
    limited = f"[[sim:status=429,retry-after-ms=1,times=2]] {uuid.uuid4()}"
    other = await patient.messages.create(**asked(limited))
    calls = {call["request_id"]: call for call in simulator.calls()}
    assert reply._request_id and other._request_id
    for request_id, expected in ((reply._request_id, [529, 200]), (other._request_id, [429, 429, 200])):
        answered = calls[request_id]
        assert (answered["provider"], answered["endpoint"]) == ("anthropic", "/v1/messages")
        same = [call for call in calls.values() if call["prompt_hash"] == answered["prompt_hash"]]
        assert [call["status"] for call in same] == expected
