"""What Ollama's dialect takes and refuses, in the words of its server."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.answers import answer_text
from app.simulator.config import SimulatorConfig
from app.simulator.dialect import NDJSON, Inbound
from app.simulator.simulation import Plan, Simulation

pytestmark = pytest.mark.fast

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
WHOLE: dict[str, Any] = {
    "model": "sim-small",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "images": ["AAAA"]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "tool_name": "f", "content": "ok"},
    ],
    "tools": [TOOL],
    "format": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "options": {"num_predict": 100, "temperature": 0.1, "stop": ["END"], "num_ctx": 2048, "unheard_of": 1},
    "think": "low",
    "keep_alive": "5m",
    "stream": False,
}


def decided(
    path: str, body: Any, method: str = "POST", simulation: Simulation | None = None, **config: Any
) -> Plan:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    simulation = simulation or Simulation(SimulatorConfig(seed=7, **config), instance="ab")
    return simulation.decide(Inbound(method, path, sent, {}), now=0.0, unix_s=1_700_000_000)


def chat(text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"model": "sim-small", "messages": [{"role": "user", "content": text}], "stream": False, **more}


def said(plan: Plan) -> str:
    body: dict[str, Any] = orjson.loads(plan.body)
    assert list(body) == ["error"]
    return str(body["error"])


def lines(plan: Plan) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in b"".join(plan.events or ()).splitlines()]


def test_a_whole_request_is_answered_and_priced_as_it_says() -> None:
    plan = decided("/api/chat", WHOLE)
    reply = orjson.loads(plan.body)
    assert plan.status == 200 and reply["created_at"] == "2023-11-14T22:13:20.000000Z"
    assert set(orjson.loads(reply["message"]["content"])) == {"a"}
    assert (plan.prompt_tokens, plan.completion_tokens) == (reply["prompt_eval_count"], reply["eval_count"])


def test_an_answer_is_a_stream_of_lines_unless_the_request_says_otherwise() -> None:
    body = chat("Name a boat.")
    del body["stream"]
    plan = decided("/api/chat", body)
    assert plan.stream and dict(plan.headers)["content-type"] == NDJSON
    text = "".join(line["message"]["content"] for line in lines(plan))
    assert text == answer_text("sim-small", body["messages"], 7)


def test_the_latest_tag_is_the_model_itself() -> None:
    first, second = (
        decided("/api/chat", {**chat(), "model": name}) for name in ("sim-small", "sim-small:latest")
    )
    bodies = [orjson.loads(plan.body) for plan in (first, second)]
    assert bodies[0]["message"] == bodies[1]["message"]
    assert [body["model"] for body in bodies] == ["sim-small", "sim-small:latest"]


def test_a_prompt_beyond_the_context_is_cut_or_refused_as_the_request_wants() -> None:
    long = chat("word " * 100, options={"num_ctx": 64})
    assert orjson.loads(decided("/api/chat", long).body)["prompt_eval_count"] == 64
    refused = decided("/api/chat", {**long, "truncate": False})
    assert refused.status == 400 and "exceeds the context length" in said(refused)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"messages": []}, 400, "model is required"),
        (chat(model="nobody"), 404, 'model "nobody" not found, try pulling it first'),
        (chat(model="sim-embed"), 400, '"sim-embed" does not support chat'),
        (chat(messages="hi"), 400, "cannot unmarshal string into Go struct field ChatRequest.messages"),
        (
            chat(messages=[{"role": "user", "content": [{"text": "x"}]}]),
            400,
            "messages.content of type string",
        ),
        (
            chat(
                messages=[
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
                ]
            ),
            400,
            "of type api.ToolCallFunctionArguments",
        ),
        (
            chat(messages=[{"role": "user", "images": ["data:image/png;base64,AA"]}]),
            400,
            "illegal base64 data",
        ),
        (chat(format="yaml"), 500, 'invalid format: "yaml"'),
        (chat(format={"type": "strange"}), 500, "invalid JSON schema in format"),
        (chat(options={"num_predict": "many"}), 500, 'option "num_predict" must be of type integer'),
        (chat(options={"stop": "x"}), 500, 'option "stop" must be of type array'),
        (chat(think="much"), 400, 'invalid think value: "much"'),
        (chat(keep_alive="soon"), 400, 'time: invalid duration "soon"'),
        (chat(stream="no"), 400, "ChatRequest.stream of type bool"),
        (b"{not json", 400, "invalid character"),
    ],
)
def test_a_wrong_request_is_refused_in_the_words_of_the_server(body: Any, status: int, words: str) -> None:
    plan = decided("/api/chat", body)
    assert plan.status == status and words in said(plan)


def test_generate_keeps_raw_apart_from_templates_and_knows_no_suffix() -> None:
    body = {"model": "sim-small", "prompt": "x", "stream": False}
    assert "context" in orjson.loads(decided("/api/generate", body).body)
    assert "context" not in orjson.loads(decided("/api/generate", {**body, "raw": True}).body)
    assert "raw mode" in said(decided("/api/generate", {**body, "raw": True, "system": "y"}))
    assert "does not support insert" in said(decided("/api/generate", {**body, "suffix": "y"}))


def test_no_prompt_loads_the_model_and_no_time_to_live_unloads_it() -> None:
    for keep_alive, reason in (("5m", "load"), (0, "unload"), ("0s", "unload")):
        plan = decided(
            "/api/chat", {"model": "sim-small", "messages": [], "stream": False, "keep_alive": keep_alive}
        )
        assert orjson.loads(plan.body)["done_reason"] == reason
        assert plan.prompt_tokens == plan.completion_tokens == 0


def test_dimensions_cut_a_vector_and_never_make_it_longer() -> None:
    for asked, given_back in ((16, 16), (100_000, 256), (-1, 256), (0, 256)):
        plan = decided("/api/embed", {"model": "sim-embed", "input": "x", "dimensions": asked})
        assert len(orjson.loads(plan.body)["embeddings"][0]) == given_back
    assert said(decided("/api/embed", {"model": "sim-embed", "input": [1]})) == "invalid input type"


def test_what_was_pulled_is_one_simulators_own_and_only_if_read_to_the_end() -> None:
    mine, other = (Simulation(SimulatorConfig(), instance="ab") for _ in range(2))
    body = {"model": "llama3.2"}
    events = decided("/api/pull", body, simulation=mine).events
    assert events is not None and next(events)
    assert decided("/api/chat", {**chat(), **body}, simulation=mine).status == 404
    assert lines(decided("/api/pull", body, simulation=mine))[-1] == {"status": "success"}
    assert decided("/api/chat", {**chat(), **body}, simulation=mine).status == 200
    assert decided("/api/chat", {**chat(), **body}, simulation=other).status == 404


def test_lists_answer_to_get_alone_and_unknown_paths_are_not_ollamas() -> None:
    assert decided("/", b"", "GET").body == b"Ollama is running"
    assert orjson.loads(decided("/api/version", b"", "GET").body)["version"]
    assert decided("/api/tags", b"{}", "POST").status == decided("/api/chat", b"", "GET").status == 405
    assert decided("/api/v1/chat/completions", {}).dialect.name == "openai"
    assert decided("/api/embeddings", {"model": "sim-embed", "prompt": "x"}).dialect.name == "ollama"


def test_a_limit_says_when_to_come_back() -> None:
    simulation = Simulation(SimulatorConfig(requests_per_minute=1), instance="ab")
    first, second = (decided("/api/chat", chat(), simulation=simulation) for _ in range(2))
    assert (first.status, second.status) == (200, 429)
    assert dict(second.headers)["retry-after"] == "60" and "1m0s" in said(second)


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1e300, "", "x", [], [[]], [None], {}, {"": {}}, {"type": 5}, "\u20ac" * 9]
)


@given(st.data(), st.sampled_from(["/api/chat", "/api/generate", "/api/embed", "/api/embeddings"]))
def test_whatever_one_value_is_changed_to_the_answer_is_a_reply_or_a_refusal(
    data: st.DataObject, path: str
) -> None:
    body = copy.deepcopy(
        {**WHOLE, "prompt": "x", "input": ["x"], "images": ["AAAA"], "context": [1], "system": "y"}
    )
    here: Any = body
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        inner = here[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            here[key] = data.draw(ODD)
            break
        here = inner
    plan = decided(path, body)
    assert plan.status in (200, 400, 404, 500)
    assert plan.events is None or b"".join(plan.events)
