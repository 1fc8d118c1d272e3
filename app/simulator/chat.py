"""Chat completions: read a body as strictly as the provider does, and answer it. Pure.

`read_chat` -> `ChatRequest` -> `answer_chat` -> `ChatAnswer`; replies.py puts the answer into JSON or events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from blake3 import blake3

from app.simulator import checks
from app.simulator.answers import answer_text, prompt_digest
from app.simulator.errors import ApiError
from app.simulator.models import CHAT, model_for
from app.simulator.schema import SchemaError, value_for
from app.simulator.usage import count_tokens, cut_to_tokens, prompt_tokens, texts_of

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_PADDING = " and so on"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request. `schema` is set for json_schema, `tool` for a call the request forces."""

    model: str
    messages: tuple[dict[str, Any], ...]
    stream: bool
    include_usage: bool
    choices: int
    max_tokens: int | None
    stop: tuple[str, ...]
    wants_json: bool
    schema: Any
    tools: tuple[Any, ...]
    tool: Mapping[str, Any] | None
    tool_was_named: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: text, or the arguments of the tool that was called."""

    text: str | None
    tool_name: str | None
    tool_arguments: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """All choices, and what they cost."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int


def read_chat(body: Mapping[str, Any], *, all_models: bool) -> ChatRequest:
    """Check a body.

    Raises: ApiError for whatever the provider would refuse.
    """
    model = model_for(body, CHAT, all_models=all_models)
    messages = _messages(body)
    for param, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("presence_penalty", -2, 2)):
        checks.decimal(body, param, low, high)
    stream = checks.flag(body, "stream")
    wants_json, schema = _response_format(body, messages)
    tools = _tools(body)
    tool, named = _forced_tool(body, tools, prompt_digest(model, messages, 0))
    cap = checks.whole_number(body, "max_completion_tokens", 1, 1_000_000)
    old_cap = checks.whole_number(body, "max_tokens", 1, 1_000_000)
    return ChatRequest(
        model=model,
        messages=messages,
        stream=stream,
        include_usage=_include_usage(body, stream),
        choices=checks.whole_number(body, "n", 1, 128) or 1,
        max_tokens=cap if cap is not None else old_cap,
        stop=_stop(body),
        wants_json=wants_json,
        schema=schema,
        tools=tools,
        tool=tool,
        tool_was_named=named,
    )


def answer_chat(request: ChatRequest, seed: int, least_bytes: int = 0) -> ChatAnswer:
    """Answer each choice k under seed + k.

    Args:
        least_bytes: pad text answers to this size (the `huge` fault).
    Raises: ApiError 400 for a schema no value can be made for.
    """
    choices = tuple(_choice(request, seed + k, least_bytes) for k in range(request.choices))
    spent = sum(count_tokens(each.text or "") + count_tokens(each.tool_arguments) for each in choices)
    return ChatAnswer(choices, prompt_tokens(request.messages, request.tools, request.schema), spent)


