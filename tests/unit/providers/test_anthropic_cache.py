"""Which prefixes of a request Anthropic is asked to keep in its prompt cache."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from config.catalog import ModelTraits
from workers.core.messages import Call
from workers.providers.anthropic import Anthropic

CHAT = "/v1/chat/completions"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
MARK = {"type": "ephemeral"}
NULLABLE = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}


def build(
    messages: Any, *, traits: ModelTraits | None = None, options: Any = None, **more: Any
) -> dict[str, Any]:
    """The wire body of a chat request."""
    call = Call(CHAT, "claude", {"messages": messages, **more}, options or {}, traits or ModelTraits())
    body: dict[str, Any] = orjson.loads(Anthropic().build_request(call, "key").request.body)
    return body


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def document(text: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": f"data:text/plain;base64,{b64(text)}"}}


def marks(body: dict[str, Any]) -> list[str]:
    """Where `cache_control` stands."""
    found = [
        f"tools[{k}]" for k, tool in enumerate(body.get("tools", ())) if tool.get("cache_control") == MARK
    ]
    found += [f"system[{k}]" for k, text in enumerate(body.get("system", ())) if "cache_control" in text]
    for m, message in enumerate(body["messages"]):
        found += [f"{m}.{k}" for k, block in enumerate(message["content"]) if "cache_control" in block]
    return found


LONG = "a" * 4096
QUESTION = {"type": "text", "text": LONG}


@pytest.mark.parametrize(
    ("tool_words", "system", "parts", "marked"),
    [
        (LONG, ["short", "er"], [document("short"), QUESTION], ["tools[1]", "system[1]", "0.0"]),
        ("short", ["short", LONG], [QUESTION], ["system[1]"]),
        ("short", ["short"], [document("x"), document(LONG), QUESTION], ["0.1"]),
        ("short", ["short"], [QUESTION, document(LONG)], []),
        ("short", ["é" * 2048], [QUESTION], ["system[0]"]),
        ("short", ["a" * 3000], [QUESTION], []),
    ],
)
@pytest.mark.ability("anthropic", "prompt caching")
def test_the_end_of_each_long_stable_prefix_is_marked(
    tool_words: str, system: list[str], parts: list[Any], marked: list[str]
) -> None:
    tool = {"type": "function", "function": {"name": "more", "description": tool_words}}
    messages = [{"role": "system", "content": text} for text in system] + [{"role": "user", "content": parts}]
    body = build(messages, tools=[WEATHER, tool], traits=ModelTraits(min_cached_tokens=1024))
    assert marks(body) == marked
    assert marks(build(messages, tools=[WEATHER, tool])) == []


@pytest.mark.ability("anthropic", "prompt caching")
def test_a_pdf_counts_by_its_pages() -> None:
    pdf = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 250_000}}
    messages = [{"role": "user", "content": [pdf, QUESTION]}]
    assert marks(build(messages, traits=ModelTraits(min_cached_tokens=4096))) == ["0.0"]
    assert marks(build(messages, traits=ModelTraits(min_cached_tokens=5000))) == []


@pytest.mark.parametrize(
    "options",
    [
        {"cache_control": None},
        {"cache_control": MARK},
        {"system": [{"type": "text", "text": "own", "cache_control": MARK}]},
    ],
)
@pytest.mark.ability("anthropic", "prompt caching")
def test_who_says_anything_of_cache_control_places_the_marks(options: Any) -> None:
    messages = [{"role": "system", "content": LONG}, {"role": "user", "content": [document(LONG), QUESTION]}]
    body = build(messages, options=options, traits=ModelTraits(min_cached_tokens=1024))
    expected = {name: value for name, value in options.items() if value is not None}
    assert {name: body.get(name) for name in expected} == expected
    assert marks(body) == (["system[0]"] if "system" in options else [])


def test_a_full_request_is_left_as_it_was() -> None:
    parts = [document(LONG), QUESTION]
    body = {
        "messages": [{"role": "system", "content": LONG}, {"role": "user", "content": parts}],
        "tools": [WEATHER],
        "response_format": {"type": "json_schema", "json_schema": {"name": "song", "schema": NULLABLE}},
    }
    before = orjson.dumps(body)
    for native in (False, True):
        traits = ModelTraits(min_cached_tokens=1, native_schema=native)
        Anthropic().build_request(Call(CHAT, "claude", body, {"metadata": {}}, traits), "key")
        assert orjson.dumps(body) == before
