"""Errors of Anthropic, sorted by what to do next, in the OpenAI shape."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from workers.core import errors
from workers.core.errors import KeyRefused, ProviderError
from workers.core.messages import HttpResponse
from workers.providers.anthropic import Anthropic

HEADERS = {"request-id": "req_1"}


def failure(status: int, kind: str, words: str = "no", **more: Any) -> HttpResponse:
    told = {"type": "error", "error": {"type": kind, "message": words, **more}, "request_id": "req_2"}
    return HttpResponse(status, {}, orjson.dumps(told))


@pytest.mark.parametrize(
    ("status", "kind", "words", "expected"),
    [
        (429, "rate_limit_error", "slow down", errors.RateLimited),
        (529, "overloaded_error", "Overloaded", errors.Overloaded),
        (500, "api_error", "Internal server error", errors.Overloaded),
        (504, "timeout_error", "took too long", errors.Overloaded),
        (401, "authentication_error", "invalid x-api-key", errors.KeyRefused),
        (403, "permission_error", "not for this key", errors.KeyRefused),
        (402, "billing_error", "payment", errors.QuotaExhausted),
        (404, "not_found_error", "model: claude-0", errors.ModelUnknown),
        (413, "request_too_large", "too many bytes", errors.ContextTooLong),
        (400, "invalid_request_error", "messages: wrong", errors.RequestRefused),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", errors.ContextTooLong),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit",
            errors.ContextTooLong,
        ),
        (400, "invalid_request_error", "Your credit balance is too low", errors.QuotaExhausted),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits.",
            errors.QuotaExhausted,
        ),
        (400, "invalid_request_error", "Output blocked by content filtering policy", errors.ContentBlocked),
        (409, "conflict_error", "again", errors.Overloaded),
        (422, "new_error", "what", errors.RequestRefused),
    ],
)
@pytest.mark.ability("anthropic", "errors")
def test_an_error_is_sorted_by_what_to_do(
    status: int, kind: str, words: str, expected: type[ProviderError]
) -> None:
    error = Anthropic().parse_error(failure(status, kind, words))
    assert type(error) is expected
    assert (error.status, error.provider_code, error.message, error.request_id) == (
        status,
        kind,
        words,
        "req_2",
    )
    assert orjson.loads(error.body or b"") == {
        "error": {"message": words, "type": kind, "param": None, "code": None}
    }


@pytest.mark.ability("anthropic", "errors")
def test_a_spend_limit_is_no_rate_limit() -> None:
    code = "enforced_spend_limit_reached"
    error = Anthropic().parse_error(failure(429, "rate_limit_error", details={"error_code": code}))
    assert type(error) is errors.QuotaExhausted
    assert (error.provider_code, orjson.loads(error.body or b"")["error"]["code"]) == (code, code)
    ramp = Anthropic().parse_error(
        failure(429, "rate_limit_error", details={"error_code": "ramp_limit_exceeded"})
    )
    assert type(ramp) is errors.RateLimited


def test_the_header_names_the_request_and_the_wait() -> None:
    told = failure(429, "rate_limit_error")
    error = Anthropic().parse_error(
        HttpResponse(429, {"request-id": "req_9", "retry-after": "12"}, told.body)
    )
    assert (error.request_id, error.retry_after_s) == ("req_9", 12.0)


@pytest.mark.parametrize(
    "raw", [b"", b"<html>502</html>", b'{"type":"error","error":{"ty', b"[1]", b'{"error":"x"}']
)
@pytest.mark.parametrize(("status", "expected"), [(502, errors.Overloaded), (403, errors.KeyRefused)])
def test_an_unreadable_error_is_sorted_by_its_status(
    raw: bytes, status: int, expected: type[ProviderError]
) -> None:
    error = Anthropic().parse_error(HttpResponse(status, HEADERS, raw))
    assert type(error) is expected
    assert set(orjson.loads(error.body or b"")["error"]) == {"message", "type", "param", "code"}


def test_a_disabled_organization_sends_the_request_elsewhere() -> None:
    told = {"type": "invalid_request_error", "message": "This organization has been disabled."}
    body = orjson.dumps({"type": "error", "error": told})
    assert isinstance(Anthropic().parse_error(HttpResponse(400, {}, body)), KeyRefused)
