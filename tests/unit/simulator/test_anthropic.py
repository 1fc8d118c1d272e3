"""Anthropic's dialect: what it refuses and in which words, and what its cache has of a prompt."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.config import SimulatorConfig
from app.simulator.dialect import Inbound
from app.simulator.simulation import Plan, Simulation
from tests.unit.simulator.bodies import sent

pytestmark = pytest.mark.fast
PATH = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
CONTROL = {"type": "ephemeral"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
USED = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def body(**more: Any) -> dict[str, Any]:
    return {"model": "sim-small", "max_tokens": 50, "messages": [user("hi")], **more}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [user("")]}, "messages.0: all messages must have non-empty content"),
        ({"messages": [user([{"type": "text", "text": ""}])]}, "text content blocks must be non-empty"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role: Input should be"),
        ({"messages": [{**user("x"), "name": "y"}]}, "messages.0.name: Extra inputs are not permitted"),
        ({"messages": [user("x"), {"role": "assistant", "content": "so "}]}, "trailing whitespace"),
        ({"response_format": {}}, "response_format: Extra inputs are not permitted"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.0.custom.name"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.custom.input_schema.type"),
        ({"tools": [TOOL, TOOL]}, "Tool names must be unique"),
        ({"tool_choice": {"type": "any"}}, "may only be specified while providing tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "b"}}, "Tool 'b' not found"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
        ({"thinking": {"type": "adaptive"}, "temperature": 0}, "`temperature` may only be set to 1"),
        (
            {"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": {"type": "any"}},
            "Thinking may not be enabled",
        ),
        ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "long"}}]}, "'ephemeral'"),
        (
            {"messages": [user([{"type": "text", "text": "x", "cache_control": CONTROL}] * 5)]},
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        ({"messages": [user([RESULT])]}, "messages.0.content.0: unexpected `tool_use_id` found"),
        (
            {"messages": [user("x"), {"role": "assistant", "content": [USED]}, user("y")]},
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1",
        ),
        (
            {"messages": [user("x"), {"role": "assistant", "content": [USED]}]},
            "messages.1: `tool_use` ids were found without",
        ),
        (
            {
                "messages": [
                    user([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp"}}])
                ]
            },
            "messages.0.content.0.image.source.base64.media_type",
        ),
        ({"messages": [user([{"type": "video"}])]}, "Input tag 'video' found"),
    ],
)
def test_a_wrong_request_is_refused_with_the_path_of_what_is_wrong(
    changed: dict[str, Any], message: str
) -> None:
    plan = sent(PATH, body(**changed), VERSION)
    error = orjson.loads(plan.body)["error"]
    assert (plan.status, error["type"]) == (400, "invalid_request_error")
    assert message in error["message"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {}}, "'additionalProperties' must be explicitly set to false"),
        ({"type": "integer", "minimum": 1}, "For 'integer' type, properties minimum are not supported"),
        ({"anyOf": [{"type": "string", "maxLength": 3}]}, "schema.anyOf.0: For 'string' type"),
        ({"type": "array", "items": {}, "minItems": 2}, "'minItems' values other than 0 or 1"),
        ({"$ref": "https://a.example/s"}, "External '$ref' is not supported"),
        (
            {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}},
            "Recursive schemas are not supported",
        ),
    ],
)
def test_a_schema_beyond_the_published_limits_is_refused_by_keyword(schema: Any, words: str) -> None:
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    plan = sent(PATH, body(output_config=wanted), VERSION)
    assert plan.status == 400 and words in orjson.loads(plan.body)["error"]["message"]


def test_a_request_without_a_version_is_refused() -> None:
    plan = sent(PATH, body(), {})
    assert plan.status == 400 and "anthropic-version" in orjson.loads(plan.body)["error"]["message"]


def test_no_output_tokens_warm_the_cache_without_an_answer() -> None:
    system = [{"type": "text", "text": "rule " * 2000, "cache_control": CONTROL}]
    plan = sent(PATH, body(max_tokens=0, system=system), VERSION)
    reply = orjson.loads(plan.body)
    assert (reply["content"], reply["stop_reason"]) == ([], "max_tokens")
    assert plan.completion_tokens == 0 and plan.cache_write_tokens == 2504


TEXTS = st.sampled_from(["rule " * 900, "other " * 800, "short", "x"])
BLOCKS = st.lists(st.tuples(TEXTS, st.sampled_from([None, "5m", "1h"])), min_size=1, max_size=4)


def marked(blocks: list[tuple[str, str | None]]) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": text, **({"cache_control": {**CONTROL, "ttl": ttl}} if ttl else {})}
        for text, ttl in blocks
    ]


@given(st.lists(BLOCKS, min_size=1, max_size=4))
def test_read_written_and_plain_input_add_up_and_a_repeat_writes_nothing(
    prompts: list[list[tuple[str, str | None]]],
) -> None:
    simulation = Simulation(SimulatorConfig(), instance="ab")

    def asked(blocks: list[tuple[str, str | None]]) -> tuple[Plan, dict[str, Any]]:
        request = orjson.dumps(body(messages=[user(marked(blocks))]))
        plan = simulation.decide(Inbound("POST", PATH, request, VERSION), now=0.0, unix_s=0)
        return plan, orjson.loads(plan.body)["usage"]

    for blocks in prompts:
        plan, usage = asked(blocks)
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        assert usage["input_tokens"] + read + written == plan.prompt_tokens
        assert (read, written) == (plan.cached_tokens, plan.cache_write_tokens)
        assert sum(usage["cache_creation"].values()) == written
        assert usage["input_tokens"] >= 0
        _, again = asked(blocks)
        assert again["cache_creation_input_tokens"] == 0
        assert again["cache_read_input_tokens"] == read + written


def test_a_refused_call_writes_nothing_to_the_cache() -> None:
    simulation = Simulation(SimulatorConfig(), instance="ab")
    system = [{"type": "text", "text": "rule " * 2000, "cache_control": CONTROL}]
    request = orjson.dumps(body(system=system))
    faulty = Inbound("POST", PATH, request, {**VERSION, "x-sim-fault": "status=529"})
    assert simulation.decide(faulty, now=0.0, unix_s=0).status == 529
    first = simulation.decide(Inbound("POST", PATH, request, VERSION), now=0.0, unix_s=0)
    assert (first.cached_tokens, first.cache_write_tokens) == (0, 2504)
