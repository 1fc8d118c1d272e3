"""Read a chat request in the OpenAI shape into a `Chat`. Pure.

Every part of the request is read, refused with its path, or left in `Chat.rest` under its path, so that an adapter
can name what it leaves out.

Source: OpenAI's published OpenAPI document, POST /v1/chat/completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.chat import Chat, Media, OutputSchema, Part, Text, Tool, ToolCall, Turn, data_url

_READ = frozenset(
    {
        "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "max_tokens",
        "max_completion_tokens", "temperature", "top_p", "stop", "seed", "presence_penalty",
        "frequency_penalty", "n", "reasoning_effort", "user", "stream", "stream_options",
    }
)  # fmt: skip
_READ_OF_MEDIA = {
    "image_url": frozenset({"url", "detail"}),
    "input_audio": frozenset({"data", "format"}),
    "file": frozenset({"file_data", "file_id", "filename"}),
}
_READ_OF_TOOLS = frozenset({"type", "function"})
_READ_OF_FUNCTIONS = frozenset({"name", "description", "parameters", "strict"})
# `extra_content` is what a provider wants back with its own calls; whoever it is not from has no use for it.
_READ_OF_CALLS = frozenset({"id", "type", "function", "index", "extra_content"})
_READ_OF_CALLED = frozenset({"name", "arguments"})
_READ_OF_SCHEMAS = frozenset({"name", "description", "schema", "strict"})
_READ_OF_ROLES = {
    "user": frozenset({"role", "content"}),
    "system": frozenset({"role", "content"}),
    "developer": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}
_EMPTY: tuple[Any, ...] = (None, "", [], {})  # a reply sent back as it came has such fields


def read_chat(provider: str, call: Call) -> Chat:
    """Read the call's body.

    Raises: Untranslatable, which names the path of a part that has no meaning in this shape.
    """
    return _Reading(provider).chat(call.body, needs_messages=not call.provider_options)


class _Reading:
    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._unread: dict[str, Any] = {}

    def chat(self, body: Mapping[str, Any], *, needs_messages: bool) -> Chat:
        messages = body.get("messages")
        if messages is None and not needs_messages:
            messages = []
        if not isinstance(messages, list):
            raise self._wrong("messages", "an array")
        system, turns = self._messages(messages)
        choice, tool_name = self._tool_choice(body.get("tool_choice"))
        json_mode, schema = self._response_format(body.get("response_format"))
        cap = body.get("max_completion_tokens")
        stop = body.get("stop")
        parallel = body.get("parallel_tool_calls")
        if cap is None:
            cap = body.get("max_tokens")
        return Chat(
            system=system,
            turns=turns,
            tools=self._tools(body.get("tools")),
            tool_choice=choice,
            tool_name=tool_name,
            parallel_tools=None if parallel is None else bool(parallel),
            json_mode=json_mode,
            schema=schema,
            cap=self._integer(cap, "max_completion_tokens"),
            temperature=self._number(body, "temperature"),
            top_p=self._number(body, "top_p"),
            stop=self._stop(stop),
            seed=self._integer(body.get("seed"), "seed"),
            presence_penalty=self._number(body, "presence_penalty"),
            frequency_penalty=self._number(body, "frequency_penalty"),
            choices=self._integer(body.get("n"), "n") or 1,
            reasoning_effort=str(body.get("reasoning_effort") or ""),
            user=str(body.get("user") or ""),
            rest={n: value for n, value in body.items() if n not in _READ and value is not None}
            | self._unread,
        )

    def _messages(self, messages: list[Any]) -> tuple[tuple[str, ...], tuple[Turn, ...]]:
        system: list[str] = []
        turns: list[Turn] = []
        tool_names: dict[str, str] = {}
        for k, message in enumerate(messages):
            at = f"messages[{k}]"
            if not isinstance(message, dict):
                raise self._wrong(at, "an object")
            turn = self._turn(message, at, tool_names)
            if turn.role == "system":
                if any(isinstance(part, Media) for part in turn.parts):
                    raise self._wrong(f"{at}.content", "text alone in a system message")
                if not turns:
                    system.append(turn.text)
                    continue
            turns.append(turn)
        return tuple(system), tuple(turns)

    def _turn(self, message: dict[str, Any], at: str, tool_names: dict[str, str]) -> Turn:
        role = message.get("role")
        read = _READ_OF_ROLES.get(role) if isinstance(role, str) else None
        if read is None:
            raise self._wrong(f"{at}.role", "system, developer, user, assistant or tool")
        if not read.issuperset(message):
            for name in ("function_call", "audio"):
                if message.get(name) not in _EMPTY:
                    raise self._wrong(f"{at}.{name}", "tool_calls or text in its place")
            self._note_beyond(read, message, at)
        parts = self._parts(message.get("content"), at)
        if role == "user":
            return Turn("user", parts, at=at)
        if role in ("system", "developer"):
            return Turn("system", parts, at=at)
        if role == "assistant":
            calls = self._calls(message.get("tool_calls"), at)
            tool_names.update((call.id, call.name) for call in calls)
            return Turn("assistant", parts, calls, at=at)
        call_id = str(message.get("tool_call_id") or "")
        return Turn("tool", parts, call_id=call_id, name=tool_names.get(call_id, ""), at=at)

    def _parts(self, content: Any, at: str) -> tuple[Part, ...]:
        if isinstance(content, str):
            return (Text(content),) if content else ()
        if content is None:
            return ()
        if not isinstance(content, list):
            raise self._wrong(f"{at}.content", "a string or an array")
        return tuple(self._part(part, f"{at}.content[{k}]") for k, part in enumerate(content))

    def _part(self, part: Any, at: str) -> Part:
        kind = part.get("type") if isinstance(part, dict) else None
        inner = part.get(kind) if isinstance(kind, str) else None
        if kind in ("text", "refusal") and isinstance(inner, str):
            read: Part = Text(inner)
        elif kind == "image_url" and isinstance(inner, dict) and isinstance(inner.get("url"), str):
            media_type, data = data_url(inner["url"])
            url = "" if data else inner["url"]
            read = Media("image", media_type, data, url, detail=str(inner.get("detail") or ""))
        elif kind == "input_audio" and isinstance(inner, dict) and isinstance(inner.get("data"), str):
            read = Media("audio", f"audio/{inner.get('format') or 'wav'}", inner["data"])
        elif kind == "file" and isinstance(inner, dict):
            read = _document(inner)
        else:
            raise self._wrong(at, "a text, image_url, input_audio or file part")
        if len(part) > 2:
            self._note_beyond({"type", kind}, part, at)
        if isinstance(inner, dict):
            self._note_beyond(_READ_OF_MEDIA[kind], inner, f"{at}.{kind}")
        return read

    def _calls(self, calls: Any, at: str) -> tuple[ToolCall, ...]:
        if calls is None:
            return ()
        if not isinstance(calls, list):
            raise self._wrong(f"{at}.tool_calls", "an array")
        return tuple(self._call(call, f"{at}.tool_calls[{k}]") for k, call in enumerate(calls))

    def _call(self, call: Any, at: str) -> ToolCall:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise self._wrong(at, "a function call")
        self._note_beyond(_READ_OF_CALLS, call, at)
        self._note_beyond(_READ_OF_CALLED, function, f"{at}.function")
        return ToolCall(str(call.get("id") or ""), function["name"], str(function.get("arguments") or "{}"))

    def _tools(self, tools: Any) -> tuple[Tool, ...]:
        if tools is None:
            return ()
        if not isinstance(tools, list):
            raise self._wrong("tools", "an array")
        return tuple(self._tool(tool, f"tools[{k}]") for k, tool in enumerate(tools))

    def _tool(self, tool: Any, at: str) -> Tool:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise self._wrong(at, "a function tool")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise self._wrong(f"{at}.function.parameters", "a JSON Schema object")
        self._note_beyond(_READ_OF_TOOLS, tool, at)
        self._note_beyond(_READ_OF_FUNCTIONS, function, f"{at}.function")
        description = str(function.get("description") or "")
        return Tool(function["name"], description, parameters, bool(function.get("strict")))

    def _tool_choice(self, choice: Any) -> tuple[Literal["", "auto", "none", "required", "named"], str]:
        if choice is None:
            return "", ""
        if choice in ("auto", "none", "required"):
            return choice, ""
        function = choice.get("function") if isinstance(choice, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            return "named", function["name"]
        raise self._wrong("tool_choice", "auto, none, required or a function")

    def _response_format(self, wanted: Any) -> tuple[bool, OutputSchema | None]:
        if wanted is None:
            return False, None
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind == "text":
            return False, None
        if kind == "json_object":
            return True, None
        inner = wanted.get("json_schema") if isinstance(wanted, dict) else None
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if kind != "json_schema" or not isinstance(inner, dict) or not isinstance(schema, dict):
            raise self._wrong("response_format", "text, json_object or json_schema with a schema")
        self._note_beyond(_READ_OF_SCHEMAS, inner, "response_format.json_schema")
        name, description = str(inner.get("name") or "answer"), str(inner.get("description") or "")
        return False, OutputSchema(name, schema, bool(inner.get("strict")), description)

    def _stop(self, stop: Any) -> tuple[str, ...]:
        if stop is None:
            return ()
        listed = [stop] if isinstance(stop, str) else stop
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise self._wrong("stop", "a string or an array of strings")
        return tuple(listed)

    def _integer(self, value: Any, param: str) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._wrong(param, "a whole number")

    def _number(self, body: Mapping[str, Any], param: str) -> float | None:
        value = body.get(param)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise self._wrong(param, "a number")

    def _note_beyond(self, read: frozenset[str] | set[str], part: dict[str, Any], at: str) -> None:
        for name, value in part.items():
            if name not in read and value not in _EMPTY:
                self._unread[f"{at}.{name}"] = value

    def _wrong(self, param: str, expected: str) -> Untranslatable:
        return Untranslatable(f"expected {expected}", provider=self._provider, param=param)


def _document(file: dict[str, Any]) -> Media:
    raw = str(file.get("file_data") or "")
    media_type, data = data_url(raw)
    return Media(
        "document",
        media_type or "application/pdf",
        data or raw,
        file_id=str(file.get("file_id") or ""),
        filename=str(file.get("filename") or ""),
    )
