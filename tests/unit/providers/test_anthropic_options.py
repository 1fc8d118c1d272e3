"""How Anthropic is asked for a schema, sampled and hinted: what is sent, what is warned of, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from config.catalog import ModelTraits
from tests.support.anthropic_requests import HELLO, NATIVE, WEATHER, build, refusal
from workers.providers.anthropic_request import JSON_INSTRUCTION


def asked(schema: Any, name: str = "song", **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **more}}


@pytest.mark.ability("anthropic", "schema")
def test_a_schema_goes_by_the_apis_own_format_where_the_model_has_it() -> None:
    schema = {"type": "object", "properties": {"genre": {"type": "string"}}, "required": ["genre"]}
    body, warnings = build(response_format=asked(schema, strict=True), tools=[WEATHER], traits=NATIVE)
    closed = {**schema, "additionalProperties": False}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": closed}}
    assert [tool["name"] for tool in body["tools"]] == ["weather"]
    assert warnings == ()


@pytest.mark.ability("anthropic", "schema")
def test_a_schema_goes_by_a_forced_tool_elsewhere() -> None:
    schema = {"type": "object", "properties": {"bpm": {"type": "integer", "minimum": 1}}}
    body, warnings = build(response_format=asked(schema, strict=True))
    tool = {"name": "song", "description": "Gives the final answer.", "input_schema": schema}
    assert body["tools"] == [tool]
    assert body["tool_choice"] == {"type": "tool", "name": "song", "disable_parallel_tool_use": True}
    assert [warning.split(":")[0] for warning in warnings] == ["response_format.json_schema.strict"]


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        (None, ["weather", "song"], {"type": "any"}),
        ("none", ["weather", "song"], {"type": "tool", "name": "song", "disable_parallel_tool_use": True}),
        ("required", ["weather"], {"type": "any"}),
    ],
)
def test_beside_tools_the_answer_is_one_more_of_them(choice: Any, names: list[str], sent: Any) -> None:
    wanted = asked({"type": "object", "properties": {}})
    body, _ = build(response_format=wanted, tools=[WEATHER], tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == names
    assert body["tool_choice"] == sent


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (asked({"type": "object"}, name="weather"), "response_format.json_schema.name"),
        (asked({"type": "array"}), "response_format.json_schema.schema.type"),
    ],
)
def test_a_schema_that_no_tool_can_carry_is_refused(wanted: Any, path: str) -> None:
    assert refusal(tools=[WEATHER], response_format=wanted) == path


def test_a_json_object_is_asked_for_in_words() -> None:
    body, warnings = build(response_format={"type": "json_object"})
    assert body["system"] == [{"type": "text", "text": JSON_INSTRUCTION}]
    assert warnings == ()


@pytest.mark.parametrize(
    ("given_", "sent", "warned"),
    [
        ({"temperature": 0}, {"temperature": 0}, []),
        ({"temperature": 1.5}, {"temperature": 1}, ["temperature"]),
        ({"top_p": 0.5}, {"top_p": 0.5}, []),
        ({"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5}, ["top_p"]),
    ],
)
def test_sampling_is_sent_as_far_as_it_is_taken(given_: Any, sent: Any, warned: list[str]) -> None:
    body, warnings = build(**given_)
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent
    assert [warning.split(":")[0] for warning in warnings] == warned


def test_models_without_sampling_get_an_effort_and_no_temperature() -> None:
    traits = ModelTraits(takes_sampling=False)
    body, warnings = build(temperature=0.5, top_p=1, reasoning_effort="minimal", traits=traits)
    assert body["output_config"] == {"effort": "low"}
    assert not {"temperature", "top_p"} & set(body)
    assert [warning.split(":")[0] for warning in warnings] == ["temperature", "top_p", "reasoning_effort"]
    assert build(reasoning_effort="high", traits=traits)[1] == ()


def test_an_effort_that_the_model_may_not_know_is_warned_of() -> None:
    body, warnings = build(reasoning_effort="high")
    assert "output_config" not in body
    assert warnings[0].startswith("reasoning_effort:")


def test_hints_are_translated_or_named_in_a_warning() -> None:
    body, warnings = build(
        user="u1", service_tier="default", seed=1, presence_penalty=0.5, frequency_penalty=0, n=1,
        logit_bias={"5": 1}, metadata={"a": "b"}, store=False, logprobs=False, modalities=["text"], novelty=1,
    )  # fmt: skip
    assert (body["metadata"], body["service_tier"]) == ({"user_id": "u1"}, "standard_only")
    named = [warning.split(":")[0] for warning in warnings]
    assert named == ["seed", "presence_penalty", "logit_bias", "metadata", "store", "novelty"]


@pytest.mark.parametrize(
    ("given_", "path"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"stop": ["END", "\n"]}, "stop"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_would_change_the_answer_is_refused(given_: Any, path: str) -> None:
    assert refusal(**given_) == path


THINKING = {"thinking": {"type": "enabled", "budget_tokens": 9000}}


def test_a_model_that_is_told_to_think_gets_no_sampling_and_room_for_its_thoughts() -> None:
    body, warnings = build(HELLO, options=THINKING, temperature=0.2, top_p=0.5)
    assert "temperature" not in body and "top_p" not in body and body["max_tokens"] == 9000 + 4096
    assert [warning.split(":")[0] for warning in warnings] == ["temperature", "top_p"]


def test_a_model_that_is_told_to_think_is_not_forced_to_call() -> None:
    body, warnings = build(HELLO, options=THINKING, response_format=asked({"type": "object"}))
    assert body["tool_choice"] == {"type": "auto"} and "cannot force" in warnings[0]
    assert refusal(HELLO, options=THINKING, tools=[WEATHER], tool_choice="required") == "tool_choice"


def test_a_schema_of_endless_depth_is_refused_with_a_path() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        schema = {"type": "array", "items": schema}
    assert refusal(response_format=asked(schema), traits=NATIVE).startswith(
        "response_format.json_schema.schema."
    )
