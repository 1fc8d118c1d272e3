"""A GenerateContentResponse read into an `Answer`, whole or piece by piece (gemini_stream.py). Pure.

    parts           text; text marked as thought -> reasoning; functionCall -> a tool call, whose id is made from its
                    place and the response's id when Gemini gives none; other parts are named in the warnings
    finishReason    STOP; MAX_TOKENS and CONTINUATION -> length; a filter's reasons -> content_filter, ContentBlocked
                    when nothing was said; a call or an answer that the model botched -> UnusableReply, asking again
                    may help
    usageMetadata   the prompt's tokens and those of tool results are input; candidates' and thoughts' are output

Source: Gemini API v1beta reference: GenerateContentResponse, Candidate, FinishReason, UsageMetadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from workers.core.errors import ContentBlocked, KeyRefused, ProviderError, RequestRefused, UnusableReply
from workers.core.messages import HttpResponse, Usage
from workers.core.wire import error_body
from workers.providers.base import request_id
from workers.providers.chat import ToolCall
from workers.providers.shape import Answer, Choice, FinishReason, completion_bytes, created_of

MAX_NAME_CHARACTERS = 200  # stored inside the result, whose size the database bounds
MAX_TOKENS = 2**53  # what JSON readers and the database count exactly
_ENDINGS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",  # a request's own bound was reached; what was said is not the whole
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "ESCALATION",
         "MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        "content_filter",
    ),
}  # fmt: skip
_FAULTS: dict[str, type[ProviderError]] = {
    **dict.fromkeys(
        ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
         "NO_IMAGE", "IMAGE_OTHER"),
        UnusableReply,
    ),
    "MISSING_THOUGHT_SIGNATURE": RequestRefused,
    "PUP_LIMITED_DISABLED": KeyRefused,
}  # fmt: skip
_BESIDE = frozenset({"thought", "thoughtSignature", "partMetadata", "videoMetadata"})


@dataclass(slots=True)
class Said:
    """What one candidate has said."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    signatures: dict[int, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        """Whether there are words or calls."""
        return bool(self.calls) or any(self.texts)


@dataclass(frozen=True, slots=True)
class ChatReply:
    """An answer, and what beside it the OpenAI shape has no field of its own for."""

    answer: Answer
    signatures: tuple[dict[int, str], ...]
    warnings: tuple[str, ...]
    tier: str


def read_reply(provider: str, model: str, response: HttpResponse) -> ChatReply:
    """Read a success.

    Raises: ContentBlocked when a filter kept all of it back, another ProviderError as the finish reason says;
        ValueError, KeyError, TypeError or AttributeError for what is no answer.
    """
    data = orjson.loads(response.body)
    id_ = text_of(data, "responseId")
    usage = usage_of(data)
    candidates = data.get("candidates")
    if not candidates:
        raise_when_blocked(provider, data, response.headers)
        raise ValueError("no candidates in it")
    said = [read_parts(candidate, Said(), id_) for candidate in candidates]
    answered = said[0].anything or any(each.anything for each in said)
    choices = []
    warnings: tuple[str, ...] = ()
    for candidate, each in zip(candidates, said, strict=True):
        ending = ending_of(provider, text_of(candidate, "finishReason"), answered, usage, response.headers)
        choices.append(_choice(each, ending))
        warnings += left_out(provider, each)
    named = text_of(data, "modelVersion") or model[:MAX_NAME_CHARACTERS]
    answer = Answer(id_, named, choices, usage, created_of(response.headers))
    signatures = tuple([each.signatures for each in said])
    return ChatReply(answer, signatures, warnings, tier_of(data, response.headers))


def read_parts(candidate: Mapping[str, Any], said: Said, response_id: str) -> Said:
    """Add a candidate's parts to what it has said already."""
    content = candidate.get("content") or {}
    for part in content.get("parts") or ():
        text = part.get("text")
        if text is not None:
            if not isinstance(text, str):
                raise TypeError("a text that is none")
            (said.thoughts if part.get("thought") else said.texts).append(text)
        elif "functionCall" in part:
            if signature := part.get("thoughtSignature"):
                said.signatures[len(said.calls)] = str(signature)
            said.calls.append(_call(part["functionCall"], len(said.calls), response_id))
        else:
            said.left_out += [name for name in part if name not in _BESIDE]
    return said


def _call(call: Mapping[str, Any], index: int, response_id: str) -> ToolCall:
    name, args = call["name"], call.get("args")
    if not isinstance(name, str) or not isinstance(args, dict | None):
        raise TypeError("a function call that is none")
    made = f"call_{index}_{response_id}" if response_id else f"call_{index}"
    return ToolCall(
        str(call.get("id") or made)[:MAX_NAME_CHARACTERS], name, orjson.dumps(args or {}).decode()
    )


