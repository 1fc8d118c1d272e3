"""A chat request in the OpenAI shape told as a GenerateContentRequest. Pure.

    system messages     systemInstruction; one between other messages becomes a user's turn, with a warning
    turns               contents with the roles user and model; a tool's answers are a user's functionResponse parts
    images, sounds,     inlineData (base64); fileData for what Gemini reads by itself: gs:// objects, files of its
    documents           Files API, YouTube. Any other URL is refused: the API wants a media type beside it, which
                        nobody knows without fetching it (who does may give `contents` in provider_options)
    tools               functionDeclarations with the schema as it is (parametersJsonSchema), functionCallingConfig
    response_format     responseMimeType and responseSchema (gemini_schema.py)
    reasoning_effort    thinkingConfig: a budget for generations 1 and 2, a level from 3 on

Thought signatures: from generation 3 on, Gemini wants back the signature that came with a function call. It travels
where Google's own OpenAI-compatible endpoint puts it, `tool_calls[].extra_content.google.thought_signature`; for a
call that has none, the word that its guide gives for calls of other origin is sent.

Source: Gemini API v1beta reference (models.generateContent), guides to function calling, thinking, thought
signatures and OpenAI compatibility (the budgets for an effort).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.base import lost
from workers.providers.chat import Chat, Media, Part, Text, ToolCall, Turn
from workers.providers.chat_reading import read_chat
from workers.providers.gemini_schema import gemini_schema

FILES = "https://generativelanguage.googleapis.com/"
_READ_BY_ITSELF = ("gs://", FILES, "https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")
_UNSIGNED = "skip_thought_signature_validator"
_SCHEMA_AT = "response_format.json_schema.schema"
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
_LEAST_OF_PRO = 128  # 2.5 Pro answers 400 to 0
_LEVELS = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH",
}  # fmt: skip
_TIERS = {"flex": "flex", "priority": "priority", "default": "standard", "standard": "standard"}
# What decides the answer and has no counterpart, and the values with which it asks for nothing special.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"], []),
    "audio": (),
    "web_search_options": (),
    "functions": ([],),
    "function_call": ("none",),
}


def bare_model(model: str) -> str:
    """The model's name without the folder of the list of models."""
    return model.removeprefix("models/")


def chat_request(provider: str, call: Call) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body and what is lost in it. Raises: Untranslatable."""
    request = _Request(provider, call)
    return request.body(), tuple(request.warnings)


class _Request:
    def __init__(self, provider: str, call: Call) -> None:
        self._provider = provider
        self._call = call
        self._is_older = bare_model(call.model).startswith(("gemini-1", "gemini-2"))
        self.warnings: list[str] = []

    def body(self) -> dict[str, Any]:
        chat = read_chat(self._provider, self._call)
        body: dict[str, Any] = {}
        contents = self._contents(chat)
        if chat.system:
            words = {"parts": [{"text": text} for text in chat.system]}
            if contents or self._call.provider_options:
                body["systemInstruction"] = words
            else:
                contents = [{"role": "user", **words}]
                self.warnings.append(
                    "messages: there are only system messages; they were sent as a user's turn"
                )
        if contents:
            body["contents"] = contents
        if chat.tools:
            body["tools"] = [{"functionDeclarations": self._declared(chat)}]
        if chat.tools or "tools" in self._call.provider_options:
            self._tool_choice(chat, body)
        elif chat.tool_choice in ("required", "named"):
            raise self._refused("there are no tools", "tool_choice")
        if config := self._config(chat):
            body["generationConfig"] = config
        self._rest(chat, body)
        return body

    # --- turns

    def _contents(self, chat: Chat) -> list[dict[str, Any]]:
        contents: list[dict[str, Any]] = []
        answers: list[dict[str, Any]] | None = None
        for turn in chat.turns:
            if turn.role == "tool":
                # The answers to one turn's calls belong together: Gemini counts them against the calls.
                if answers is None:
                    answers = []
                    contents.append({"role": "user", "parts": answers})
                answers.append(self._tool_answer(turn))
                continue
            answers = None
            parts = [self._part(part, turn, k) for k, part in enumerate(turn.parts)]
            if turn.calls:
                parts += self._calls(turn)
            if turn.role == "system":
                self.warnings.append(f"{turn.at}: {self._provider} takes system messages at the start only; "
                                     "it was sent as a user's turn")  # fmt: skip
            role = "model" if turn.role == "assistant" else "user"
            contents.append({"role": role, "parts": parts or [{"text": ""}]})
        return contents

    def _part(self, part: Part, turn: Turn, index: int) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"text": part.text}
        at = f"{turn.at}.content[{index}]"
        if part.detail not in ("", "auto"):
            self.warnings += lost(self._provider, [f"{at}.image_url.detail"])
        if part.filename:
            self.warnings += lost(self._provider, [f"{at}.file.filename"])
        if part.data:
            return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
        return {"fileData": {"fileUri": self._uri(part, at)}}

    def _uri(self, media: Media, at: str) -> str:
        where, path = (
            (media.url, "image_url.url") if media.kind == "image" else (media.file_id, "file.file_id")
        )
        if where.startswith("files/"):
            return f"{FILES}v1beta/{where}"
        if where.startswith(_READ_BY_ITSELF):
            return where
        wanted = "a data: URL, gs://, a file of its Files API or YouTube"
        raise self._refused(f"the media has to be {wanted}", f"{at}.{path}")

    def _tool_answer(self, turn: Turn) -> dict[str, Any]:
        if not turn.name:
            raise self._refused("no earlier message has a tool call of this id", f"{turn.at}.tool_call_id")
        if not all(isinstance(part, Text) for part in turn.parts):
            raise self._refused("a tool's answer has to be text", f"{turn.at}.content")
        answer = {"name": turn.name, "response": _response(turn.text)}
        if turn.call_id:
            answer["id"] = turn.call_id
        return {"functionResponse": answer}

    def _calls(self, turn: Turn) -> list[dict[str, Any]]:
        raw = self._call.body["messages"][int(turn.at[len("messages[") : -1])]["tool_calls"]
        parts: list[dict[str, Any]] = []
        for k, call in enumerate(turn.calls):
            told: dict[str, Any] = {"name": call.name, "args": self._args(call, f"{turn.at}.tool_calls[{k}]")}
            if call.id:
                told["id"] = call.id
            part: dict[str, Any] = {"functionCall": told}
            if signature := _signature(raw[k]):
                part["thoughtSignature"] = signature
            elif k == 0 and not self._is_older:
                part["thoughtSignature"] = _UNSIGNED
            parts.append(part)
        return parts

    def _args(self, call: ToolCall, at: str) -> dict[str, Any]:
        try:
            args = orjson.loads(call.arguments)
        except ValueError:
            args = None
        if not isinstance(args, dict):
            raise self._refused("expected a JSON object", f"{at}.function.arguments")
        return args

    # --- tools

    def _declared(self, chat: Chat) -> list[dict[str, Any]]:
        declared: list[dict[str, Any]] = []
        for k, tool in enumerate(chat.tools):
            function: dict[str, Any] = {"name": tool.name}
            if tool.description:
                function["description"] = tool.description
            # Told as it is: here a keyword that the model does not heed narrows nothing that was promised.
            if tool.parameters is not None:
                function["parametersJsonSchema"] = tool.parameters
            if tool.strict:
                self.warnings += lost(self._provider, [f"tools[{k}].function.strict"])
            declared.append(function)
        return declared

    def _tool_choice(self, chat: Chat, body: dict[str, Any]) -> None:
        if chat.tool_choice:
            choice: dict[str, Any] = {"mode": _MODES[chat.tool_choice]}
            if chat.tool_name:
                choice["allowedFunctionNames"] = [chat.tool_name]
            body["toolConfig"] = {"functionCallingConfig": choice}
        if chat.parallel_tools is False and chat.tool_choice != "none":
            raise self._refused("several calls at once cannot be ruled out", "parallel_tool_calls")

    # --- generationConfig

    def _config(self, chat: Chat) -> dict[str, Any]:
        sampling = {"temperature": chat.temperature, "topP": chat.top_p}
        if not self._call.traits.takes_sampling:
            asked = [name for name in ("temperature", "top_p") if getattr(chat, name) is not None]
            self.warnings += lost(bare_model(self._call.model), asked)
            sampling = {}
        said: dict[str, Any] = {
            "maxOutputTokens": chat.cap,
            **sampling,
            "stopSequences": chat.stop or None,
            "seed": chat.seed,
            "candidateCount": chat.choices if chat.choices != 1 else None,
            "presencePenalty": chat.presence_penalty,
            "frequencyPenalty": chat.frequency_penalty,
        }
        config = {name: value for name, value in said.items() if value is not None}
        self._format(chat, config)
        if chat.reasoning_effort:
            config["thinkingConfig"] = self._thinking(chat.reasoning_effort)
        return config

    def _format(self, chat: Chat, config: dict[str, Any]) -> None:
        if chat.json_mode or chat.schema:
            config["responseMimeType"] = "application/json"
        if chat.schema:
            schema = gemini_schema(self._provider, chat.schema.schema, _SCHEMA_AT)
            if chat.schema.description:
                schema.setdefault("description", chat.schema.description)
            config["responseSchema"] = schema

    def _thinking(self, effort: str) -> dict[str, Any]:
        known = _BUDGETS if self._is_older else _LEVELS
        if effort not in known:
            raise self._refused(f"expected one of {', '.join(known)}", "reasoning_effort")
        if effort == "none" and bare_model(self._call.model).startswith("gemini-2.5-pro"):
            self.warnings.append(
                "reasoning_effort: this model always thinks; the least there is was asked for"
            )
            return {"thinkingBudget": _LEAST_OF_PRO}
        nearest = "xhigh" if self._is_older else "none"
        if effort == nearest:
            told = "high" if self._is_older else "minimal"
            self.warnings.append(f"reasoning_effort: this model has no {effort}; {told} was asked for")
        return {"thinkingBudget": _BUDGETS[effort]} if self._is_older else {"thinkingLevel": _LEVELS[effort]}

    # --- the rest

    def _rest(self, chat: Chat, body: dict[str, Any]) -> None:
        left: list[str] = ["user"] if chat.user else []
        for name, value in chat.rest.items():
            if name in _REFUSED:
                if value not in _REFUSED[name]:
                    raise self._refused("Gemini's API cannot be asked for it in this shape", name)
            elif name == "service_tier" and isinstance(value, str) and value in _TIERS:
                body["serviceTier"] = _TIERS[value]
            elif name == "top_k":
                body.setdefault("generationConfig", {})["topK"] = value
            elif (name, value) != ("service_tier", "auto"):
                left.append(name)
        if left:
            self.warnings += lost(self._provider, left)

    def _refused(self, why: str, param: str) -> Untranslatable:
        return Untranslatable(why, provider=self._provider, param=param)


def _response(text: str) -> dict[str, Any]:
    """A tool's answer as the object that Gemini wants: itself when it is one, else under the key `output`."""
    if text.lstrip()[:1] == "{":
        try:
            answer = orjson.loads(text)
        except ValueError:
            return {"output": text}
        if isinstance(answer, dict):
            return answer
    return {"output": text}


def _signature(call: Mapping[str, Any]) -> str:
    inner: Any = call
    for name in ("extra_content", "google", "thought_signature"):
        inner = inner.get(name) if isinstance(inner, Mapping) else None
    return inner if isinstance(inner, str) else ""
