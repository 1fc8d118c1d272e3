"""What Anthropic's error objects mean for the caller. Pure.

An error that comes with the status of a success (inside of a stream, a refusal) gets the status that its kind has
elsewhere: recorded with 200 it would pass for an answer.

Source: Anthropic's published page on errors: {"type": "error", "error": {"type", "message", "details"}, "request_id"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from workers.core.messages import HttpResponse
from workers.core.wire import error_body
from workers.providers.base import error_from_status, request_id

_MAX_CHARACTERS = 500

# Each type with its own status, for errors that come without one.
_BY_TYPE: dict[str, tuple[int, type[ProviderError]]] = {
    "invalid_request_error": (400, RequestRefused),
    "authentication_error": (401, KeyRefused),
    "billing_error": (402, QuotaExhausted),
    "permission_error": (403, KeyRefused),
    "not_found_error": (404, ModelUnknown),  # the path is ours, so the model is all that can be missing
    "request_too_large": (413, ContextTooLong),
    "rate_limit_error": (429, RateLimited),
    "api_error": (500, Overloaded),
    "timeout_error": (504, Overloaded),
    "overloaded_error": (529, Overloaded),
}
_UNTOLD_STATUS, _REFUSAL_STATUS = 500, 400
_BY_CODE: dict[str, type[ProviderError]] = {
    "contract_spend_limit_reached": QuotaExhausted,
    "enforced_spend_limit_reached": QuotaExhausted,
    "linked_organization_billing_unavailable": QuotaExhausted,
    "linked_organization_spend_limit_reached": QuotaExhausted,
    "user_profile_billing_not_authorized": QuotaExhausted,
    "user_profile_not_billable": QuotaExhausted,
    "organization_on_hold": KeyRefused,
}
# invalid_request_error covers causes that ask for different next steps and have no code: only words tell them apart.
_BY_WORDS: tuple[tuple[str, type[ProviderError]], ...] = (
    ("prompt is too long", ContextTooLong),
    ("exceed context limit", ContextTooLong),
    ("credit balance is too low", QuotaExhausted),
    ("usage limits", QuotaExhausted),
    ("spend limit", QuotaExhausted),
    ("content filtering policy", ContentBlocked),
    ("organization has been disabled", KeyRefused),
)


def error_of(name: str, response: HttpResponse) -> ProviderError:
    """The error in a failing response's body; what the status says where the body is none of Anthropic's."""
    status = response.status
    try:
        data = orjson.loads(response.body)
        told = data["error"]
        kind, message = str(told["type"])[:_MAX_CHARACTERS], str(told["message"])[:_MAX_CHARACTERS]
    except (ValueError, KeyError, TypeError):
        message = f"status {status} without a readable error"
        body = error_body(message, kind="provider_error")
        return error_from_status(name, message, _with_status(response, _UNTOLD_STATUS), body)
    usual_status, found = _BY_TYPE.get(kind, (_UNTOLD_STATUS, None))
    code = _code(told.get("details"))
    error = error_from_status(
        name,
        message,
        _with_status(response, usual_status),
        error_body(message, kind=kind, code=code),
        code=code or kind,
        kind=_BY_CODE.get(code or "") or (_by_words(message) if found is RequestRefused else found),
    )
    error.request_id = error.request_id or _text(data.get("request_id"))
    return error


def blocked(name: str, details: Any, headers: Mapping[str, str]) -> ContentBlocked:
    """A refusal before a word was said; `details` are the answer's `stop_details`."""
    told = details if isinstance(details, dict) else {}
    why = (
        _text(told.get("explanation"))
        or _text(told.get("category"))
        or "the model's safety filter stopped it"
    )
    message = f"refused: {why}"[:_MAX_CHARACTERS]
    return ContentBlocked(
        message,
        provider=name,
        status=_REFUSAL_STATUS,
        provider_code="refusal",
        body=error_body(message, kind="refusal", code="content_filter"),
        request_id=request_id(headers),
    )


def _with_status(response: HttpResponse, status: int) -> HttpResponse:
    return response if response.status >= 400 else replace(response, status=status)


def _by_words(message: str) -> type[ProviderError]:
    words = message.lower()
    return next((meant for told, meant in _BY_WORDS if told in words), RequestRefused)


def _code(details: Any) -> str | None:
    return _text(details.get("error_code")) if isinstance(details, dict) else None


def _text(value: Any) -> str | None:
    return value[:_MAX_CHARACTERS] if isinstance(value, str) and value else None
