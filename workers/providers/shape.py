"""Answers in the OpenAI shape, for providers whose own answers look otherwise. Pure.

An adapter reads its provider's answer into an `Answer` (or tells `ChunkWriter` its deltas) and gets the bytes of a
chat.completion (or of its chunks). `created` is the provider's own clock, from its Date header; 0 without one.
`Answer` and `Choice` are named tuples for the reason that chat.py gives.

Source: OpenAI's published OpenAPI document: CreateChatCompletionResponse, its stream chunk, CreateEmbeddingResponse.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson

from workers.core.messages import Usage
from workers.providers.base import date_s
from workers.providers.chat import ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Choice(NamedTuple):
    """One of the answers; `reasoning` are thoughts that the provider shows."""

    text: str | None
    finish_reason: FinishReason
    calls: Sequence[ToolCall] = ()
    reasoning: str = ""
    refusal: str | None = None


class Answer(NamedTuple):
    """What a provider answered, whatever its own shape."""

    id: str
    model: str
    choices: Sequence[Choice]
    usage: Usage
    created: int = 0


def created_of(headers: Mapping[str, str]) -> int:
    """The provider's own time, Unix seconds; 0 when it does not say."""
    return int(date_s(headers) or 0)


def completion_bytes(answer: Answer) -> bytes:
    """The chat.completion object."""
    return orjson.dumps(
        {
            "id": answer.id,
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [
                {
                    "index": k,
                    "message": _message(choice),
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
                for k, choice in enumerate(answer.choices)
            ],
            "usage": usage_object(answer.usage),
        }
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    """CompletionUsage; tokens written to the provider's prompt cache stand beside the cached ones."""
    details: dict[str, int] = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": choice.refusal}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.calls:
        message["tool_calls"] = [_call(call) for call in choice.calls]
    return message


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


@dataclass(slots=True)
class ChunkWriter:
    """One choice told in deltas: gives each as a chat.completion.chunk and keeps what the whole answer needs."""

    id: str = ""
    model: str = ""
    created: int = 0
    _texts: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)
    _calls: dict[int, list[str]] = field(default_factory=dict)
    _begun: bool = False

    def text(self, delta: str) -> bytes:
        """More of the answer's words."""
        self._texts.append(delta)
        return self._chunk({"content": delta})

    def reasoning(self, delta: str) -> bytes:
        """More of the thoughts."""
        self._thoughts.append(delta)
        return self._chunk({"reasoning_content": delta})

    def call(self, index: int, *, id: str, name: str, arguments: str = "") -> bytes:  # noqa: A002  the field's name
        """A tool call begins; `index` counts calls from 0."""
        self._calls[index] = [id, name, arguments]
        function = {"name": name, "arguments": arguments}
        return self._chunk(
            {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}
        )

    def arguments(self, index: int, delta: str) -> bytes:
        """More of a call's arguments (JSON text)."""
        self._calls[index].append(delta)
        return self._chunk({"tool_calls": [{"index": index, "function": {"arguments": delta}}]})

    def end(self, finish_reason: FinishReason, usage: Usage | None = None) -> bytes:
        """The last chunk of the choice; with `usage` where the provider tells it by then."""
        return self._chunk({}, finish_reason, usage)

    def answer(self, finish_reason: FinishReason, usage: Usage) -> Answer:
        """The whole of it."""
        calls = [
            ToolCall(parts[0], parts[1], "".join(parts[2:]) or "{}")
            for _, parts in sorted(self._calls.items())
        ]
        text = "".join(self._texts)
        choice = Choice(
            text if text or not calls else None, finish_reason, calls, reasoning="".join(self._thoughts)
        )
        return Answer(self.id, self.model, [choice], usage, self.created)

    def _chunk(
        self, delta: dict[str, Any], finish_reason: FinishReason | None = None, usage: Usage | None = None
    ) -> bytes:
        if not self._begun:
            self._begun = True
            delta = {"role": "assistant", **delta}
        chunk: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        }
        if usage is not None:
            chunk["usage"] = usage_object(usage)
        return orjson.dumps(chunk)


def embeddings_bytes(
    vectors: Sequence[Sequence[float]], *, model: str, usage: Usage, encoding: str = "float"
) -> bytes:
    """The list of embeddings; `encoding` is `float` or `base64` (little-endian 32-bit floats)."""
    data = [
        {"object": "embedding", "index": k, "embedding": _packed(vector) if encoding == "base64" else vector}
        for k, vector in enumerate(vectors)
    ]
    counted = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return orjson.dumps({"object": "list", "data": data, "model": model, "usage": counted})


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