def _choice(said: Said, ending: FinishReason) -> Choice:
    text, thoughts = "".join(said.texts), "".join(said.thoughts)
    if said.calls:
        return Choice(text or None, "tool_calls" if ending == "stop" else ending, said.calls, thoughts)
    return Choice(text, ending, (), thoughts)


def ending_of(
    provider: str, reason: str, answered: bool, usage: Usage, headers: Mapping[str, str]
) -> FinishReason:
    """The finish reason in the OpenAI shape; raises the error that it stands for."""
    ending = _ENDINGS.get(reason)
    if ending == "content_filter":
        if answered:
            return ending
        raise _blocked(provider, f"the answer was kept back: {reason}", reason, usage, headers)
    if ending is not None:
        return ending
    kind = _FAULTS.get(reason)
    # OTHER, none or one that is newer than this table: what was said stands, silence is no answer.
    if kind is None and answered:
        return "stop"
    raise (kind or UnusableReply)(
        f"the model ended with {reason or 'no reason'}",
        provider=provider,
        provider_code=reason or None,
        request_id=request_id(headers),
        usage=usage,
    )


def raise_when_blocked(provider: str, data: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Raises ContentBlocked when the prompt was."""
    feedback = data.get("promptFeedback") or {}
    if reason := text_of(feedback, "blockReason"):
        message = text_of(feedback, "blockReasonMessage") or f"the prompt was blocked: {reason}"
        raise _blocked(provider, message, reason, usage_of(data), headers)


def _blocked(
    provider: str, message: str, reason: str, usage: Usage, headers: Mapping[str, str]
) -> ContentBlocked:
    # Without a status: Gemini says it with 200, under which a result would count as answered.
    return ContentBlocked(
        message,
        provider=provider,
        provider_code=reason,
        body=error_body(message, kind="content_filter", code=reason),
        request_id=request_id(headers),
        usage=usage,
    )


def usage_of(data: Mapping[str, Any]) -> Usage:
    """Tokens from `usageMetadata`; absent parts are 0. Raises ValueError for what is no count."""
    counted = data.get("usageMetadata")
    if not counted:
        return Usage()
    thoughts = _count(counted, "thoughtsTokenCount")
    return Usage(
        _count(counted, "promptTokenCount") + _count(counted, "toolUsePromptTokenCount"),
        _count(counted, "candidatesTokenCount") + thoughts,
        _count(counted, "cachedContentTokenCount"),
        thoughts,
    )


def _count(counted: Mapping[str, Any], name: str) -> int:
    tokens = counted.get(name) or 0
    if type(tokens) is not int or not 0 <= tokens <= MAX_TOKENS // 2:
        raise ValueError(f"{name} is no count of tokens")
    return tokens


def tier_of(data: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """The service tier that answered; empty for the standard one."""
    tier = headers.get("x-gemini-service-tier") or text_of(data.get("usageMetadata") or {}, "serviceTier")
    if not tier:
        return ""
    tier = tier[:MAX_NAME_CHARACTERS].lower()
    return "" if tier in ("standard", "unspecified") else tier


def text_of(data: Mapping[str, Any], name: str) -> str:
    """A short text; empty when there is none."""
    value = data.get(name)
    return value[:MAX_NAME_CHARACTERS] if isinstance(value, str) else ""


def left_out(provider: str, said: Said) -> tuple[str, ...]:
    """The warnings for parts of an answer that the OpenAI shape has no place for."""
    if not said.left_out:
        return ()
    names = dict.fromkeys(name[:MAX_NAME_CHARACTERS] for name in said.left_out[:20])
    return tuple(f"{name}: a part of {provider}'s answer that has no place in this one" for name in names)


def completion_with_signatures(reply: ChatReply) -> bytes:
    """The chat.completion; signatures stand at their tool calls as Google's own compatible endpoint puts them."""
    body = completion_bytes(reply.answer)
    if not any(reply.signatures):
        return body
    data = orjson.loads(body)
    for choice, signatures in zip(data["choices"], reply.signatures, strict=True):
        sign(choice["message"].get("tool_calls", ()), signatures)
    return orjson.dumps(data)


def sign(calls: Any, signatures: Mapping[int, str]) -> None:
    """Put the signatures at the tool calls, in place."""
    for index, call in enumerate(calls):
        if index in signatures:
            call["extra_content"] = {"google": {"thought_signature": signatures[index]}}
