"""Every dialect on one port: whose a request is, and that each refuses and limits in its own words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.config import SimulatorConfig
from app.simulator.dialect import Inbound
from app.simulator.dialects import dialect_of
from app.simulator.simulation import Plan, Simulation
from tests.unit.simulator.bodies import JSON_VALUES, sent

pytestmark = pytest.mark.fast
VERSION = {"anthropic-version": "2023-06-01"}
OPENAI_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
)
FIELDS = (
    "model", "messages", "stream", "input", "instructions", "tools", "tool_choice", "text", "reasoning",
    "max_output_tokens", "max_tokens", "system", "thinking", "output_config", "stop_sequences", "cache_control",
    "prompt", "voice", "response_format", "speed", "file", "parallel_tool_calls", "dimensions",
)  # fmt: skip
VALID: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": "sim-small", "input": "x"},
    "/v1/completions": {"model": "sim-small", "prompt": "x"},
    "/v1/audio/speech": {"model": "sim-small", "input": "x", "voice": "v"},
    "/v1/messages": {"model": "sim-small", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "name"),
    [
        ("POST", "/v1/chat/completions", {}, "openai"),
        ("POST", "/openai/deployments/sim-small/chat/completions", {}, "openai"),
        ("POST", "/v1beta/openai/chat/completions", {}, "openai"),
        ("GET", "/v1/models", {}, "openai"),
        ("GET", "/v1/models", VERSION, "anthropic"),
        ("POST", "/v1/messages", {}, "anthropic"),
        ("POST", "/v1/messages/count_tokens", VERSION, "anthropic"),
        ("GET", "/nothing", {}, "openai"),
    ],
)
def test_path_and_headers_tell_whose_a_request_is(
    method: str, path: str, headers: dict[str, str], name: str
) -> None:
    assert dialect_of(Inbound(method, path, b"", headers)).name == name


def in_own_shape(plan: Plan) -> bool:
    body = orjson.loads(plan.body)
    if plan.dialect.name == "anthropic":
        return set(body) == {"type", "error", "request_id"} and {"type", "message"} <= set(body["error"])
    return set(body["error"]) == {"message", "type", "param", "code"}


@given(
    st.sampled_from([*OPENAI_PATHS, "/v1/messages"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=4),
)
def test_whatever_object_is_sent_is_answered_or_refused_in_the_dialects_shape(
    path: str, fields: dict[str, Any]
) -> None:
    body = {**VALID.get(path, {}), **fields}
    plan = sent(path, body, VERSION if path == "/v1/messages" else {}, all_models=True)
    assert plan.status in (200, 400, 403, 404)
    if plan.status != 200:
        assert in_own_shape(plan)
    for _ in plan.events or ():
        pass


@given(
    st.sampled_from([*OPENAI_PATHS, "/v1/messages", "/v1/messages/count_tokens"]),
    st.binary(max_size=60),
    st.sampled_from(["", "multipart/form-data; boundary=ab", "application/json"]),
)
def test_whatever_bytes_are_sent_are_answered_or_refused(path: str, body: bytes, content_type: str) -> None:
    call = Inbound("POST", path, body, {**VERSION, "content-type": content_type})
    plan = Simulation(SimulatorConfig(), instance="ab").decide(call, now=0.0, unix_s=0)
    assert plan.status == 400 and in_own_shape(plan)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/messages", {**VERSION, "x-api-key": "right"}, 200),
        ("/v1/messages", {**VERSION, "authorization": "Bearer right"}, 200),
        ("/v1/messages", {**VERSION, "x-api-key": "wrong"}, 401),
        ("/v1/messages", VERSION, 401),
        ("/v1/responses", {"authorization": "Bearer right"}, 200),
        ("/v1/responses", {"api-key": "right"}, 200),
        ("/v1/responses", {"api-key": "wrong"}, 401),
        ("/v1/responses", {"x-api-key": "right"}, 401),
    ],
)
def test_each_dialect_reads_its_key_where_the_api_has_it(
    path: str, headers: dict[str, str], status: int
) -> None:
    plan = sent(path, VALID[path], headers, api_key="right")
    assert plan.status == status
    if status == 401:
        assert in_own_shape(plan)


def test_anthropics_limits_are_told_in_its_headers_and_times() -> None:
    simulation = Simulation(SimulatorConfig(requests_per_minute=2, tokens_per_minute=600), instance="ab")
    call = Inbound("POST", "/v1/messages", orjson.dumps(VALID["/v1/messages"]), VERSION)
    first, _, refused = (simulation.decide(call, now=5.0, unix_s=1_700_000_000) for _ in range(3))
    told = dict(first.headers)
    assert told["anthropic-ratelimit-requests-limit"] == "2"
    assert told["anthropic-ratelimit-requests-remaining"] == "1"
    assert (
        int(told["anthropic-ratelimit-tokens-remaining"])
        == 600 - first.prompt_tokens - first.completion_tokens
    )
    reset = datetime.fromisoformat(told["anthropic-ratelimit-requests-reset"])
    assert reset == datetime.fromtimestamp(1_700_000_030, UTC)
    assert not any(name.startswith("x-ratelimit") for name in told)
    assert (refused.status, dict(refused.headers)["retry-after"]) == (429, "30")
    assert orjson.loads(refused.body)["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["truncated", "invalid-json", "empty", "html", "huge=20000"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_an_answer_in_any_dialect_is_spoiled_as_asked(path: str, fault: str, stream: bool) -> None:
    body = {**VALID[path], "max_tokens": 90_000} if path == "/v1/messages" else VALID[path]
    good, bad = (
        sent(path, {**body, "stream": stream}, {**VERSION, **headers})
        for headers in ({}, {"x-sim-fault": fault})
    )
    whole, spoiled = (b"".join(plan.events or [plan.body]) for plan in (good, bad))
    if fault == "truncated":
        assert spoiled == whole[: len(whole) // 2]
    elif fault == "empty":
        assert spoiled == b""
    elif fault == "html":
        assert spoiled.startswith(b"<!DOCTYPE html>") and "text/html" in dict(bad.headers)["content-type"]
    elif fault == "invalid-json":
        assert whole.startswith(b"event: ") == stream and b"{oops " in spoiled
    else:
        assert len(spoiled) > 20_000 and bad.completion_tokens >= 5000


def test_a_page_is_free_and_forgotten() -> None:
    simulation = Simulation(SimulatorConfig(requests_per_minute=1), instance="ab")
    pages = [
        Inbound("GET", "/v1/models", b"", VERSION),
        Inbound("GET", "/v1/models/sim-small", b"", {}),
        # With max_tokens, which has no place in a count.
        Inbound("POST", "/v1/messages/count_tokens", orjson.dumps(VALID["/v1/messages"]), VERSION),
        Inbound("DELETE", "/v1/messages", b"", VERSION),
    ]
    plans = [simulation.decide(page, now=0.0, unix_s=0) for page in pages]
    assert [(plan.status, plan.is_call) for plan in plans] == [
        (200, False),
        (200, False),
        (400, False),
        (405, False),
    ]
    assert (
        simulation.decide(
            Inbound("POST", "/v1/messages", orjson.dumps(VALID["/v1/messages"]), VERSION), now=0.0, unix_s=0
        ).status
        == 200
    )
