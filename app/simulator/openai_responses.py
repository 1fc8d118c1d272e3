"""OpenAI's responses: read a body and price it; openai_response_replies.py writes the answer. Pure.

The body is brought into a chat body, so that both endpoints answer one prompt alike, and read as that. Nothing is
stored here: `previous_response_id` and `conversation` refer to what no simulator has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from app.simulator import checks
from app.simulator.chat import ChatAnswer, ChatRequest, answer_chat
from app.simulator.dialect import SSE, Reply, Stamp, Terms, Work
from app.simulator.errors import ApiError
from app.simulator.openai_cache import cached_tokens
from app.simulator.openai_chat import read_chat
from app.simulator.openai_response_replies import response_events, response_reply

_FIELDS = frozenset((
    "background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens",
    "max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id", "prompt",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p", "truncation", "user", "verbosity",
))  # fmt: skip
_LEAST_OUTPUT_TOKENS = 16


def responses(body: Mapping[str, Any], terms: Terms) -> Work:
    """POST /responses.

    Raises: ApiError for whatever the provider would refuse.
    """
    _check_names(body)
    cap = checks.whole_number(body, "max_output_tokens", _LEAST_OUTPUT_TOKENS, 1_000_000)
    chat = {
        "model": body.get("model"),
        "messages": [*_instructions(body), *_messages(body.get("input"))],
        "stream": body.get("stream"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "max_completion_tokens": cap,
        "parallel_tool_calls": body.get("parallel_tool_calls"),
        "reasoning_effort": _effort(body),
        "response_format": _format(body),
        "tools": _tools(body),
        "tool_choice": _tool_choice(body),
    }
    request = read_chat(chat, all_models=terms.all_models, tool_calls=terms.tool_calls)
    answer = answer_chat(request, terms.seed, terms.huge_bytes)
    cached, keep = cached_tokens(request, answer, terms)
    return Work(
        request.model,
        answer.prompt_tokens,
        answer.completion_tokens,
        partial(_write, body, request, answer, cached, keep),
        stream=request.stream,
        cached_tokens=cached,
    )


def _write(
    body: Mapping[str, Any],
    request: ChatRequest,
    answer: ChatAnswer,
    cached: int,
    keep: Callable[[], None],
    stamp: Stamp,
) -> Reply:
    keep()
    if request.stream:
        return Reply(events=response_events(body, request, answer, cached, stamp), content_type=SSE)
    return Reply(orjson.dumps(response_reply(body, request, answer, cached, stamp)))


def _check_names(body: Mapping[str, Any]) -> None:
    if "messages" in body:
        message = (
            "Unsupported parameter: 'messages'. In the Responses API, this parameter has moved to 'input'."
        )
        raise ApiError(400, message, param="messages", code="unsupported_parameter")
    unknown = set(body) - _FIELDS
    if unknown:
        name = min(unknown)
        raise ApiError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    for name in ("previous_response_id", "conversation"):
        if body.get(name) is not None:
            message = f"{name} refers to nothing: the simulator stores no responses."
            raise ApiError(400, message, param=name, code="previous_response_not_found")


def _instructions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = body.get("instructions")
    if given is None:
        return []
    if not isinstance(given, str):
        raise checks.wrong_type("instructions", "a string", given)
    return [{"role": "system", "content": given}]


def _messages(given: object) -> list[dict[str, Any]]:
    """The input as chat messages; every function call in it must have its output."""
    if given is None:
        raise checks.missing("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise checks.wrong_type("input", "one of a string or array of input items", given)
    messages: list[dict[str, Any]] = []
    for k, item in enumerate(given):
        if not isinstance(item, dict):
            raise checks.wrong_type(f"input[{k}]", "an object", item)
        _add(messages, item, f"input[{k}]")
    answered = {message.get("tool_call_id") for message in messages}
    for call in (call for message in messages for call in message.get("tool_calls", ())):
        if call["id"] not in answered:
            raise ApiError(400, f"No tool output found for function call {call['id']}.", param="input")
    return messages


def _add(messages: list[dict[str, Any]], item: Mapping[str, Any], at: str) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        messages.append(_message(item, at))
    elif kind == "function_call":
        _add_call(messages, item, at)
    elif kind == "function_call_output":
        messages.append(_output(item, at))
    elif kind != "reasoning":  # an earlier turn's, which is neither read nor paid
        allowed = ("message", "function_call", "function_call_output", "reasoning")
        raise checks.wrong_value(f"{at}.type", kind, allowed)


def _message(item: Mapping[str, Any], at: str) -> dict[str, Any]:
    content = item.get("content")
    if isinstance(content, list):
        parts = [_part(part, f"{at}.content[{m}]") for m, part in enumerate(content)]
        # One text is a plain string, as most callers of chat send it: the same prompt, the same answer.
        content = parts[0]["text"] if len(parts) == 1 and "text" in parts[0] else parts
    return {"role": item.get("role"), "content": content}


def _part(part: object, at: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise checks.wrong_type(at, "an object", part)
    kind = part.get("type")
    if kind in ("input_text", "output_text") and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    if kind == "input_image":
        url = part.get("image_url") or part.get("file_id")
        if not isinstance(url, str):
            raise checks.missing(f"{at}.image_url")
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "input_file":
        file = {name: part[name] for name in ("file_data", "file_id", "file_url", "filename") if name in part}
        return {"type": "file", "file": file}
    allowed = ("input_text", "input_image", "output_text", "refusal", "input_file")
    raise checks.wrong_value(f"{at}.type", kind, allowed)


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any], at: str) -> None:
    """Put a call into the assistant's turn it belongs to."""
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise checks.missing(f"{at}.{name}")
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    messages[-1].setdefault("tool_calls", []).append(call)


def _output(item: Mapping[str, Any], at: str) -> dict[str, Any]:
    if not isinstance(item.get("call_id"), str):
        raise checks.missing(f"{at}.call_id")
    if not isinstance(item.get("output"), str | list):
        raise checks.missing(f"{at}.output")
    message = _message({"role": "tool", "content": item["output"]}, at)
    return {**message, "tool_call_id": item["call_id"]}


def _effort(body: Mapping[str, Any]) -> Any:
    reasoning = body.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, dict):
        raise checks.wrong_type("reasoning", "an object", reasoning)
    return (reasoning or {}).get("effort")


def _format(body: Mapping[str, Any]) -> Any:
    """`text.format` as chat's `response_format`."""
    text = body.get("text")
    if text is not None and not isinstance(text, dict):
        raise checks.wrong_type("text", "an object", text)
    wanted = (text or {}).get("format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return wanted
    for name in ("name", "schema"):
        if wanted.get(name) is None:
            raise checks.missing(f"text.format.{name}")
    return {"type": "json_schema", "json_schema": wanted}


def _tools(body: Mapping[str, Any]) -> Any:
    """Functions as chat has them, one level deeper."""
    tools = body.get("tools")
    if not isinstance(tools, list):
        return tools
    nested = []
    for k, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise checks.wrong_type(f"tools[{k}]", "an object", tool)
        if tool.get("type") == "function" and not isinstance(tool.get("name"), str):
            raise checks.missing(f"tools[{k}].name")
        function = {name: tool[name] for name in ("name", "description", "parameters") if name in tool}
        nested.append({"type": tool.get("type"), "function": function})
    return nested


def _tool_choice(body: Mapping[str, Any]) -> Any:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice
