"""Read Ollama's bodies as its server does: Go's JSON, which takes unknown fields and no wrong types. Pure.

Chat and generate become a `chat.ChatRequest`, embeds a list of texts. Sources: Ollama's published API document
(docs/api.md) and the sentences its server is known to refuse with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.simulator.answers import prompt_digest
from app.simulator.chat import ChatRequest, chosen_tools
from app.simulator.dialect import Terms
from app.simulator.errors import ApiError
from app.simulator.loading import Load
from app.simulator.models import CHAT
from app.simulator.ollama_fields import (
    format_of,
    image_url,
    kept_for_s,
    quoted,
    thinks_of,
    typed,
    wrong_type,
)
from app.simulator.ollama_models import is_here, known_name, purpose_of
from app.simulator.ollama_options import Options, read_options


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked chat or generate request. `model` is the name as the caller wrote it; replies say it back."""

    model: str
    chat: ChatRequest
    options: Options
    loads_only: bool  # no prompt: the model is loaded, or unloaded
    keep_alive_s: float
    raw: bool = False

    @property
    def load(self) -> Load:
        """How its model must be loaded."""
        return Load(self.options.num_ctx, self.keep_alive_s)


@dataclass(frozen=True, slots=True)
class EmbedAsked:
    """Texts to embed. `dimensions` 0 leaves the size to the model."""

    model: str
    texts: tuple[str, ...]
    dimensions: int
    options: Options
    keep_alive_s: float

    @property
    def load(self) -> Load:
        """How its model must be loaded."""
        return Load(self.options.num_ctx, self.keep_alive_s)


def read_chat(body: Mapping[str, Any], terms: Terms) -> Asked:
    """Check a body of /api/chat.

    Raises: ApiError for whatever the server would refuse.
    """
    kind = "ChatRequest"
    given = typed(body, kind, "messages", "[]api.Message") or []
    messages = tuple(_message(each, f"messages.{k}") for k, each in enumerate(given))
    tools = tuple(_tool(each) for each in typed(body, kind, "tools", "api.Tools") or ())
    return _asked(body, kind, messages, terms, tools=tools, loads_only=not messages)


def read_generate(body: Mapping[str, Any], terms: Terms) -> Asked:
    """Check a body of /api/generate: its prompt is answered as one message of a user.

    Raises: ApiError.
    """
    kind = "GenerateRequest"
    prompt = typed(body, kind, "prompt", "string") or ""
    images = [image_url(each) for each in typed(body, kind, "images", "[]api.ImageData") or ()]
    before = {name: typed(body, kind, name, "string") or "" for name in ("system", "template", "suffix")}
    context = typed(body, kind, "context", "[]int") or []
    raw = bool(typed(body, kind, "raw", "bool"))
    if raw and (before["system"] or before["template"] or context):
        raise ApiError(400, "raw mode does not support template, system, or context")
    if before["suffix"]:
        raise ApiError(400, f"{_full(body)} does not support insert")
    messages: list[dict[str, Any]] = []
    if before["system"]:
        messages.append({"role": "system", "content": before["system"]})
    said = {"role": "user", "content": _content(prompt, images)}
    # What came before makes another prompt: it must not be answered like the first.
    messages.append({**said, "context": context} if context else said)
    return _asked(body, kind, tuple(messages), terms, loads_only=not prompt and not images, raw=raw)


def read_embed(body: Mapping[str, Any], terms: Terms) -> EmbedAsked:
    """Check a body of /api/embed.

    Raises: ApiError.
    """
    kind = "EmbedRequest"
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given if given is not None else []
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ApiError(400, "invalid input type")
    return EmbedAsked(
        model=model_of(body, kind, terms),
        texts=tuple(texts) if texts != [""] else (),
        dimensions=typed(body, kind, "dimensions", "int") or 0,
        options=_options(body, kind),
        keep_alive_s=kept_for_s(body.get("keep_alive")),
    )


def read_old_embed(body: Mapping[str, Any], terms: Terms) -> EmbedAsked:
    """Check a body of /api/embeddings, which takes one `prompt`.

    Raises: ApiError.
    """
    kind = "EmbeddingRequest"
    prompt = typed(body, kind, "prompt", "string")
    texts = (prompt,) if prompt else ()
    keep_alive_s = kept_for_s(body.get("keep_alive"))
    return EmbedAsked(model_of(body, kind, terms), texts, 0, _options(body, kind), keep_alive_s)


