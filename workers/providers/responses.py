"""A /v1/responses request told as a chat request, and a chat answer told as a `response` object. Pure.

For providers that have no such endpoint: their adapters call `as_chat`, go on as for any chat request, and call
`from_completion` on what came out. What chat has no words for stays in the body under its path in the request
(`reasoning.summary`, `input[2] (reasoning)`), so that `read_chat` puts it into `rest` and the adapter names it.

Source: OpenAI's published OpenAPI document, POST /v1/responses: CreateResponse, InputItem, Response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from workers.core.errors import Untranslatable
from workers.core.messages import Call, Reply, Usage

CHAT_ENDPOINT = "/v1/chat/completions"

# What needs state on OpenAI's side, and what chat calls otherwise.
_REFUSED = {
    "previous_response_id": "earlier responses are not kept; send the whole conversation in `input`",
    "conversation": "conversations are not kept; send the whole of it in `input`",
    "background": "a batch is in the background already",
    "prompt": "stored prompts are known to OpenAI only; send the text in `instructions` and `input`",
    "top_logprobs": "log probabilities cannot be told through this endpoint",
    "messages": "called `input` at this endpoint",
    "response_format": "called `text.format` at this endpoint",
    "max_tokens": "called `max_output_tokens` at this endpoint",
    "max_completion_tokens": "called `max_output_tokens` at this endpoint",
    "reasoning_effort": "called `reasoning.effort` at this endpoint",
    "n": "this endpoint gives one answer",
}
_TRANSLATED = frozenset(
    {
        "instructions", "input", "tools", "tool_choice", "text", "max_output_tokens", "reasoning", "truncation",
        "stream", "stream_options", *_REFUSED,
    }
)  # fmt: skip
# An item's own name and state on the server say nothing to a model.
_SILENT = frozenset({"type", "id", "status"})


def as_chat(provider: str, call: Call) -> Call:
    """The chat call that asks the same; `provider_options` and `traits` go along untouched.

    Raises: Untranslatable, which names the path of what only OpenAI's own endpoint can do (kept state, built-in
        tools, background work) or of what has no meaning there.
    """
    body = _Telling(provider).body(call.body, needs_input=not call.provider_options)
    return replace(call, endpoint=CHAT_ENDPOINT, body=body)


def from_completion(call: Call, reply: Reply) -> Reply:
    """The same reply as a whole `response` object; `call` is the /v1/responses call as it came.

    Raises: ValueError, KeyError or TypeError when the reply's body is no chat.completion.
    """
    completion = orjson.loads(reply.body)
    choice = completion["choices"][0]
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice["finish_reason"])
    status = "incomplete" if reason else "completed"
    body = {
        "id": f"resp_{completion['id']}",
        "object": "response",
        "created_at": completion["created"],
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": completion["model"],
        "output": _output(str(completion["id"]), choice["message"], status),
        "usage": _usage_object(reply.usage),
        **_echo(call.body),
    }
    return replace(reply, body=orjson.dumps(body))


class _Telling:
    """One request; collects the paths that chat has no words for."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._lost: dict[str, Any] = {}

    def body(self, asked: Mapping[str, Any], *, needs_input: bool) -> dict[str, Any]:
        self._refuse_what_only_openai_can(asked)
        if needs_input and asked.get("input") is None:
            raise self._refused("expected a string or an array", "input")
        told = {name: value for name, value in asked.items() if name not in _TRANSLATED and value is not None}
        if asked.get("truncation") not in (None, "disabled"):
            told["truncation"] = asked["truncation"]
        messages = self._messages(asked)
        if messages or asked.get("input") is not None:
            told["messages"] = messages
        if asked.get("tools") is not None:
            tools = self._list(asked["tools"], "tools")
            told["tools"] = [self._tool(tool, f"tools[{k}]") for k, tool in enumerate(tools)]
        if asked.get("tool_choice") is not None:
            told["tool_choice"] = self._tool_choice(asked["tool_choice"])
        if asked.get("max_output_tokens") is not None:
            told["max_completion_tokens"] = asked["max_output_tokens"]
        reasoning = self._object(asked.get("reasoning"), "reasoning")
        if reasoning.get("effort") is not None:
            told["reasoning_effort"] = reasoning["effort"]
        self._leave(reasoning, "reasoning", {"effort"})
        return {**told, **self._text(self._object(asked.get("text"), "text")), **self._lost}

    def _refuse_what_only_openai_can(self, asked: Mapping[str, Any]) -> None:
        for name, why in _REFUSED.items():
            if asked.get(name) not in (None, False, 0):
                raise self._refused(why, name)
        if "message.output_text.logprobs" in self._list(asked.get("include") or [], "include"):
            raise self._refused(_REFUSED["top_logprobs"], "include")

    def _messages(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        instructions, items = asked.get("instructions"), asked.get("input")
        if isinstance(instructions, str):
            messages.append({"role": "system", "content": instructions})
        elif instructions is not None:
            raise self._refused("expected a string", "instructions")
        if isinstance(items, str):
            return [*messages, {"role": "user", "content": items}]
        for k, item in enumerate(self._list([] if items is None else items, "input")):
            self._item(item, f"input[{k}]", messages)
        return messages

    def _item(self, item: Any, at: str, messages: list[dict[str, Any]]) -> None:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
        if kind == "message":
            message = self._message(item, at)
            # A model's words and its calls are items of one turn here, and one message there.
            if last is not None and message["role"] == "assistant" and last["content"] is None:
                last["content"] = message["content"]
            else:
                messages.append(message)
        elif kind == "function_call":
            if last is None:
                messages.append(last := {"role": "assistant", "content": None})
            last.setdefault("tool_calls", []).append(self._call(item, at))
        elif kind == "function_call_output":
            self._leave(item, at, {"call_id", "output", *_SILENT})
            answered = {"role": "tool", "tool_call_id": self._word(item, "call_id", at)}
            messages.append({**answered, "content": self._content(item.get("output"), f"{at}.output")})
        elif kind == "reasoning":
            self._lost[f"{at} (reasoning)"] = True
        else:
            raise self._refused("expected a message, function_call, function_call_output or reasoning", at)

    def _message(self, item: dict[str, Any], at: str) -> dict[str, Any]:
        if (role := item.get("role")) not in ("user", "assistant", "system", "developer"):
            raise self._refused("expected user, assistant, system or developer", f"{at}.role")
        self._leave(item, at, {"role", "content", *_SILENT})
        return {"role": role, "content": self._content(item.get("content"), f"{at}.content")}

    def _call(self, item: dict[str, Any], at: str) -> dict[str, Any]:
        self._leave(item, at, {"call_id", "name", "arguments", *_SILENT})
        function = {"name": self._word(item, "name", at), "arguments": self._word(item, "arguments", at)}
        return {"id": self._word(item, "call_id", at), "type": "function", "function": function}

    def _content(self, content: Any, at: str) -> Any:
        if isinstance(content, str):
            return content
        return [self._part(part, f"{at}[{k}]") for k, part in enumerate(self._list(content, at))]

    def _part(self, part: Any, at: str) -> dict[str, Any]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text", "text"):
            self._leave(part, at, {"type", "text", "annotations", "logprobs"})
            return {"type": "text", "text": self._word(part, "text", at)}
        if kind == "refusal":
            return {"type": "refusal", "refusal": self._word(part, "refusal", at)}
        if kind == "input_image":
            self._leave(part, at, {"type", "image_url", "detail"}, refused="file_id")
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": self._word(part, "image_url", at), **detail}}
        if kind == "input_file":
            carried = {"file_data", "file_id", "filename"}
            self._leave(part, at, {"type", *carried}, refused="file_url")
            return {"type": "file", "file": {name: part[name] for name in part if name in carried}}
        if kind == "input_audio":
            self._leave(part, at, {"type", kind})
            return {"type": kind, kind: part.get(kind)}
        raise self._refused("expected an input_text, input_image, input_file or input_audio part", at)

    def _tool(self, tool: Any, at: str) -> dict[str, Any]:
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise self._refused("expected a function; no other tools are offered", f"{at}.type")
        self._word(tool, "name", at)
        carried = {"name", "description", "parameters", "strict"}
        self._leave(tool, at, {"type", *carried})
        function = {name: value for name, value in tool.items() if name in carried and value is not None}
        return {"type": "function", "function": function}

    def _tool_choice(self, choice: Any) -> Any:
        if isinstance(choice, str):
            return choice
        if isinstance(choice, dict) and choice.get("type") == "function":
            return {"type": "function", "function": {"name": self._word(choice, "name", "tool_choice")}}
        raise self._refused("expected auto, none, required or a function", "tool_choice")

    def _text(self, text: dict[str, Any]) -> dict[str, Any]:
        self._leave(text, "text", {"format", "verbosity"})
        told = {"verbosity": text["verbosity"]} if text.get("verbosity") is not None else {}
        wanted = self._object(text.get("format"), "text.format")
        kind = wanted.get("type", "text")
        if kind == "json_schema":
            schema = {name: value for name, value in wanted.items() if name != "type" and value is not None}
            told["response_format"] = {"type": kind, "json_schema": schema}
        elif kind == "json_object":
            told["response_format"] = {"type": kind}
        elif kind != "text":
            raise self._refused("expected text, json_object or json_schema", "text.format.type")
        return told

    def _leave(self, part: dict[str, Any], at: str, known: set[str], *, refused: str = "") -> None:
        """Note what stands in `part` beside the known names; refuse what the answer depends on."""
        for name, value in part.items():
            if name in known or value is None:
                continue
            if name == refused:
                raise self._refused("only content that is sent along can be read", f"{at}.{name}")
            self._lost[f"{at}.{name}"] = value

    def _word(self, part: dict[str, Any], name: str, at: str) -> str:
        if not isinstance(value := part.get(name), str):
            raise self._refused("expected a string", f"{at}.{name}")
        return value

    def _list(self, value: Any, at: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._refused("expected an array", at)
        return value

    def _object(self, value: Any, at: str) -> dict[str, Any]:
        if value is not None and not isinstance(value, dict):
            raise self._refused("expected an object", at)
        return value or {}

    def _refused(self, message: str, param: str) -> Untranslatable:
        return Untranslatable(message, provider=self._provider, param=param)


def _output(answer_id: str, message: dict[str, Any], status: str) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = []
    text, refusal, calls = message.get("content"), message.get("refusal"), message.get("tool_calls") or ()
    if thoughts := message.get("reasoning_content"):
        shown = [{"type": "reasoning_text", "text": thoughts}]
        output.append({"type": "reasoning", "id": f"rs_{answer_id}", "summary": [], "content": shown})
    said = {"type": "message", "id": f"msg_{answer_id}", "role": "assistant", "status": status}
    content = [{"type": "refusal", "refusal": refusal}] if refusal else []
    if text or not (refusal or calls):
        content.insert(0, {"type": "output_text", "text": text or "", "annotations": [], "logprobs": []})
    if content:
        output.append({**said, "content": content})
    for call in calls:
        named = {"type": "function_call", "id": f"fc_{call['id']}", "call_id": call["id"], "status": status}
        output.append({**named, "name": call["function"]["name"], "arguments": call["function"]["arguments"]})
    return output


def _usage_object(usage: Usage) -> dict[str, Any]:
    details = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _echo(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a response repeats of its request, with the endpoint's own defaults."""
    parallel = asked.get("parallel_tool_calls")
    return {
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "parallel_tool_calls": True if parallel is None else parallel,
        "previous_response_id": None,
        "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
        "temperature": asked.get("temperature"),
        "text": {"format": {"type": "text"}, **(asked.get("text") or {})},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": [{"parameters": None, "strict": None, **tool} for tool in asked.get("tools") or ()],
        "top_p": asked.get("top_p"),
        "truncation": "disabled",
        "user": asked.get("user"),
    }
