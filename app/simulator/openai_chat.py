"""OpenAI's chat completions: read a body as strictly as the provider does. Pure.

`read_chat` -> `chat.ChatRequest`; openai_replies.py puts the answer into JSON or events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.simulator import checks
from app.simulator.answers import prompt_digest
from app.simulator.chat import ChatRequest, chosen_tools
from app.simulator.errors import ApiError
from app.simulator.models import CHAT, model_for
from app.simulator.usage import texts_of

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


def read_chat(body: Mapping[str, Any], *, all_models: bool, tool_calls: int | None = None) -> ChatRequest:
    """Check a body.

    Args:
        tool_calls: what a marker asks for, see `chat.chosen_tools`.
    Raises: ApiError for whatever the provider would refuse.
    """
    model = model_for(body, CHAT, all_models=all_models)
    messages = _messages(body)
    for param, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("presence_penalty", -2, 2)):
        checks.decimal(body, param, low, high)
    stream = checks.flag(body, "stream")
    wants_json, schema = _response_format(body, messages)
    tools = tools_in(body)
    named, calls = _calls(body, tools, model, messages, tool_calls)
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
        calls=calls,
        tool_was_named=named,
        thinks=thinks(body.get("reasoning_effort"), "reasoning_effort"),
    )


def thinks(effort: object, param: str) -> bool:
    """Whether an effort asks for thinking; the simulator thinks only when asked to.

    Raises: ApiError 400 for an effort nobody knows.
    """
    if effort is None:
        return False
    if effort not in _EFFORTS:
        raise checks.wrong_value(param, effort, _EFFORTS)
    return effort not in ("none", "minimal")


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


def tools_in(body: Mapping[str, Any]) -> tuple[Any, ...]:
    """The tools of a body, each a function with a name.

    Raises: ApiError 400.
    """
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


def _calls(
    body: Mapping[str, Any],
    tools: tuple[Any, ...],
    model: str,
    messages: tuple[dict[str, Any], ...],
    wanted: int | None,
) -> tuple[bool, tuple[Mapping[str, Any], ...]]:
    """Whether the request names a tool, and the tools to call."""
    choice = body.get("tool_choice")
    checks.flag(body, "parallel_tool_calls")
    if choice == "none" or (choice in (None, "auto") and (wanted is None or not tools)):
        return False, ()
    if not tools:
        raise ApiError(
            400,
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )
    named = None if choice in (None, "auto", "required") else _named(choice, tools)
    calls = chosen_tools(
        tools,
        named,
        required=choice == "required",
        parallel=body.get("parallel_tool_calls") is not False,
        wanted=wanted,
        digest=prompt_digest(model, messages, 0),
    )
    return named is not None, calls


def _named(choice: Any, tools: tuple[Any, ...]) -> str:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if isinstance(name, str) and any(tool["function"]["name"] == name for tool in tools):
        return name
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
