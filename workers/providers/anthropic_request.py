"""A chat request as Anthropic's Messages API wants it: body and warnings. Pure.

`body_of` -> max_tokens, system, messages, tools, tool_choice, output_config, sampling. anthropic_content.py makes
the blocks of the turns, anthropic_schema.py fits a schema to the native format, anthropic_cache.py marks prefixes.

Source: Anthropic's published API reference, POST /v1/messages, and its pages on tool use, structured outputs,
effort and service tiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config.catalog import ModelTraits
from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.anthropic_cache import mark_prefixes
from workers.providers.anthropic_content import blocks_of, messages_of
from workers.providers.anthropic_schema import fitted
from workers.providers.base import lost
from workers.providers.chat import Chat, OutputSchema, Tool, Turn

JSON_INSTRUCTION = (
    "Answer with a single JSON object and nothing else: no words before or after it, no code fence."
)

_SCHEMA_AT = "response_format.json_schema.schema"
_EFFORTS = {
    "none": "low",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}

# Leaving these out would change what is answered; the values under which they ask for nothing stand beside them.
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("none",),
    "web_search_options": (),
}


def body_of(name: str, call: Call, chat: Chat) -> tuple[dict[str, Any], list[str]]:
    """The body before `provider_options` are laid over it, and a warning for each thing it cannot say.

    Raises: Untranslatable, with the path of the part of the request.
    """
    traits = call.traits
    warnings: list[str] = []
    if chat.choices > 1:
        raise Untranslatable("gives one answer a request", provider=name, param="n")
    thoughts = _thoughts_asked_for(call.provider_options)
    body: dict[str, Any] = {"model": call.model, "max_tokens": _cap(chat, traits, thoughts)}
    if system := _system(name, chat, warnings):
        body["system"] = system
    body["messages"] = messages_of(name, chat.turns, warnings)
    if not body["messages"] and "messages" not in call.provider_options:
        raise Untranslatable(
            "at least one message of a user has to be there", provider=name, param="messages"
        )
    if tools := _tools(chat.tools, traits, warnings):
        body["tools"] = tools
    if choice := _tool_choice(name, call, chat, thinks=bool(thoughts)):
        body["tool_choice"] = choice
    if chat.schema is not None:
        _ask_for_schema(name, chat, chat.schema, call, body, warnings)
    if chat.stop:
        body["stop_sequences"] = _stop_sequences(name, chat.stop)
    if chat.user:
        body["metadata"] = {"user_id": chat.user}
    _sample(name, chat, traits, body, warnings, thinks=bool(thoughts))
    _effort(chat, traits, body, warnings)
    _rest(name, chat, body, warnings)
    mark_prefixes(body, traits.min_cached_tokens, call.provider_options)
    return body, warnings


def answer_tool(call: Call) -> str:
    """The tool whose input is the answer, in a chat call's request; empty when the answer is words.

    `body_of` adds it and the readers of the answer look for it, each from the call alone.
    """
    wanted = call.body.get("response_format")
    if call.traits.native_schema or not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return ""
    inner = wanted.get("json_schema")
    return str(inner.get("name") or "answer") if isinstance(inner, dict) else ""


def _thoughts_asked_for(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `thinking` that the caller turns on, or nothing. With it the API takes neither sampling nor forced calls."""
    thinking = options.get("thinking")
    on = isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")
    return thinking if on and isinstance(thinking, Mapping) else {}


def _cap(chat: Chat, traits: ModelTraits, thoughts: Mapping[str, Any]) -> int:
    if chat.cap is not None:
        return chat.cap
    cap, budget = traits.default_output_tokens, thoughts.get("budget_tokens")
    if isinstance(budget, int):
        cap += budget  # it counts against the cap and has to be below it
    return min(cap, traits.max_output_tokens or cap)


