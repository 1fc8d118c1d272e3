"""Anthropic's Messages API: read a body as strictly as the provider does. Pure.

`read_messages` -> `Asked`: the common `ChatRequest` and what only Anthropic's answer needs. The messages
themselves are read by anthropic_turns.py, the output schema is checked by anthropic_schema.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.simulator.answers import prompt_digest
from app.simulator.anthropic_schema import check_output_schema
from app.simulator.anthropic_turns import Turn, lifetime, message_turns, refused, system_turns
from app.simulator.chat import ChatRequest, chosen_tools
from app.simulator.dialect import Terms
from app.simulator.errors import ApiError
from app.simulator.models import CHAT, MODELS

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_FIELDS = frozenset((
    "model", "messages", "max_tokens", "system", "stream", "stop_sequences", "temperature", "top_p", "top_k",
    "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier",
    "cache_control", "container", "context_management", "diagnostics", "inference_geo", "mcp_servers", "speed",
    "user_profile_id",
))  # fmt: skip
_NOT_COUNTED = frozenset((
    "max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k", "metadata", "service_tier",
))  # fmt: skip
_MAX_BREAKPOINTS = 4
_LEAST_BUDGET = 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request."""

    chat: ChatRequest
    turns: list[Turn]  # one a message of `chat`, with the cache breakpoints
    tools_mark: str | None  # lifetime of the breakpoint after the tools
    shows_thinking: bool


def read_messages(body: Mapping[str, Any], terms: Terms, *, counting: bool = False) -> Asked:
    """Check a body.

    Args:
        counting: for count_tokens, which takes nothing that only concerns the answer.
    Raises: ApiError for whatever the provider would refuse.
    """
    extra = set(body) - (_FIELDS - _NOT_COUNTED if counting else _FIELDS)
    if extra:
        raise refused(min(extra), "Extra inputs are not permitted")
    model = _model(body, terms)
    max_tokens = None if counting else _max_tokens(body)
    _check_numbers(body)
    turns = [*system_turns(body.get("system")), *message_turns(body.get("messages"))]
    tools, tools_mark = _tools(body)
    tools_mark = _all_marks(body, turns, tools_mark)
    thinks, shows = _thinking(body, max_tokens)
    chat = ChatRequest(
        model=model,
        messages=tuple(turn.message() for turn in turns),
        stream=_stream(body),
        max_tokens=max_tokens,
        stop=_stop(body),
        schema=_schema(body),
        tools=tools,
        thinks=thinks,
    )
    calls = _calls(body, chat, terms.tool_calls)
    return Asked(replace(chat, calls=calls), turns, tools_mark, shows)


def _model(body: Mapping[str, Any], terms: Terms) -> str:
    model = body.get("model")
    if not isinstance(model, str):
        raise refused("model", "Field required" if model is None else "Input should be a valid string")
    if not model:
        raise refused("model", "String should have at least 1 character")
    if MODELS.get(model, CHAT if terms.all_models else None) != CHAT:
        raise ApiError(404, f"model: {model}")
    return model


def _max_tokens(body: Mapping[str, Any]) -> int:
    value = body.get("max_tokens")
    if value is None:
        raise refused("max_tokens", "Field required")
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused("max_tokens", "Input should be a valid integer")
    if value < 0:
        raise refused("max_tokens", "must be greater than or equal to 0")
    return value


