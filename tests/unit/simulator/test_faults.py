"""What fault words mean, and in which order header, marker and chance decide."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.config import ConfigError, FaultRate, Latency, SimulatorConfig, config_from
from app.simulator.dialect import Inbound
from app.simulator.faults import Fault, FaultError, marker_in, parse_fault
from app.simulator.simulation import Plan, Simulation

pytestmark = pytest.mark.fast
CHAT_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"


def decided(
    simulation: Simulation, text: str, header: str | None = None, now: float = 0.0, **more: Any
) -> Plan:
    body = {"model": "sim-small", "messages": [{"role": "user", "content": text}], **more}
    headers = {"x-sim-fault": header} if header else {}
    call = Inbound("POST", CHAT_PATH, orjson.dumps(body), headers)
    return simulation.decide(call, now=now, unix_s=1_700_000_000)


def simulated(**settings: Any) -> Simulation:
    return Simulation(SimulatorConfig(**settings), instance="ab")


def test_both_separators_and_all_words_are_read() -> None:
    assert parse_fault("status=429;retry-after=2") == Fault(
        "status=429;retry-after=2", 429, retry_after_s=2.0
    )
    assert parse_fault("status=500, times=2") == Fault("status=500, times=2", 500, times=2)
    assert parse_fault("hang").hang
    assert parse_fault("latency-ms=1.5").latency_ms == 1.5
    assert {parse_fault(word).body for word in ("truncated", "invalid-json", "empty", "html")} == {
        "truncated", "invalid-json", "empty", "html",
    }  # fmt: skip


@pytest.mark.parametrize(
    "spec", ["", ";", "status", "status=200", "status=abc", "huge=-1", "nap=3", "hang=1", "times=0"]
)
def test_words_that_mean_nothing_are_refused(spec: str) -> None:
    with pytest.raises(FaultError):
        parse_fault(spec)


@given(st.text(max_size=40))
def test_any_other_text_is_read_or_refused_never_an_accident(spec: str) -> None:
    with suppress(FaultError):
        assert parse_fault(spec).spec == spec


def test_a_marker_is_found_anywhere_in_a_body() -> None:
    assert marker_in(b'{"input": "x [[sim:status=500,times=2]] y"}') == "status=500,times=2"
    assert marker_in(b'{"input": "[[sim"}') is None


def test_times_counts_this_very_request_and_then_answers_normally() -> None:
    simulation = simulated()
    text = "[[sim:status=500,times=2]] one"
    assert [decided(simulation, text).status for _ in range(4)] == [500, 500, 200, 200]
    assert decided(simulation, text + " other").status == 500


def test_the_header_wins_over_the_marker_and_the_marker_over_chance() -> None:
    simulation = simulated(faults=(FaultRate(parse_fault("status=503"), 1.0),))
    assert decided(simulation, "[[sim:status=500]]", header="status=429").status == 429
    assert decided(simulation, "[[sim:status=500]]").status == 500
    assert decided(simulation, "plain").status == 503


def test_a_refused_call_neither_spends_the_other_limit_nor_counts_its_fault() -> None:
    simulation = simulated(requests_per_minute=1, tokens_per_minute=1000)
    first = decided(simulation, "[[sim:status=500,times=1]]", now=0.0)
    refused = decided(simulation, "[[sim:status=500,times=1]] two", now=1.0)
    later = decided(simulation, "[[sim:status=500,times=1]] two", now=61.0)
    assert [first.status, refused.status, later.status] == [500, 429, 500]
    assert dict(refused.headers)["retry-after"] == "59"
    assert int(dict(refused.headers)["x-ratelimit-remaining-tokens"]) > 900


def test_a_request_larger_than_the_token_limit_is_told_so_without_a_time() -> None:
    plan = decided(simulated(tokens_per_minute=10), "word " * 100)
    assert plan.status == 429
    assert "Request too large" in orjson.loads(plan.body)["error"]["message"]
    assert "retry-after" not in dict(plan.headers)


@pytest.mark.parametrize(
    "latency", [Latency("uniform", min_ms=10, max_ms=20), Latency("lognormal", ms=15, sigma=0.2, max_ms=40)]
)
def test_latencies_repeat_with_the_seed_whether_or_not_there_are_faults(latency: Latency) -> None:
    rates = (FaultRate(parse_fault("status=503"), 0.5),)
    runs = [
        [decided(simulation, f"{k}").delay_s for k in range(30)]
        for simulation in (
            simulated(seed=4, latency=latency),
            simulated(seed=4, latency=latency, faults=rates),
        )
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 30
    assert all(0.001 < delay_s <= 0.04 for delay_s in runs[0])
    assert decided(simulated(latency=latency), "x", header="latency-ms=500").delay_s == 0.5


def test_equal_bodies_share_a_hash_whatever_the_order_of_their_keys() -> None:
    simulation = simulated()
    one = Inbound("POST", CHAT_PATH, b'{"a":1,"b":2}', {})
    other = Inbound("POST", CHAT_PATH, b'{"b": 2, "a": 1}', {})
    hashes = {simulation.decide(call, now=0, unix_s=0).prompt_hash for call in (one, other)}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"port": True}, "port is int"),
        ({"prot": 1}, "unknown setting 'prot'"),
        ({"latency": {"kind": "odd"}}, "latency.kind is one of"),
        ({"latency": {"median": 3}}, "unknown setting 'latency.median'"),
        ({"latency": {"ms": "3"}}, "latency.ms is a number"),
        ({"faults": [{"fault": "status=500", "rate": 2}]}, "faults.rate is a number from 0 to 1"),
        ({"faults": [{"fault": "nap", "rate": 0.1}]}, "unknown part 'nap'"),
        (
            {"faults": [{"fault": "hang", "rate": 0.6}, {"fault": "empty", "rate": 0.6}]},
            "add up to more than 1",
        ),
        ({"faults": "hang"}, "faults is a list"),
        ({"requests_per_minute": 0}, "requests_per_minute is a number"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_from(data)


def test_a_whole_file_is_read() -> None:
    config = config_from(
        {
            "seed": 3,
            "log": "calls.jsonl",
            "latency": {"kind": "lognormal", "ms": 50, "sigma": 0.4},
            "faults": [{"fault": "status=503", "rate": 0.01}],
            "api_key": "secret",
        }
    )
    assert (config.seed, config.latency.ms, config.faults[0].rate) == (3, 50, 0.01)
    assert "secret" not in repr(config)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = (
    "model", "messages", "stream", "stream_options", "n", "max_tokens", "stop", "response_format", "tools",
    "tool_choice", "temperature", "input", "dimensions", "encoding_format",
)  # fmt: skip
_VALID: dict[str, Any] = {
    "model": "sim-small",
    "messages": [{"role": "user", "content": "x json"}],
    "input": "x",
}
_SCHEMAS = st.dictionaries(
    st.sampled_from(
        ["type", "enum", "$ref", "anyOf", "allOf", "items", "properties", "required", "minimum", "pattern"]
    ),
    _JSON | st.sampled_from(["object", "array", "string", "number", "#"]),
    max_size=4,
)


@given(
    st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=4),
    st.none() | _SCHEMAS,
    st.sampled_from([CHAT_PATH, EMBEDDINGS_PATH]),
)
def test_whatever_is_sent_is_answered_or_refused_in_the_providers_shape(
    fields: dict[str, Any], schema: dict[str, Any] | None, path: str
) -> None:
    body = {**_VALID, **fields}
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    if path == EMBEDDINGS_PATH and "model" not in fields:
        body["model"] = "sim-embed"
    call = Inbound("POST", path, orjson.dumps(body), {})
    plan = simulated(all_models=True).decide(call, now=0.0, unix_s=0)
    assert plan.status in (200, 400, 403, 404)
    if plan.status != 200:
        assert set(orjson.loads(plan.body)["error"]) == {"message", "type", "param", "code"}
    for _ in plan.events or ():
        pass