def _system(name: str, chat: Chat, warnings: list[str]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [
        {"type": "text", "text": text} for text in chat.system if text and not text.isspace()
    ]
    for turn in chat.turns:
        if turn.role == "system":
            blocks += _moved(name, turn)
            warnings.append(f"{turn.at}: {name} takes system messages at the front only; it was moved there")
    if chat.json_mode:
        blocks.append({"type": "text", "text": JSON_INSTRUCTION})
    return blocks


def _moved(name: str, turn: Turn) -> list[dict[str, Any]]:
    blocks = blocks_of(name, turn, [])
    if any(block["type"] != "text" for block in blocks):
        raise Untranslatable("a system message takes text only", provider=name, param=f"{turn.at}.content")
    return blocks


def _tools(tools: Sequence[Tool], traits: ModelTraits, warnings: list[str]) -> list[dict[str, Any]]:
    told = []
    for k, tool in enumerate(tools):
        schema: Mapping[str, Any] = tool.parameters or {"type": "object", "properties": {}}
        if "type" not in schema:
            schema = {"type": "object", **schema}
        block: dict[str, Any] = {"name": tool.name, "input_schema": schema}
        if tool.description:
            block["description"] = tool.description
        if tool.strict and traits.native_schema:
            block["strict"] = True
        elif tool.strict:
            warnings.append(f"tools[{k}].function.strict: not known to work with this model; it was left out")
        told.append(block)
    return told


def _tool_choice(name: str, call: Call, chat: Chat, *, thinks: bool) -> dict[str, Any] | None:
    has_tools, forced = bool(chat.tools) or "tools" in call.provider_options, _is_forced(chat)
    if forced and not has_tools:
        raise Untranslatable("there are no tools", provider=name, param="tool_choice")
    if forced and thinks and "tool_choice" not in call.provider_options:
        raise Untranslatable(
            "no call can be forced while the model thinks", provider=name, param="tool_choice"
        )
    if not has_tools or (not chat.tool_choice and chat.parallel_tools is not False):
        return None
    if chat.tool_choice == "named":
        choice: dict[str, Any] = {"type": "tool", "name": chat.tool_name}
    else:
        choice = {"type": _CHOICES[chat.tool_choice or "auto"]}
    if chat.parallel_tools is False and chat.tool_choice != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _is_forced(chat: Chat) -> bool:
    return chat.tool_choice in ("required", "named")


def _ask_for_schema(
    name: str,
    chat: Chat,
    wanted: OutputSchema,
    call: Call,
    body: dict[str, Any],
    warnings: list[str],
) -> None:
    """By the API's own format where the model has it, else by a tool whose input is the answer."""
    if call.traits.native_schema:
        schema = fitted(name, wanted.schema, _SCHEMA_AT, warnings)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return
    if wanted.strict:
        warnings.append(
            "response_format.json_schema.strict: not known to work with this model; it was left out"
        )
    if any(tool.name == wanted.name for tool in chat.tools):
        message = "the answer is asked for through a tool of this name, and `tools` has one already"
        raise Untranslatable(message, provider=name, param="response_format.json_schema.name")
    if _is_forced(chat):
        return  # the answer is calls of the caller's own tools: the schema has nothing to hold
    if wanted.schema.get("type") != "object":
        message = f"expected `object`: this model's {name} API takes the schema of an object only"
        raise Untranslatable(message, provider=name, param=f"{_SCHEMA_AT}.type")
    tool = {
        "name": wanted.name,
        "description": wanted.description or "Gives the final answer.",
        "input_schema": wanted.schema,
    }
    body["tools"] = [*body.get("tools", ()), tool]
    if _thoughts_asked_for(call.provider_options):
        body["tool_choice"] = {"type": "auto"}
        warnings.append(f"response_format: {name} cannot force an answer's shape while the model thinks")
    elif chat.tools and chat.tool_choice != "none":
        # Either a tool of the caller's or the answer: with `auto` it could answer in free words.
        body["tool_choice"] = {"type": "any"}
        if chat.parallel_tools is False:
            body["tool_choice"]["disable_parallel_tool_use"] = True
    else:
        body["tool_choice"] = {"type": "tool", "name": wanted.name, "disable_parallel_tool_use": True}


def _stop_sequences(name: str, stop: Sequence[str]) -> list[str]:
    if not all(text.strip() for text in stop):
        raise Untranslatable("takes no stop sequence of white space alone", provider=name, param="stop")
    return list(stop)


def _sample(
    name: str, chat: Chat, traits: ModelTraits, body: dict[str, Any], warnings: list[str], *, thinks: bool
) -> None:
    """Temperature, else top_p: the models that take them do not take both at once."""
    given = _sampling(chat)
    if not traits.takes_sampling:
        warnings.extend(f"{one}: this model takes no sampling parameters; it was left out" for one in given)
    elif thinks:
        warnings.extend(f"{one}: not taken while the model thinks; it was left out" for one in given)
    elif chat.temperature is not None:
        body["temperature"] = min(chat.temperature, 1)
        if chat.temperature > 1:
            warnings.append(f"temperature: {name} takes at most 1; {chat.temperature} was lowered to it")
        if chat.top_p is not None:
            warnings.append(f"top_p: {name} takes temperature or top_p, not both; top_p was left out")
    elif chat.top_p is not None:
        body["top_p"] = chat.top_p


def _sampling(chat: Chat) -> list[str]:
    return [one for one in ("temperature", "top_p") if getattr(chat, one) is not None]


def _effort(chat: Chat, traits: ModelTraits, body: dict[str, Any], warnings: list[str]) -> None:
    """`output_config.effort`; whether the model thinks stays its own default (`provider_options.thinking`)."""
    effort = chat.reasoning_effort
    if not effort:
        return
    # All models that dropped sampling take an effort; of the older ones only some do, the rest answer 400.
    if traits.takes_sampling or effort not in _EFFORTS:
        hint = "provider_options.output_config.effort sends one all the same"
        warnings.append(f"reasoning_effort: {effort[:20]!r} is not known to work with this model; {hint}")
        return
    body.setdefault("output_config", {})["effort"] = _EFFORTS[effort]
    if effort in ("none", "minimal"):
        warnings.append(f"reasoning_effort: {effort!r} was sent as 'low', the least there is")


def _rest(name: str, chat: Chat, body: dict[str, Any], warnings: list[str]) -> None:
    unknown = [one for one in ("seed",) if chat.seed is not None]
    unknown += [one for one in ("presence_penalty", "frequency_penalty") if getattr(chat, one)]
    for param, value in chat.rest.items():
        if param in _REFUSED:
            if value not in _REFUSED[param]:
                raise Untranslatable("there is nothing like it", provider=name, param=param)
        elif param == "service_tier" and isinstance(value, str) and value in _TIERS:
            body["service_tier"] = _TIERS[value]
        else:
            unknown.append(param)
    warnings.extend(lost(name, unknown))
