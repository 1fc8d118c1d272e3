"""A failing Gemini answer sorted by what to do next. Pure.

    {"error": {"code": 429, "message": "...", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": ...}, ...]}}

alone, in an array of one, or inside a stream. What decides is the canonical status (google.rpc.Code), and the details
ErrorInfo (reason), QuotaFailure (which quota), RetryInfo (how long) and BadRequest (which field) where they are there.

Source: Google's API design guide (errors, google/rpc/error_details.proto), Gemini API guide to troubleshooting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from workers.core.errors import (
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
from workers.providers.base import error_from_status

_MAX_CODE_CHARACTERS = 200
_KINDS: dict[str, type[ProviderError]] = {
    "UNAVAILABLE": Overloaded,
    "INTERNAL": Overloaded,
    "UNKNOWN": Overloaded,
    "DEADLINE_EXCEEDED": Overloaded,
    "ABORTED": Overloaded,
    "CANCELLED": Overloaded,
    "UNAUTHENTICATED": KeyRefused,
    "INVALID_ARGUMENT": RequestRefused,
    "FAILED_PRECONDITION": RequestRefused,
    "OUT_OF_RANGE": RequestRefused,
    "NOT_FOUND": RequestRefused,
    "ALREADY_EXISTS": RequestRefused,
    "UNIMPLEMENTED": RequestRefused,
}
_REASONS: dict[str, type[ProviderError]] = {
    "API_KEY_INVALID": KeyRefused,
    "API_KEY_EXPIRED": KeyRefused,
    "API_KEY_SERVICE_BLOCKED": KeyRefused,
    "SERVICE_DISABLED": KeyRefused,
    "CONSUMER_SUSPENDED": KeyRefused,
    "BILLING_DISABLED": QuotaExhausted,
}
# Where the status says too little, the words do; all of them have to be there.
_WORDS: dict[str, tuple[tuple[tuple[str, ...], type[ProviderError]], ...]] = {
    "INVALID_ARGUMENT": (
        (("api key", "valid"), KeyRefused),
        (("api key", "expired"), KeyRefused),
        (("unexpected model name",), ModelUnknown),
        (("token count", "exceed"), ContextTooLong),
        (("payload size", "exceed"), ContextTooLong),
    ),
    "FAILED_PRECONDITION": (
        (("billing",), QuotaExhausted),
        (("location is not supported",), KeyRefused),
    ),
    "NOT_FOUND": (
        (("models/",), ModelUnknown),
        (("model", "not found"), ModelUnknown),
    ),
    # A file of another account, or none at all: the key is good.
    "PERMISSION_DENIED": ((("access", "the file"), RequestRefused), ((), KeyRefused)),
    "RESOURCE_EXHAUSTED": (
        (("limit: 0",), QuotaExhausted),
        (("prepay", "depleted"), QuotaExhausted),
        (("spending cap",), QuotaExhausted),
    ),
}


def error_in(data: Any) -> Any:
    """The error of a body or of an event, alone or in an array; None for what has none."""
    if isinstance(data, list) and data:
        data = data[0]
    return data.get("error") if isinstance(data, dict) else None


def error_of(provider: str, response: HttpResponse) -> ProviderError:
    """Read a failure; any bytes give a ProviderError. Inside a success the error's own code is the status."""
    try:
        error = error_in(orjson.loads(response.body))
    except ValueError:
        error = None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}
    code = error.get("code")
    if response.status < 400:
        response = replace(response, status=code if isinstance(code, int) and 400 <= code <= 599 else 500)
    message = str(error.get("message") or f"status {response.status} without a readable error")
    details = [each for each in _listed(error.get("details")) if isinstance(each, dict)]
    status = str(error.get("status") or "")[:_MAX_CODE_CHARACTERS]
    reason = next(_texts(details, "reason"), "")[:_MAX_CODE_CHARACTERS]
    body = error_body(
        message, kind=status or "provider_error", param=_field(details), code=reason or status or None
    )
    kind = _kind(status, reason, message.lower(), details)
    made = error_from_status(provider, message, response, body, code=reason or status or None, kind=kind)
    if made.retry_after_s is None:
        made.retry_after_s = next(
            (wait for text in _texts(details, "retryDelay") if (wait := _seconds(text))), None
        )
    return made


def _kind(
    status: str, reason: str, message: str, details: list[dict[str, Any]]
) -> type[ProviderError] | None:
    """What Google's own words say; None leaves it to the HTTP status."""
    if reason in _REASONS:
        return _REASONS[reason]
    if status == "RESOURCE_EXHAUSTED" and _is_spent(details):
        return QuotaExhausted
    for words, kind in _WORDS.get(status, ()):
        if all(word in message for word in words):
            return kind
    return RateLimited if status == "RESOURCE_EXHAUSTED" else _KINDS.get(status)


def _is_spent(details: list[dict[str, Any]]) -> bool:
    """Whether a quota that opens again only the next day, or that is none at all, is used up."""
    violations = [
        each for detail in details for each in _listed(detail.get("violations")) if isinstance(each, dict)
    ]
    return any(
        "PerDay" in str(each.get("quotaId")) or str(each.get("quotaValue")) == "0" for each in violations
    )


def _field(details: list[dict[str, Any]]) -> str | None:
    """The field of the request that is wrong, where it is told."""
    violations = [each for detail in details for each in _listed(detail.get("fieldViolations"))]
    field = violations[0].get("field") if violations and isinstance(violations[0], dict) else None
    return field[:_MAX_CODE_CHARACTERS] if isinstance(field, str) and field else None


def _texts(details: list[Mapping[str, Any]] | list[dict[str, Any]], name: str) -> Iterator[str]:
    return (detail[name] for detail in details if isinstance(detail.get(name), str))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _seconds(text: str) -> float | None:
    """A protobuf duration as JSON has it: `34s`, `0.5s`."""
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