def _check_numbers(body: Mapping[str, Any]) -> None:
    for name, high in (("temperature", 1), ("top_p", 1), ("top_k", 1_000_000)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refused(name, "Input should be a valid number")
        if not 0 <= value <= high:
            raise refused(name, f"range: 0..{high}")


def _stream(body: Mapping[str, Any]) -> bool:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise refused("stream", "Input should be a valid boolean")
    return bool(stream)


def _stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop_sequences")
    if stop is None:
        return ()
    if not isinstance(stop, list) or not all(isinstance(each, str) for each in stop):
        raise refused("stop_sequences", "Input should be a valid array of strings")
    if any(not each.strip() for each in stop):
        raise refused("stop_sequences", "each stop sequence must contain non-whitespace")
    return tuple(stop)


def _tools(body: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], str | None]:
    """The tools in OpenAI's shape, and the lifetime of a breakpoint after them."""
    given = body.get("tools")
    if given is None:
        return (), None
    if not isinstance(given, list):
        raise refused("tools", "Input should be a valid array")
    tools: list[dict[str, Any]] = []
    mark = None
    for k, tool in enumerate(given):
        at = f"tools.{k}"
        if not isinstance(tool, dict):
            raise refused(at, "Input should be an object")
        if tool.get("type", "custom") not in ("custom", None):
            raise refused(f"{at}.type", f"the simulator has no server tool '{tool.get('type')}'")
        name, schema = tool.get("name"), tool.get("input_schema")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise refused(f"{at}.custom.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
        if not isinstance(schema, dict):
            raise refused(f"{at}.custom.input_schema", "Field required")
        if schema.get("type") != "object":
            raise refused(f"{at}.custom.input_schema.type", "Input should be 'object'")
        mark = lifetime(tool, at) or mark
        function = {"name": name, "description": tool.get("description"), "parameters": schema}
        tools.append({"type": "function", "function": function})
    if len({tool["function"]["name"] for tool in tools}) < len(tools):
        raise refused("tools", "Tool names must be unique.")
    return tuple(tools), mark


def _calls(body: Mapping[str, Any], chat: ChatRequest, wanted: int | None) -> tuple[Mapping[str, Any], ...]:
    choice = body.get("tool_choice")
    given: Mapping[str, Any] = choice if isinstance(choice, dict) else {}
    kind = "auto" if choice is None else given.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise refused("tool_choice.type", "Input should be 'auto', 'any', 'tool' or 'none'")
    if choice is not None and not chat.tools:
        raise refused("tool_choice", "may only be specified while providing tools.")
    if kind == "none":
        return ()
    named = given.get("name") if kind == "tool" else None
    if kind == "tool" and not any(tool["function"]["name"] == named for tool in chat.tools):
        raise refused("tool_choice.tool.name", f"Tool '{named}' not found in provided tools")
    if chat.thinks and kind in ("any", "tool"):
        raise ApiError(400, "Thinking may not be enabled when tool_choice forces tool use.")
    return chosen_tools(
        chat.tools,
        named,
        required=kind == "any",
        parallel=not given.get("disable_parallel_tool_use"),
        wanted=wanted,
        digest=prompt_digest(chat.model, chat.messages, 0),
    )


def _thinking(body: Mapping[str, Any], max_tokens: int | None) -> tuple[bool, bool]:
    """Whether to think, and whether the thinking is shown."""
    thinking = body.get("thinking")
    if thinking is None:
        return False, False
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled", "adaptive"):
        raise refused("thinking.type", "Input should be 'adaptive', 'disabled' or 'enabled'")
    if kind == "disabled":
        return False, False
    if body.get("temperature") not in (None, 1):
        raise ApiError(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        if isinstance(budget, bool) or not isinstance(budget, int):
            raise refused("thinking.enabled.budget_tokens", "Field required")
        if budget < _LEAST_BUDGET:
            raise refused("thinking.enabled.budget_tokens", "Input should be greater than or equal to 1024")
        if max_tokens is not None and budget >= max_tokens:
            raise ApiError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    return True, thinking.get("display") != "omitted"


def _schema(body: Mapping[str, Any]) -> Any:
    """The schema of the answer, None without one."""
    config = body.get("output_config")
    if config is not None and not isinstance(config, dict):
        raise refused("output_config", "Input should be an object")
    at, wanted = "output_config.format", (config or {}).get("format")
    if wanted is None:
        at, wanted = "output_format", body.get("output_format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        raise refused(f"{at}.type", "Input should be 'json_schema'")
    if not isinstance(wanted.get("schema"), dict):
        raise refused(f"{at}.schema", "Field required")
    check_output_schema(wanted["schema"], f"{at}.schema")
    return wanted["schema"]


def _all_marks(body: Mapping[str, Any], turns: list[Turn], tools_mark: str | None) -> str | None:
    """Set the breakpoint of a top-level `cache_control` after the last block; refuse more than four in all."""
    automatic = lifetime(body, "request")
    if automatic and turns:
        turns[-1].end_mark = turns[-1].end_mark or automatic
    found = sum(1 for turn in turns for mark in (*turn.marks, turn.end_mark) if mark) + bool(tools_mark)
    if found > _MAX_BREAKPOINTS:
        raise ApiError(400, f"A maximum of 4 blocks with cache_control may be provided. Found {found}.")
    return tools_mark
