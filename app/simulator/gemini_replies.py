"""Gemini's JSON: one GenerateContentResponse or the stream of them, embeddings, counts, the model list. Pure.

Shapes: ai.google.dev/api/generate-content#v1beta.GenerateContentResponse, /api/embeddings, /api/models.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.simulator.chat import ChatAnswer, ChatRequest, Choice
from app.simulator.dialect import Stamp
from app.simulator.gemini_read import GenerateRequest
from app.simulator.models import CHAT, EMBEDDING, MODELS
from app.simulator.pieces import pieces_of
from app.simulator.usage import TOKENS_PER_IMAGE, count_tokens

_METHODS = {
    CHAT: ("generateContent", "streamGenerateContent", "countTokens"),
    EMBEDDING: ("embedContent", "batchEmbedContents", "countTokens"),
}
_REASONS = {"length": "MAX_TOKENS"}
_CONTEXT_TOKENS = {CHAT: 1_048_576, EMBEDDING: 8_192}
_OUTPUT_TOKENS = {CHAT: 65_536, EMBEDDING: 1}


@dataclass(frozen=True, slots=True)
class Written:
    """What a reply is made of."""

    request: GenerateRequest
    answer: ChatAnswer
    cached_tokens: int

    @property
    def chat(self) -> ChatRequest:
        return self.request.chat


def whole(written: Written, stamp: Stamp) -> dict[str, Any]:
    """One GenerateContentResponse with all candidates."""
    shows = written.request.shows_thoughts
    candidates = [
        {
            "content": {"parts": _thoughts(choice, shows) + _parts(choice, stamp, k), "role": "model"},
            "finishReason": _REASONS.get(choice.finish_reason, "STOP"),
            "index": k,
        }
        for k, choice in enumerate(written.answer.choices)
    ]
    return _response(written.chat.model, {"candidates": candidates}, usage_of(written), stamp)


def chunks(written: Written, stamp: Stamp) -> Iterator[dict[str, Any]]:
    """The responses of a stream. Each says what was paid so far, the last of a candidate why it ended."""
    spent = 0
    for k, choice in enumerate(written.answer.choices):
        texts = [{"text": piece} for piece in pieces_of(choice.text or "")] if not choice.calls else []
        steps = [[part] for part in [*_thoughts(choice, written.request.shows_thoughts), *texts]]
        steps += [_parts(choice, stamp, k)] if choice.calls else []
        for n, parts in enumerate(steps):
            spent += sum(count_tokens(part.get("text", "")) for part in parts if "thought" not in part)
            candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": k}
            ends = n == len(steps) - 1
            if ends:
                candidate["finishReason"] = _REASONS.get(choice.finish_reason, "STOP")
            last = ends and k == len(written.answer.choices) - 1
            usage = usage_of(written) if last else usage_of(written, spent)
            yield _response(written.chat.model, {"candidates": [candidate]}, usage, stamp)


def blocked(model: str, prompt_tokens: int, stamp: Stamp) -> dict[str, Any]:
    """The answer to a prompt that was judged unsafe: no candidates, and only the prompt is paid."""
    rating = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
    feedback = {"blockReason": "SAFETY", "safetyRatings": [rating]}
    details = [{"modality": "TEXT", "tokenCount": prompt_tokens}]
    usage = {
        "promptTokenCount": prompt_tokens,
        "totalTokenCount": prompt_tokens,
        "promptTokensDetails": details,
    }
    return _response(model, {"promptFeedback": feedback}, usage, stamp)


def usage_of(written: Written, spent: int | None = None) -> dict[str, Any]:
    """usageMetadata: candidates and thoughts are counted apart, the total has both.

    Args:
        spent: tokens of the candidates so far, where the stream is not at its end.
    """
    answer = written.answer
    candidates = answer.completion_tokens - answer.reasoning_tokens if spent is None else spent
    total = answer.prompt_tokens + candidates + answer.reasoning_tokens
    details = modalities(written.chat, answer.prompt_tokens)
    usage = {
        "promptTokenCount": answer.prompt_tokens,
        "candidatesTokenCount": candidates,
        "totalTokenCount": total,
        "promptTokensDetails": details,
    }
    if answer.reasoning_tokens:
        usage["thoughtsTokenCount"] = answer.reasoning_tokens
    if written.cached_tokens:
        usage["cachedContentTokenCount"] = written.cached_tokens
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": written.cached_tokens}]
    return usage


def modalities(request: ChatRequest, prompt_tokens: int) -> list[dict[str, Any]]:
    """Tokens of a prompt by what they are: text, and images if it has any."""
    images = sum(
        1
        for message in request.messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    )
    details = [{"modality": "TEXT", "tokenCount": prompt_tokens - images * TOKENS_PER_IMAGE}]
    if images:
        details.append({"modality": "IMAGE", "tokenCount": images * TOKENS_PER_IMAGE})
    return details


def as_events(responses: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """Server-sent events; the API ends their lines with CRLF and sends no [DONE]."""
    for each in responses:
        yield b"data: " + orjson.dumps(each) + b"\r\n\r\n"


def as_array(responses: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """One JSON array, piece by piece: a stream without alt=sse."""
    before = b"["
    for each in responses:
        yield before + orjson.dumps(each)
        before = b",\r\n"
    yield b"]" if before != b"[" else b"[]"


def embedded(vectors: Sequence[Sequence[float]], tokens: int, *, batch: bool) -> dict[str, Any]:
    """The answer of batchEmbedContents, or of embedContent with its only vector."""
    usage = {"promptTokenCount": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}
    if batch:
        return {"embeddings": [{"values": each} for each in vectors], "usageMetadata": usage}
    return {"embedding": {"values": vectors[0]}, "usageMetadata": usage}


def model_object(model: str) -> dict[str, Any]:
    """One model as /v1beta/models shows it."""
    kind = MODELS.get(model, CHAT)
    return {
        "name": f"models/{model}",
        "baseModelId": model,
        "version": "001",
        "displayName": model,
        "description": "A simulated model: its answers are made up.",
        "inputTokenLimit": _CONTEXT_TOKENS[kind],
        "outputTokenLimit": _OUTPUT_TOKENS[kind],
        "supportedGenerationMethods": list(_METHODS[kind]),
    }


def _response(model: str, what: dict[str, Any], usage: dict[str, Any], stamp: Stamp) -> dict[str, Any]:
    return {**what, "usageMetadata": usage, "modelVersion": model, "responseId": stamp.id}


def _thoughts(choice: Choice, shows: bool) -> list[dict[str, Any]]:
    return [{"text": choice.thinking, "thought": True}] if shows and choice.thinking else []


def _parts(choice: Choice, stamp: Stamp, index: int) -> list[dict[str, Any]]:
    """The parts of a candidate after its thoughts."""
    if not choice.calls:
        return [{"text": choice.text or ""}]
    parts: list[dict[str, Any]] = []
    for k, call in enumerate(choice.calls):
        called = {"id": f"{stamp.id}{index}{k}", "name": call.name, "args": orjson.loads(call.arguments)}
        parts.append({"functionCall": called})
    if choice.thinking:
        # As the API does: the first call of a thinking model's turn carries the signature.
        parts[0]["thoughtSignature"] = base64.b64encode(stamp.id.encode()).decode()
    return parts
