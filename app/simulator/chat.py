"""Chat in every dialect: the checked request, how it is answered, and what that costs. Pure.

A dialect reads its own body into `ChatRequest` (messages, tools and images in OpenAI's shape) and writes
`ChatAnswer` out. Which tools are called is decided here, by `chosen_tools`, for all of them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from blake3 import blake3

from app.simulator.answers import answer_text, prompt_digest, thinking_text
from app.simulator.errors import ApiError
from app.simulator.schema import SchemaError, value_for
from app.simulator.usage import count_tokens, cut_to_tokens, prompt_tokens

MAX_TOOL_CALLS = 16
_PADDING = " and so on"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request. `schema` is set where JSON of a schema is wanted, `calls` where tools must be called."""

    model: str
    messages: tuple[dict[str, Any], ...]
    stream: bool = False
    include_usage: bool = False  # OpenAI: the stream ends with the usage
    choices: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    wants_json: bool = False
    schema: Any = None
    tools: tuple[Any, ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()  # of `tools`, in the order of the calls
    tool_was_named: bool = False
    thinks: bool = False  # thinking goes before the answer and is paid as output


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; `arguments` is JSON text valid for its schema."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: text, or calls of tools (then `text` is None)."""

    text: str | None
    finish_reason: str  # in OpenAI's words: stop, length or tool_calls
    calls: tuple[ToolCall, ...] = ()
    stopped_by: str | None = None  # the stop sequence that ended it
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """All choices, and what they cost. `completion_tokens` holds `reasoning_tokens`, those of the thinking."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0


def answer_chat(request: ChatRequest, seed: int, least_bytes: int = 0) -> ChatAnswer:
    """Answer each choice k under seed + k.

    Args:
        least_bytes: pad text answers to this size (the `huge` fault).
    Raises: ApiError 400 for a schema no value can be made for.
    """
    choices = tuple(_choice(request, seed + k, least_bytes) for k in range(request.choices))
    spent = thought = 0
    for each in choices:
        spent += count_tokens(each.text or "")
        spent += sum(count_tokens(call.arguments) for call in each.calls)
        thought += count_tokens(each.thinking)
    paid = prompt_tokens(request.messages, request.tools, request.schema)
    return ChatAnswer(choices, paid, spent + thought, thought)


def chosen_tools(
    tools: Sequence[Mapping[str, Any]],
    named: str | None,
    *,
    required: bool,
    parallel: bool,
    wanted: int | None,
    digest: bytes,
) -> tuple[Mapping[str, Any], ...]:
    """The tools that an answer calls, none when it is text.

    A request that requires some tool and brings several gets calls of two different ones, if it allows
    parallel calls; one that names a tool gets one call of it; one that leaves the choice gets text. A marker
    `[[sim:tools=3]]` asks for that many calls instead, whatever the choice (a request that forbids tools has
    none here): the tools take turns.

    Args:
        named: the tool that the request insists on.
        wanted: what the marker asks for.
        digest: of the prompt; draws which tool is first.
    """
    if not tools:
        return ()
    if named is not None:
        tools = [tool for tool in tools if tool["function"]["name"] == named]
    calls = wanted
    if calls is None:
        calls = 0 if not (required or named) else min(2, len(tools))
    if not parallel:
        calls = min(calls, 1)
    return tuple(tools[(digest[0] + k) % len(tools)] for k in range(calls))


def _choice(request: ChatRequest, seed: int, least_bytes: int) -> Choice:
    thinking = thinking_text(request.model, request.messages, seed) if request.thinks else ""
    if request.calls:
        calls = tuple(_called(tool, request, seed, k) for k, tool in enumerate(request.calls))
        return Choice(None, "stop" if request.tool_was_named else "tool_calls", calls, thinking=thinking)
    if request.schema is not None:
        text = made_json(request.schema, request, seed, "response_format")
    else:
        text = answer_text(request.model, request.messages, seed)
        if least_bytes > len(text):
            text += _PADDING * (1 + (least_bytes - len(text)) // len(_PADDING))
        if request.wants_json:
            text = orjson.dumps({"answer": text}).decode()
    stopped_by = None
    for stop in request.stop:
        before, found, _ = text.partition(stop)
        if found:
            text, stopped_by = before, stop
    if request.max_tokens is not None and count_tokens(thinking) + count_tokens(text) > request.max_tokens:
        thinking = cut_to_tokens(thinking, request.max_tokens)
        text = cut_to_tokens(text, request.max_tokens - count_tokens(thinking))
        return Choice(text, "length", thinking=thinking)
    return Choice(text, "stop", stopped_by=stopped_by, thinking=thinking)


def _called(tool: Mapping[str, Any], request: ChatRequest, seed: int, index: int) -> ToolCall:
    function = tool["function"]
    parameters = function.get("parameters") or {"type": "object"}
    return ToolCall(function["name"], made_json(parameters, request, seed, "tools", index))


def made_json(schema: Any, request: ChatRequest, seed: int, param: str, index: int = 0) -> str:
    """JSON text valid for a schema.

    Args:
        param: where the schema stands in the request, for the refusal.
        index: which of several calls, so that two calls of one tool differ.
    Raises: ApiError 400 invalid_json_schema.
    """
    digest = prompt_digest(request.model, request.messages, seed)
    if index:
        digest += index.to_bytes(4, "big")
    try:
        # The schema is in the draw as well: one prompt under two schemas should not look alike by chance.
        drawn = blake3(digest + orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).digest()
        return orjson.dumps(value_for(schema, drawn)).decode()
    except (SchemaError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        # A malformed schema fails in as many ways as it can be malformed; each is the caller's mistake.
        raise ApiError(
            400, f"Invalid schema for {param}: {error}", param=param, code="invalid_json_schema"
        ) from error
