"""Gemini's failures, sorted by what to do next."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from workers.providers.gemini import Gemini

RPC = "type.googleapis.com/google.rpc."


def body(code: int, status: str, message: str, *details: dict[str, Any]) -> bytes:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return json.dumps({"error": error}, indent=2).encode()


def failure(status: int, data: bytes, **headers: str) -> ProviderError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Gemini().parse_error(HttpResponse(status, named, data))


def retry(delay: str) -> dict[str, Any]:
    return {"@type": f"{RPC}RetryInfo", "retryDelay": delay}


def quota(**violation: str) -> dict[str, Any]:
    return {"@type": f"{RPC}QuotaFailure", "violations": [violation]}


def info(reason: str) -> dict[str, Any]:
    return {"@type": f"{RPC}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


@pytest.mark.ability("gemini", "errors")
@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (429, body(429, "RESOURCE_EXHAUSTED", "too many", retry("34s")), RateLimited),
        (
            429,
            body(429, "RESOURCE_EXHAUSTED", "x", quota(quotaId="RequestsPerMinutePerProject")),
            RateLimited,
        ),
        (
            429,
            body(429, "RESOURCE_EXHAUSTED", "x", quota(quotaId="RequestsPerDayPerProject")),
            QuotaExhausted,
        ),
        (429, body(429, "RESOURCE_EXHAUSTED", "x", quota(quotaId="a", quotaValue="0")), QuotaExhausted),
        (429, body(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: m"), QuotaExhausted),
        (400, body(400, "INVALID_ARGUMENT", "no", info("API_KEY_INVALID")), KeyRefused),
        (400, body(400, "INVALID_ARGUMENT", "API key not valid."), KeyRefused),
        (403, body(403, "PERMISSION_DENIED", "x", info("BILLING_DISABLED")), QuotaExhausted),
        (403, body(403, "PERMISSION_DENIED", "You may not."), KeyRefused),
        (403, body(403, "PERMISSION_DENIED", "You may not access the File abc."), RequestRefused),
        (401, body(401, "UNAUTHENTICATED", "who?"), KeyRefused),
        (404, body(404, "NOT_FOUND", "models/x is not found for API version v1beta"), ModelUnknown),
        (404, body(404, "NOT_FOUND", "File abc"), RequestRefused),
        (400, body(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum"), ContextTooLong),
        (400, body(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit"), ContextTooLong),
        (400, body(400, "INVALID_ARGUMENT", "Invalid value at temperature"), RequestRefused),
        (400, body(400, "FAILED_PRECONDITION", "Please enable billing."), QuotaExhausted),
        (400, body(400, "FAILED_PRECONDITION", "User location is not supported"), KeyRefused),
        (400, body(400, "FAILED_PRECONDITION", "The file is not ready"), RequestRefused),
        (503, body(503, "UNAVAILABLE", "The model is overloaded."), Overloaded),
        (500, body(500, "INTERNAL", "oops"), Overloaded),
        (504, body(504, "DEADLINE_EXCEEDED", "late"), Overloaded),
        (499, body(499, "CANCELLED", "gone"), Overloaded),
        (501, body(501, "UNIMPLEMENTED", "no"), RequestRefused),
        (400, body(400, "SOMETHING_NEW", "no"), RequestRefused),
        (429, b"[" + body(429, "RESOURCE_EXHAUSTED", "x") + b"]", RateLimited),
        (429, b"", RateLimited),
        (502, b"<html>bad gateway</html>", Overloaded),
        (403, b"<html>forbidden</html>", KeyRefused),
        (404, b"", RequestRefused),
        (413, b"", ContextTooLong),
        (503, body(503, "UNAVAILABLE", "cut")[:-9], Overloaded),
        (400, b'{"error": "text"}', RequestRefused),
        (200, body(503, "UNAVAILABLE", "inside a stream"), Overloaded),
        (200, b'{"error": {"message": "without a code"}}', Overloaded),
    ],
)
def test_a_failure_is_sorted_by_what_to_do_next(status: int, data: bytes, kind: type) -> None:
    error = failure(status, data)
    assert type(error) is kind
    assert error.body is not None and b"\n" not in error.body


def test_the_provider_says_how_long_to_wait() -> None:
    data = body(429, "RESOURCE_EXHAUSTED", "x", retry("34.5s"))
    assert failure(429, data).retry_after_s == 34.5
    assert failure(429, data, retry_after="7").retry_after_s == 7.0
    assert failure(503, body(503, "UNAVAILABLE", "x", retry("2s"))).retry_after_s == 2.0
    for odd in ("0s", "-1s", "soon", "infs", "nans"):
        assert failure(429, body(429, "RESOURCE_EXHAUSTED", "x", retry(odd))).retry_after_s is None


@pytest.mark.ability("gemini", "errors")
def test_a_refusal_keeps_the_providers_words_in_the_openai_shape() -> None:
    field = {"@type": f"{RPC}BadRequest", "fieldViolations": [{"field": "contents", "description": "d"}]}
    error = failure(400, body(400, "INVALID_ARGUMENT", "no contents", field, info("BAD")), x_request_id="q1")
    assert (error.message, error.provider_code, error.status, error.request_id) == (
        "no contents",
        "BAD",
        400,
        "q1",
    )
    assert error.body is not None
    assert orjson.loads(error.body) == {
        "error": {"message": "no contents", "type": "INVALID_ARGUMENT", "param": "contents", "code": "BAD"}
    }


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
LIKE_ERRORS = st.fixed_dictionaries(
    {
        "error": st.fixed_dictionaries(
            {},
            optional={
                "code": JSON,
                "message": JSON,
                "status": st.sampled_from(["RESOURCE_EXHAUSTED", "NOT_FOUND"]) | JSON,
                "details": st.lists(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "reason": JSON,
                            "retryDelay": JSON,
                            "violations": st.lists(JSON, max_size=2) | JSON,
                            "fieldViolations": st.lists(JSON, max_size=2) | JSON,
                        },
                    )
                    | JSON,
                    max_size=2,
                )
                | JSON,
            },
        )
        | JSON
    }
)


@given(
    st.sampled_from([200, 400, 403, 404, 429, 500]),
    st.binary()
    | (LIKE_ERRORS | st.lists(LIKE_ERRORS, max_size=1) | JSON).map(lambda v: json.dumps(v).encode()),
)
def test_any_failing_answer_is_a_provider_error_in_the_openai_shape(status: int, data: bytes) -> None:
    error = failure(status, data)
    assert error.body is not None and b"\n" not in error.body
    assert orjson.loads(error.body)["error"].keys() == {"message", "type", "param", "code"}
    assert error.retry_after_s is None or error.retry_after_s > 0


def test_a_month_whose_money_is_spent_is_no_minute_to_wait_for() -> None:
    told = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "... exceeded its monthly spending cap."}
    error = Gemini().parse_error(HttpResponse(429, {}, json.dumps({"error": told}).encode()))
    assert isinstance(error, QuotaExhausted)
