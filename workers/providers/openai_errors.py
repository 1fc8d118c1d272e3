"""What a failing server that speaks OpenAI's protocol said, sorted by what to do about it. Pure.

OpenAI's error object first; then the shapes of servers that only nearly speak its language (vLLM, llama.cpp,
LM Studio, FastAPI, gateways in front of them), web pages and nothing at all. Every error gets the same shape.

Source: OpenAI's published OpenAPI document (Error, ResponseError) and error-code guide; Azure OpenAI's reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from workers.core.errors import (
    ContentBlocked,
    ContextTooLong,
    KeyRefused,
    ModelUnknown,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
)
from workers.core.messages import HttpResponse, Usage
from workers.core.wire import error_body
from workers.providers.base import date_s, error_from_status, kind_of_status, request_id, retry_after_s

_KINDS: dict[str, type[ProviderError]] = {
    "insufficient_quota": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "invalid_api_key": KeyRefused,
    "authentication_error": KeyRefused,
    "model_not_found": ModelUnknown,
    "DeploymentNotFound": ModelUnknown,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ContentBlocked,
    "content_policy_violation": ContentBlocked,
    "image_content_policy_violation": ContentBlocked,
    "moderation_blocked": ContentBlocked,
    "bio_policy": ContentBlocked,
    "misalignment_policy_violation": ContentBlocked,
    "rate_limit_exceeded": RateLimited,
    "server_error": Overloaded,
    # Told inside of a response, without a status: the same picture will be refused again.
    **dict.fromkeys(
        ("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "image_too_large",
         "image_too_small", "image_parse_error", "invalid_image_mode", "image_file_too_large",
         "unsupported_image_media_type", "empty_image_file", "image_file_not_found", "data_residency_mismatch"),
        RequestRefused,
    ),
}  # fmt: skip
# Servers without codes say it in words only.
_TOO_LONG = re.compile(r"context (?:length|size|window)", re.IGNORECASE)
# More tokens than the account may use in a minute: no minute will ever have room for it.
_NEVER_FITS = re.compile(r"request too large", re.IGNORECASE)
_REFUSED_TYPES = ("invalid_request_error", "BadRequestError", "invalid_prompt")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_MAX_SHOWN_CHARACTERS = 200
_MAX_NAME_CHARACTERS = 200
_MAX_MESSAGE_CHARACTERS = 500
_NAMES = frozenset({"message", "type", "param", "code"})


@dataclass(frozen=True, slots=True)
class Words:
    """An error in the provider's words; `code` is text or a number, as the server has it."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | int | None = None

    def body(self) -> bytes:
        """The error object, all four keys present."""
        return orjson.dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.type or "provider_error",
                    "param": self.param,
                    "code": self.code,
                }
            }
        )


def failure(provider: str, response: HttpResponse) -> ProviderError:
    """The error that a status of 400 and above stands for; any bytes give one."""
    try:
        data = orjson.loads(response.body)
    except ValueError:
        data = None
    words = words_in(data)
    if words is None:
        message = _unreadable(response)
        return error_from_status(provider, message, response, error_body(message, kind="provider_error"))
    return error_from_status(
        provider,
        words.message,
        response,
        _as_sent(response.body, data) or words.body(),
        code=None if words.code is None else str(words.code),
        kind=_kind(words, response.status),
    )


def reported(
    provider: str, error: Any, headers: Mapping[str, str], *, usage: Usage | None = None
) -> ProviderError:
    """The error that stands where an answer was promised: in a stream, or in a body of status 200.

    Args:
        error: the error object, or whatever stands in its place.
        usage: what was charged all the same.
    """
    words = words_in({"error": error}) or Words("an error without words")
    status = _status_in(words.code)
    kind = _kind(words, status or 400)
    if kind is None:
        kind = RequestRefused if words.type in _REFUSED_TYPES or words.code in _REFUSED_TYPES else Overloaded
        kind = kind_of_status(status) if status else kind
    return kind(
        words.message[:_MAX_MESSAGE_CHARACTERS],
        provider=provider,
        status=status,  # the HTTP status was a success: only a number in the error may stand in its place
        provider_code=None if words.code is None else str(words.code),
        body=words.body(),
        request_id=request_id(headers),
        retry_after_s=retry_after_s(headers, now_s=date_s(headers)),
        usage=usage,
    )


def words_in(data: Any) -> Words | None:
    """The error in a parsed body, whichever of the known shapes it has; None for none of them."""
    if isinstance(data, list) and data:  # Gemini's compatible endpoint wraps the object in an array
        data = data[0]
    if not isinstance(data, dict):
        return None
    error = data.get("error")
    if isinstance(error, str) and error:
        return Words(error, _name(data.get("error_type")), code=_code(data.get("code")))
    found = error if isinstance(error, dict) else data
    message = _message(found)
    if not message:
        return None
    return Words(message, _name(found.get("type")), _name(found.get("param")), _code(found.get("code")))


def _message(found: dict[str, Any]) -> str:
    said = found.get("message") or found.get("detail")
    if isinstance(said, list):  # FastAPI: what is wrong where, one object each
        said = "; ".join(_located(each) for each in said)
    elif isinstance(said, dict):
        said = said.get("message") or said.get("msg")
    return said if isinstance(said, str) else ""


def _located(problem: Any) -> str:
    if not isinstance(problem, dict):
        return str(problem)[:_MAX_SHOWN_CHARACTERS]
    place = problem.get("loc")
    path = ".".join(str(step) for step in place) if isinstance(place, list) else ""
    return f"{path}: {problem.get('msg')}" if path else str(problem.get("msg"))


def _kind(words: Words, status: int) -> type[ProviderError] | None:
    if status == 429 and _NEVER_FITS.search(words.message):
        return RequestRefused
    for name in (words.code, words.type):
        if isinstance(name, str) and name in _KINDS:
            return _KINDS[name]
    if status == 404 and (words.param == "model" or "model" in words.message.lower()):
        return ModelUnknown
    if status in (400, 422) and _TOO_LONG.search(words.message):
        return ContextTooLong
    return None


def _status_in(code: str | int | None) -> int | None:
    number = int(code) if isinstance(code, int) or (code and code.isascii() and code.isdigit()) else 0
    return number if 400 <= number <= 599 else None


def _as_sent(raw: bytes, data: Any) -> bytes | None:
    """The server's own bytes, if they have the right shape already: they may say more than the four names."""
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict) or not error.keys() >= _NAMES or not isinstance(error["message"], str):
        return None
    try:
        return one_line(raw, data)
    except TypeError:  # deeper than can be written again
        return None


def one_line(raw: bytes, data: Any) -> bytes:
    """The JSON as a JSONL file can hold it: OpenAI itself answers with indented bodies."""
    return orjson.dumps(data) if b"\n" in raw or b"\r" in raw else raw


def _name(value: Any) -> str | None:
    return value[:_MAX_NAME_CHARACTERS] if isinstance(value, str) and value else None


def _code(value: Any) -> str | int | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        return value
    return _name(value)


def _unreadable(response: HttpResponse) -> str:
    head = " ".join(response.body[:4096].decode("utf-8", "replace").split())
    if not head:
        return f"status {response.status} with an empty body"
    if head.startswith("<"):
        title = _TITLE.search(head)
        named = f": {title[1].strip()[:_MAX_SHOWN_CHARACTERS]}" if title and title[1].strip() else ""
        return f"status {response.status} with a web page{named}"
    shown = "".join(sign if sign.isprintable() else "?" for sign in head[:_MAX_SHOWN_CHARACTERS])
    return f"status {response.status} without a readable error: {shown}"
