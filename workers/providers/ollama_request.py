"""Say a call in the words of Ollama's native API. Pure.

`chat`, `generate` and `embed` give the body of one request each, with what the request lost on the way.
`truncate: false` and `shift: false` go with every request; ollama_context.py says why.

Source: Ollama's published API document and the request types of its official clients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.base import json_of, laid_over, lost
from workers.providers.chat import Chat, Media, ToolCall, Turn
from workers.providers.chat_reading import read_chat
from workers.providers.ollama_context import context_tokens

_THINK: Mapping[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
}  # fmt: skip
_HAS_LEVELS = re.compile(r"(?:^|/)gpt-?oss", re.IGNORECASE)
_REFUSED: Mapping[str, str] = {
    "audio": "Ollama gives no audio",
    "functions": "give them as `tools`",
    "function_call": "say it as `tool_choice`",
    "web_search_options": "Ollama does not search the web",
}
_TEXT_ONLY: Mapping[str, str] = {
    "logprobs": "log probabilities are given for chat completions only",
    "tools": "tools are for chat completions only",
    "echo": "Ollama does not repeat the prompt",
    "best_of": "Ollama gives one answer",
}
_MEDIA_FIELD = {"image": "image_url", "audio": "input_audio", "document": "file"}


@dataclass(frozen=True, slots=True)
class Worded:
    """The body of one request, and what of the call is not in it: a sentence each."""

    body: bytes
    warnings: list[str]


def chat(provider: str, call: Call, *, stream: bool) -> Worded:
    """The body of POST /api/chat. Raises Untranslatable."""
    words = _Wording(provider, call)
    asked = read_chat(provider, call)
    body = words.common(asked, stream=stream)
    body["messages"] = words.messages(asked)
    if tools := words.tools(asked):
        body["tools"] = tools
    words.rest(asked.rest, body)
    return words.finished(body)


def generate(provider: str, call: Call, *, stream: bool) -> Worded:
    """The body of POST /api/generate, through the model's own template unless `raw` is set. Raises Untranslatable."""
    words = _Wording(provider, call)
    for name, why in _TEXT_ONLY.items():
        if call.body.get(name) not in (None, False, []) and (name, call.body[name]) != ("best_of", 1):
            raise words.refused(why, name)
    taken = ("prompt", "suffix", "logprobs", "tools", "echo", "best_of", "tool_choice", "parallel_tool_calls")
    others = {name: value for name, value in call.body.items() if name not in taken}
    asked = read_chat(provider, replace(call, body={**others, "messages": []}))
    body = words.common(asked, stream=stream)
    if (prompt := words.prompt(call.body.get("prompt"))) is not None:
        body["prompt"] = prompt
    if (suffix := call.body.get("suffix")) is not None:
        if not isinstance(suffix, str):
            raise words.refused("expected a string", "suffix")
        body["suffix"] = suffix
    words.lose(name for name in ("tool_choice", "parallel_tool_calls") if call.body.get(name) is not None)
    words.rest(asked.rest, body)
    return words.finished(body)


def embed(provider: str, call: Call) -> Worded:
    """The body of POST /api/embed. Raises Untranslatable."""
    words = _Wording(provider, call)
    asked, read = call.body, ("model", "input", "dimensions", "encoding_format")
    body: dict[str, Any] = {"model": call.model, "truncate": False}
    texts = asked.get("input")
    if _is_texts(texts):
        body["input"] = texts
    elif texts is not None or not call.provider_options:
        raise words.refused("expected a text or a list of texts, none of them empty", "input")
    if asked.get("encoding_format") not in (None, "float", "base64"):
        raise words.refused("expected float or base64", "encoding_format")
    if (dimensions := asked.get("dimensions")) is not None:
        body["dimensions"] = dimensions
    words.lose(name for name, value in asked.items() if name not in read and value is not None)
    return Worded(words.dumped(laid_over(body, call.provider_options)), words.warnings)