def _choice(request: ChatRequest, seed: int, least_bytes: int) -> Choice:
    if request.tool is not None:
        function = request.tool["function"]
        made = _made(function.get("parameters") or {"type": "object"}, request, seed, "tools")
        reason = "stop" if request.tool_was_named else "tool_calls"
        return Choice(None, function["name"], made, reason)
    if request.schema is not None:
        text = _made(request.schema, request, seed, "response_format")
    else:
        text = answer_text(request.model, request.messages, seed)
        if least_bytes > len(text):
            text += _PADDING * (1 + (least_bytes - len(text)) // len(_PADDING))
        if request.wants_json:
            text = orjson.dumps({"answer": text}).decode()
    for stop in request.stop:
        text = text.partition(stop)[0]
    if request.max_tokens is not None and count_tokens(text) > request.max_tokens:
        return Choice(cut_to_tokens(text, request.max_tokens), None, "", "length")
    return Choice(text, None, "", "stop")


def _made(schema: Any, request: ChatRequest, seed: int, param: str) -> str:
    """JSON text valid for a schema."""
    digest = prompt_digest(request.model, request.messages, seed)
    try:
        # The schema is in the draw as well: one prompt under two schemas should not look alike by chance.
        drawn = blake3(digest + orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).digest()
        return orjson.dumps(value_for(schema, drawn)).decode()
    except (SchemaError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        # A malformed schema fails in as many ways as it can be malformed; each is the caller's mistake.
        raise ApiError(
            400, f"Invalid schema for {param}: {error}", param=param, code="invalid_json_schema"
        ) from error


def _messages(body: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    messages = body.get("messages")
    if messages is None:
        raise checks.missing("messages")
    if not isinstance(messages, list):
        raise checks.wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise ApiError(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty "
            "array instead.",
            param="messages",
            code="empty_array",
        )
    for k, message in enumerate(messages):
        at = f"messages[{k}]"
        if not isinstance(message, dict):
            raise checks.wrong_type(at, "an object", message)
        if "role" not in message:
            raise checks.missing(f"{at}.role")
        if message["role"] not in _ROLES:
            raise checks.wrong_value(f"{at}.role", message["role"], _ROLES)
        content = message.get("content")
        if content is None and message["role"] != "assistant":
            raise checks.missing(f"{at}.content")
        if not isinstance(content, str | list | None):
            raise checks.wrong_type(f"{at}.content", "one of a string or array of objects", content)
    return tuple(messages)


def _response_format(body: Mapping[str, Any], messages: tuple[dict[str, Any], ...]) -> tuple[bool, Any]:
    wanted = body.get("response_format")
    if wanted is None:
        return False, None
    if not isinstance(wanted, dict):
        raise checks.wrong_type("response_format", "an object", wanted)
    kind = wanted.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise checks.wrong_value("response_format.type", kind, ("json_object", "json_schema", "text"))
    if kind == "json_object" and not any("json" in text.lower() for text in texts_of(messages)):
        raise ApiError(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            param="messages",
        )
    if kind != "json_schema":
        return kind == "json_object", None
    for name in ("json_schema", "name", "schema"):
        inner = wanted if name == "json_schema" else wanted["json_schema"]
        if not isinstance(inner, dict) or inner.get(name) is None:
            raise checks.missing(
                "response_format.json_schema" + ("" if name == "json_schema" else f".{name}")
            )
    return True, wanted["json_schema"]["schema"]


def _tools(body: Mapping[str, Any]) -> tuple[Any, ...]:
    tools = body.get("tools")
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise checks.wrong_type("tools", "an array of objects", tools)
    for k, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise checks.wrong_type(f"tools[{k}]", "an object", tool)
        if tool.get("type") != "function":
            raise checks.wrong_value(f"tools[{k}].type", tool.get("type"), ("function",))
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise checks.missing(f"tools[{k}].function.name")
    return tuple(tools)


def _forced_tool(
    body: Mapping[str, Any], tools: tuple[Any, ...], digest: bytes
) -> tuple[Mapping[str, Any] | None, bool]:
    """The tool that must be called, and whether the request named it; (None, False) when text will do."""
    choice = body.get("tool_choice")
    if choice in (None, "none", "auto"):
        return None, False
    if not tools:
        raise ApiError(
            400,
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )
    if choice == "required":
        return tools[digest[0] % len(tools)], False
    named = choice.get("function") if isinstance(choice, dict) else None
    name = named.get("name") if isinstance(named, dict) else None
    for tool in tools:
        if name is not None and tool["function"]["name"] == name:
            return tool, True
    if isinstance(choice, dict):
        raise ApiError(400, f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
    raise checks.wrong_value("tool_choice", choice, ("none", "auto", "required"))


def _include_usage(body: Mapping[str, Any], stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise ApiError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if not isinstance(options, dict):
        raise checks.wrong_type("stream_options", "an object", options)
    return checks.flag(options, "include_usage")


def _stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    if stop is None:
        return ()
    listed = [stop] if isinstance(stop, str) else stop
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise checks.wrong_type("stop", "one of a string or array of strings", stop)
    return tuple(each for each in listed if each)