def model_of(body: Mapping[str, Any], kind: str, terms: Terms, *, chats: bool = False) -> str:
    """The model a body names (`name` is the old word), if it is here and does what is asked.

    Raises: ApiError 400 without one, 404 for one that is not here.
    """
    model = typed(body, kind, "model", "string") or typed(body, kind, "name", "string")
    if not model:
        raise ApiError(400, "model is required")
    if not is_here(model, terms):
        raise ApiError(404, f"model {quoted(model)} not found, try pulling it first")
    if chats and not terms.all_models and purpose_of(model) != CHAT:
        raise ApiError(400, f'"{model}" does not support {"chat" if kind == "ChatRequest" else "generate"}')
    return str(model)


def _asked(
    body: Mapping[str, Any],
    kind: str,
    messages: tuple[dict[str, Any], ...],
    terms: Terms,
    *,
    loads_only: bool,
    tools: tuple[dict[str, Any], ...] = (),
    raw: bool = False,
) -> Asked:
    stream = typed(body, kind, "stream", "bool")
    keep_alive_s, thinks = kept_for_s(body.get("keep_alive")), thinks_of(body.get("think"))
    model = model_of(body, kind, terms, chats=True)
    options = _options(body, kind)
    wants_json, schema = format_of(body.get("format"))
    name = known_name(model)
    digest = prompt_digest(name, messages, 0)
    chat = ChatRequest(
        model=name,
        messages=messages,
        stream=stream is not False,
        max_tokens=options.num_predict,
        stop=options.stop,
        wants_json=wants_json,
        schema=schema,
        tools=tools,
        calls=chosen_tools(
            tools, None, required=False, parallel=True, wanted=terms.tool_calls, digest=digest
        ),
        thinks=thinks,
    )
    return Asked(model, chat, options, loads_only, keep_alive_s, raw)


def _message(given: Any, at: str) -> dict[str, Any]:
    kind = "ChatRequest"
    if not isinstance(given, dict):
        raise wrong_type(given, kind, "messages", "api.Message")
    where = "messages"
    content = typed(given, kind, "content", "string", where) or ""
    images = [image_url(each) for each in typed(given, kind, "images", "[]api.ImageData", where) or ()]
    role = typed(given, kind, "role", "string", where) or ""
    message: dict[str, Any] = {"role": role.lower(), "content": _content(content, images)}
    calls = typed(given, kind, "tool_calls", "[]api.ToolCall", where)
    if calls:
        message["tool_calls"] = [_tool_call(each, f"{at}.{k}") for k, each in enumerate(calls)]
    typed(given, kind, "thinking", "string", where)  # earlier thoughts are taken, and no part of the prompt
    for name in ("tool_name", "tool_call_id"):
        if typed(given, kind, name, "string", where):
            message[name] = given[name]
    return message


def _tool_call(given: Any, at: str) -> dict[str, Any]:
    kind, where = "ChatRequest", "messages.tool_calls"
    if not isinstance(given, dict):
        raise wrong_type(given, kind, where, "api.ToolCall")
    function = typed(given, kind, "function", "api.ToolCallFunction", where) or {}
    where = f"{where}.function"
    arguments = typed(function, kind, "arguments", "api.ToolCallFunctionArguments", where) or {}
    called = {
        "name": typed(function, kind, "name", "string", where) or "",
        "arguments": orjson.dumps(arguments).decode(),
    }
    return {"id": f"call_{at}", "type": "function", "function": called}


def _tool(given: Any) -> dict[str, Any]:
    kind, where = "ChatRequest", "tools.function"
    if not isinstance(given, dict):
        raise wrong_type(given, kind, "tools", "api.Tool")
    function = typed(given, kind, "function", "api.ToolFunction", "tools") or {}
    told: dict[str, Any] = {"name": typed(function, kind, "name", "string", where) or ""}
    for name, go_type in (("description", "string"), ("parameters", "api.ToolFunctionParameters")):
        value = typed(function, kind, name, go_type, where)
        if value:
            told[name] = value
    return {"type": "function", "function": told}


def _content(text: str, images: Sequence[str]) -> Any:
    if not images:
        return text
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return [{"type": "text", "text": text}, *shown] if text else shown


def _options(body: Mapping[str, Any], kind: str) -> Options:
    given = typed(body, kind, "options", "map[string]interface {}") or {}
    return read_options(given, truncates=typed(body, kind, "truncate", "bool") is not False)


def _full(body: Mapping[str, Any]) -> str:
    model = str(body.get("model"))
    return model if ":" in model else f"{model}:latest"
