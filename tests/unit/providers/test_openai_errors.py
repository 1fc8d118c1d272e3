"""Failures of OpenAI and of servers that nearly speak its language: sorted, readable, one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
from workers.core.messages import Call, HttpResponse
from workers.providers.openai import OpenAI

pytestmark = pytest.mark.fast


def failure(status: int, body: Any, **headers: str) -> ProviderError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return OpenAI().parse_error(HttpResponse(status, named, raw))


def error(code: Any = None, *, message: str = "no", kind: str = "x", param: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@pytest.mark.ability("openai", "errors")
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, error("insufficient_quota"), QuotaExhausted),
        (429, error(None, kind="insufficient_quota"), QuotaExhausted),
        (429, error("rate_limit_exceeded", kind="tokens"), RateLimited),
        (429, error("rate_limit_exceeded", message="Request too large for gpt-4o"), RequestRefused),
        (401, error("invalid_api_key"), KeyRefused),
        (403, error("unsupported_country_region_territory"), KeyRefused),
        (403, error("model_not_found"), ModelUnknown),
        (404, error("model_not_found"), ModelUnknown),
        (404, error("DeploymentNotFound"), ModelUnknown),
        (404, error(404, kind="NotFoundError", param="model"), ModelUnknown),
        (404, {"error": "model 'x' not found"}, ModelUnknown),
        (404, error(None, message="Invalid URL (POST /v1/chat)"), RequestRefused),
        (400, error("context_length_exceeded"), ContextTooLong),
        (400, error(400, message="This model's maximum context length is 8 tokens."), ContextTooLong),
        (400, error(400, kind="exceed_context_size_error"), ContextTooLong),
        (413, b"", ContextTooLong),
        (400, error("content_filter"), ContentBlocked),
        (400, error("content_policy_violation"), ContentBlocked),
        (400, error("invalid_value"), RequestRefused),
        (402, error(), QuotaExhausted),
        (500, error("server_error"), Overloaded),
        (503, b"", Overloaded),
    ],
)
def test_a_failure_is_sorted_by_what_the_provider_says(
    status: int, body: Any, kind: type[ProviderError]
) -> None:
    assert type(failure(status, body)) is kind


def test_a_refusal_keeps_the_providers_own_words() -> None:
    body = b'{"error": {"message": "no such model", "type": "x", "param": "model", "code": "y", "more": 1}}'
    refused = failure(404, body, x_request_id="req_2")
    assert (refused.message, refused.body, refused.request_id) == ("no such model", body, "req_2")
    assert (refused.status, refused.provider_code) == (404, "y")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"object": "error", "message": "too hot", "type": "B", "param": None, "code": 400},
         {"message": "too hot", "type": "B", "param": None, "code": 400}),
        ({"error": "too hot", "error_type": "validation"},
         {"message": "too hot", "type": "validation", "param": None, "code": None}),
        ({"detail": "too hot"}, {"message": "too hot", "type": "provider_error", "param": None, "code": None}),
        ({"detail": [{"loc": ["body", "n"], "msg": "too hot", "type": "v"}, 7]},
         {"message": "body.n: too hot; 7", "type": "provider_error", "param": None, "code": None}),
        ({"detail": {"msg": "too hot"}},
         {"message": "too hot", "type": "provider_error", "param": None, "code": None}),
        ([{"error": {"code": 400, "message": "too hot", "status": "INVALID_ARGUMENT"}}],
         {"message": "too hot", "type": "provider_error", "param": None, "code": 400}),
        ({"error": {"message": "too hot", "code": "e"}},
         {"message": "too hot", "type": "provider_error", "param": None, "code": "e"}),
    ],
)  # fmt: skip
def test_the_shapes_of_compatible_servers_are_read_and_made_one(body: Any, shown: dict[str, Any]) -> None:
    refused = failure(400, body)
    assert json.loads(refused.body or b"") == {"error": shown}
    assert refused.message == shown["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "status 502 with an empty body"),
        (b" \n", "status 502 with an empty body"),
        (b"<html><head><title>Bad\nGateway</title>", "status 502 with a web page: Bad Gateway"),
        (b"<!doctype html><p>", "status 502 with a web page"),
        (b"upstream\r\nreset\x00", "status 502 without a readable error: upstream reset?"),
        (b'{"error": {"message": "the mod', 'status 502 without a readable error: {"error": {"message": "the mod'),
        (b"{}", "status 502 without a readable error: {}"),
        (b'{"error": {}}', 'status 502 without a readable error: {"error": {}}'),
        (b"[1]", "status 502 without a readable error: [1]"),
        (b"null", "status 502 without a readable error: null"),
    ],
)  # fmt: skip
def test_a_failure_without_a_readable_error_says_what_came_instead(body: bytes, message: str) -> None:
    failed = failure(502, body)
    assert isinstance(failed, Overloaded) and failed.message == message
    assert json.loads(failed.body or b"")["error"] == {
        "message": message,
        "type": "provider_error",
        "param": None,
        "code": None,
    }


def test_an_indented_error_becomes_one_line() -> None:
    failed = failure(401, json.dumps(error("invalid_api_key"), indent=2).encode())
    assert isinstance(failed, KeyRefused) and failed.body is not None and b"\n" not in failed.body
    assert json.loads(failed.body) == error("invalid_api_key")


def test_an_error_too_deep_to_be_written_again_keeps_its_four_names() -> None:
    deep = json.dumps(error("e"))[:-2].encode() + b',\n"inner": ' + b"[" * 500 + b"]" * 500 + b"}}"
    assert json.loads(failure(400, deep).body or b"") == error("e")


def test_a_long_message_is_cut_and_the_body_is_not() -> None:
    body = json.dumps(error(message="x" * 9000)).encode()
    failed = failure(400, body)
    assert len(failed.message) == 500 and failed.body == body


def test_a_429_says_how_long_to_wait() -> None:
    failed = failure(429, b"", retry_after_ms="250")
    assert isinstance(failed, RateLimited) and failed.retry_after_s == 0.25


def test_a_picture_that_a_response_cannot_read_is_not_sent_again() -> None:
    told = {
        "id": "r",
        "output": [],
        "status": "failed",
        "error": {"code": "invalid_base64_image", "message": "no"},
    }
    with pytest.raises(RequestRefused):
        OpenAI().parse_response(
            Call("/v1/responses", "gpt", {"input": "x"}), HttpResponse(200, {}, json.dumps(told).encode())
        )


def test_what_a_server_does_not_implement_is_not_asked_for_again() -> None:
    told = {"error": {"code": 501, "message": "embeddings are off", "type": "not_supported_error"}}
    error = OpenAI().parse_error(HttpResponse(501, {}, json.dumps(told).encode()))
    assert error.action == "refuse"