class _Wording:
    """One request on its way into Ollama's words; collects the warnings."""

    def __init__(self, provider: str, call: Call) -> None:
        self._provider = provider
        self._call = call
        self.warnings: list[str] = []

    def refused(self, why: str, param: str) -> Untranslatable:
        return Untranslatable(why, provider=self._provider, param=param)

    def lose(self, names: Any) -> None:
        self.warnings += lost(self._provider, names)

    def common(self, asked: Chat, *, stream: bool) -> dict[str, Any]:
        """What chat and text completion share."""
        if asked.choices != 1:
            raise self.refused("Ollama gives one answer to a request", "n")
        body: dict[str, Any] = {
            "model": self._call.model,
            "stream": stream,
            "truncate": False,
            "shift": False,
        }
        if options := self._options(asked):
            body["options"] = options
        if asked.schema is not None:
            body["format"] = asked.schema.schema
            if asked.schema.description:
                self.lose(["response_format.json_schema.description"])
        elif asked.json_mode:
            body["format"] = "json"
        if asked.reasoning_effort:
            self._think(asked.reasoning_effort, body)
        if asked.user:
            self.lose(["user"])
        return body

    def _options(self, asked: Chat) -> dict[str, Any]:
        if asked.cap is not None and asked.cap < 1:
            raise self.refused("expected 1 or more", "max_completion_tokens")
        temperature, top_p = asked.temperature, asked.top_p
        if not self._call.traits.takes_sampling:
            named = {"temperature": temperature, "top_p": top_p}
            self.lose(name for name, value in named.items() if value is not None)
            temperature = top_p = None
        options = {
            "num_predict": asked.cap,
            "temperature": temperature,
            "top_p": top_p,
            "stop": list(asked.stop) or None,
            "seed": asked.seed,
            "presence_penalty": asked.presence_penalty,
            "frequency_penalty": asked.frequency_penalty,
        }
        return {name: value for name, value in options.items() if value is not None}

    def _think(self, effort: str, body: dict[str, Any]) -> None:
        if effort not in _THINK:
            self.lose([f"reasoning_effort={effort[:20]}"])
            return
        think = _THINK[effort]
        # Only gpt-oss knows levels, and does not know off; every other model answers 400 to a level.
        if not _HAS_LEVELS.search(self._call.model):
            body["think"] = think is not False
            if think is not False:
                self.warnings.append("reasoning_effort: this model's thinking is on or off; it was turned on")
            return
        body["think"] = think = think or "low"
        if think != effort:
            self.warnings.append(
                f"reasoning_effort: {self._provider} has no {effort!r}; {think!r} was sent instead"
            )

    def messages(self, asked: Chat) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = [{"role": "system", "content": text} for text in asked.system]
        told += [self._message(turn) for turn in asked.turns]
        return told

    def _message(self, turn: Turn) -> dict[str, Any]:
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        images = [self._image(part, turn, k) for k, part in enumerate(turn.parts) if isinstance(part, Media)]
        if images:
            message["images"] = images
        if turn.calls:
            message["tool_calls"] = [self._tool_call(call, turn, k) for k, call in enumerate(turn.calls)]
        if turn.role == "tool":
            if turn.name:
                message["tool_name"] = turn.name
            if turn.call_id:
                message["tool_call_id"] = turn.call_id
        return message

    def _image(self, part: Media, turn: Turn, k: int) -> str:
        at = f"{turn.at}.content[{k}].{_MEDIA_FIELD[part.kind]}"
        if part.kind != "image":
            raise self.refused(f"Ollama reads text and images, no {part.kind}", at)
        if not part.data:
            raise self.refused("Ollama fetches no images; send it as a data: URL with base64", f"{at}.url")
        if part.detail not in ("", "auto"):
            self.lose([f"{at}.detail"])
        return part.data

    def _tool_call(self, call: ToolCall, turn: Turn, k: int) -> dict[str, Any]:
        at = f"{turn.at}.tool_calls[{k}].function.arguments"
        try:
            arguments = orjson.loads(call.arguments)
        except ValueError as error:
            raise self.refused("Ollama takes them as an object, and this text is no JSON", at) from error
        if not isinstance(arguments, dict):
            raise self.refused("Ollama takes them as an object", at)
        told: dict[str, Any] = {"function": {"name": call.name, "arguments": arguments}}
        return {"id": call.id, **told} if call.id else told

    def tools(self, asked: Chat) -> list[dict[str, Any]]:
        """The tools to send; Ollama has no tool_choice, so what can be said of it is said by which are sent."""
        if asked.parallel_tools is False and asked.tools:
            self.lose(["parallel_tool_calls"])
        if asked.tool_choice == "none":
            return []
        offered = asked.tools
        if asked.tool_choice == "named":
            offered = tuple(tool for tool in asked.tools if tool.name == asked.tool_name)
            if not offered:
                raise self.refused(f"no tool is called {asked.tool_name[:64]!r}", "tool_choice.function.name")
        if asked.tool_choice in ("named", "required"):
            only = " only that tool was offered, and" if asked.tool_choice == "named" else ""
            self.warnings.append(
                f"tool_choice: {self._provider} cannot force a call;{only} it may answer without one"
            )
        if any(tool.strict for tool in offered):
            self.lose(["tools.function.strict"])
        return [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters or {"type": "object", "properties": {}},
                },
            }
            for tool in offered
        ]

    def prompt(self, prompt: Any) -> str | None:
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if isinstance(prompt, str) and prompt:
            return prompt
        if prompt is None and self._call.provider_options:
            return None
        raise self.refused("expected one text that is not empty", "prompt")

    def rest(self, rest: Mapping[str, Any], body: dict[str, Any]) -> None:
        """Every further parameter: said, refused or named as left out."""
        if not rest:
            return
        unsaid = []
        for name, value in rest.items():
            if name in _REFUSED:
                raise self.refused(_REFUSED[name], name)
            if name == "modalities" and value != ["text"]:
                raise self.refused("Ollama answers with text only", name)
            if name in ("logprobs", "top_logprobs"):
                body[name] = value
            elif name != "modalities":
                unsaid.append(name)
        if not body.get("logprobs"):
            body.pop("logprobs", None)
            body.pop("top_logprobs", None)
        self.lose(unsaid)

    def finished(self, body: dict[str, Any]) -> Worded:
        """The caller's own options over it, the context fitted."""
        stream = body["stream"]
        if self._call.provider_options:
            body = laid_over(body, self._call.provider_options)
            body["stream"] = stream  # how the answer is read is not the caller's to change
        payload = self.dumped(body)
        if (num_ctx := context_tokens(body, len(payload), self._call)) is not None:
            payload = self.dumped({**body, "options": {**(body.get("options") or {}), "num_ctx": num_ctx}})
        return Worded(payload, self.warnings)

    def dumped(self, body: dict[str, Any]) -> bytes:
        return json_of(self._provider, body)


def _is_texts(texts: Any) -> bool:
    if isinstance(texts, str):
        return bool(texts)
    return isinstance(texts, list) and bool(texts) and all(isinstance(text, str) and text for text in texts)
