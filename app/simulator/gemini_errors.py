"""What Gemini refuses: google.rpc.Status in JSON, with its details. Pure.

Shapes and words: ai.google.dev/gemini-api/docs/troubleshooting, and google/rpc/error_details.proto. The API
says in `RetryInfo` when to come back, not in a header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.simulator.dialect import LimitHit
from app.simulator.errors import ApiError

_RPC = "type.googleapis.com/google.rpc"
_SERVICE = "generativelanguage.googleapis.com"
_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_USUAL_WORDS: Mapping[int, str] = {
    401: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or "
    "other valid authentication credential.",
    403: "The caller does not have permission",
    404: "Requested entity was not found.",
    429: "Resource has been exhausted (e.g. check quota).",
    500: "An internal error has occurred. Please retry or report it.",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}


class GeminiError(ApiError):
    """A refusal with `details` of its own."""

    def __init__(
        self, status: int, message: str, details: Sequence[Mapping[str, Any]] = (), **more: Any
    ) -> None:
        super().__init__(status, message, **more)
        self.details = tuple(details)


def bad_request(violations: Sequence[tuple[str, str]]) -> ApiError:
    """400 for fields that cannot be read; each violation is (field, description)."""
    listed = [
        {"field": field, "description": said} if field else {"description": said}
        for field, said in violations
    ]
    details = [{"@type": f"{_RPC}.BadRequest", "fieldViolations": listed}]
    return GeminiError(400, "\n".join(said for _, said in violations), details)


def refused(at: str, said: str, request: str = "GenerateContentRequest") -> ApiError:
    """400 for a value that can be read but not meant; `at` is the field's path in snake case."""
    return GeminiError(400, f"* {request}.{at}: {said}\n")


def not_json() -> ApiError:
    """400: the body is not JSON, or not an object."""
    return bad_request([("", "Invalid JSON payload received. Unexpected token.")])


def missing_key() -> ApiError:
    """403: no key at all."""
    return GeminiError(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
        "or other form of API consumer identity to call this API.",
    )


def wrong_key() -> ApiError:
    """400, not 401: that is how this API refuses a key it does not know."""
    message = "API key not valid. Please pass a valid API key."
    info = {"reason": "API_KEY_INVALID", "domain": "googleapis.com", "metadata": {"service": _SERVICE}}
    localized = {"@type": f"{_RPC}.LocalizedMessage", "locale": "en-US", "message": message}
    return GeminiError(400, message, [{"@type": f"{_RPC}.ErrorInfo", **info}, localized])


def unknown_model(model: str, method: str) -> ApiError:
    """404: nobody of that name, or not for this method."""
    return GeminiError(
        404,
        f"models/{model} is not found for API version v1beta, or is not supported for {method}. Call "
        "ListModels to see the list of available models and their supported methods.",
    )


def over_limit(hit: LimitHit) -> ApiError:
    """429 of a limit a minute, with its quota and when to come back; without that where it never will fit."""
    noun = "Requests" if hit.meter.limit.noun == "requests" else "InputTokens"
    wait_s = None if math.isinf(hit.wait_s) else hit.wait_s
    return _quota(f"Generate{noun}PerMinutePerProjectPerModel", hit.model, hit.meter.limit.per_minute, wait_s)


def injected(status: int, code: str | None) -> ApiError:
    """The usual error of a status; code `insufficient_quota` makes a 429 that of a spent day."""
    if status == 429 and code == "insufficient_quota":
        return _quota("GenerateRequestsPerDayPerProjectPerModel", "", 0, None)
    said = _USUAL_WORDS.get(status, f"The simulator was asked to refuse with {status}.")
    return GeminiError(status, said, code=code)


def error_body(error: ApiError) -> bytes:
    """The JSON of any refusal, those of the shared parts too."""
    status = _STATUSES.get(error.status, "INTERNAL" if error.status >= 500 else "FAILED_PRECONDITION")
    details = [dict(each) for each in getattr(error, "details", ())]
    if error.status == 429 and error.retry_after_s is not None:
        delay = f"{math.ceil(error.retry_after_s * 1000) / 1000:g}s"
        details.append({"@type": f"{_RPC}.RetryInfo", "retryDelay": delay})
    shown: dict[str, Any] = {"code": error.status, "message": error.message, "status": status}
    if details:
        shown["details"] = details
    return orjson.dumps({"error": shown}, option=orjson.OPT_INDENT_2)


def _quota(quota_id: str, model: str, limit: int, wait_s: float | None) -> ApiError:
    said = "You exceeded your current quota, please check your plan and billing details."
    metric = (
        f"{_SERVICE}/generate_{'content_requests' if 'Requests' in quota_id else 'content_input_token_count'}"
    )
    violation: dict[str, Any] = {"quotaMetric": metric, "quotaId": quota_id}
    if model:
        violation["quotaDimensions"] = {"location": "global", "model": model}
    if limit:
        violation["quotaValue"] = str(limit)
        said += f"\n* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}"
    if wait_s is not None:
        said += f"\nPlease retry in {wait_s:.9g}s."
    details = [{"@type": f"{_RPC}.QuotaFailure", "violations": [violation]}]
    return GeminiError(429, said, details, retry_after_s=wait_s)
