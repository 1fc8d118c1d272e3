"""What Gemini's dialect refuses, in the words of the API, and what it counts."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.answers import answer_text
from app.simulator.config import SimulatorConfig
from app.simulator.dialect import Inbound
from app.simulator.simulation import Plan, Simulation

pytestmark = pytest.mark.fast

SCHEMA = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]}
TOOLS = [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}, {"name": "g"}]}]
WHOLE: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
        },
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": "b"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"ok": True}}}]},
    ],
    "tools": TOOLS,
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "generationConfig": {
        "temperature": 0.5,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "responseMimeType": "application/json",
        "responseSchema": SCHEMA,
        "thinkingConfig": {"thinkingBudget": 16, "includeThoughts": True},
    },
}


def decided(body: Any, method: str = "generateContent", model: str = "sim-small", **config: Any) -> Plan:
    return decided_by(Simulation(SimulatorConfig(seed=7, **config), instance="ab"), body, method, model)


def decided_by(simulation: Simulation, body: Any, method: str, model: str) -> Plan:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    call = Inbound("POST", f"/v1beta/models/{model}:{method}", sent, {})
    return simulation.decide(call, now=0.0, unix_s=0)


def prompt(text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def refusal(plan: Plan) -> dict[str, Any]:
    shown: dict[str, Any] = orjson.loads(plan.body)["error"]
    assert shown["code"] == plan.status
    return shown


def test_a_whole_request_is_answered() -> None:
    plan = decided(WHOLE)
    assert plan.status == 200
    reply = orjson.loads(plan.body)
    assert set(orjson.loads(reply["candidates"][0]["content"]["parts"][-1]["text"])) == {"a"}
    assert reply["responseId"] in plan.request_id
    usage = reply["usageMetadata"]
    assert plan.prompt_tokens == usage["promptTokenCount"]
    assert plan.completion_tokens == usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]


def test_a_prompt_is_answered_as_every_dialect_answers_it() -> None:
    reply = orjson.loads(decided(prompt("Name a boat.")).body)
    expected = answer_text("sim-small", [{"role": "user", "content": "Name a boat."}], 7)
    assert reply["candidates"][0]["content"] == {"parts": [{"text": expected}], "role": "model"}


def test_both_spellings_single_objects_and_numbers_in_strings_are_taken() -> None:
    plain = decided(
        prompt(systemInstruction={"parts": [{"text": "x"}]}, generationConfig={"maxOutputTokens": 3})
    )
    loose = decided(
        {
            "contents": {"parts": {"text": "Hi"}},
            "system_instruction": {"parts": {"text": "x"}},
            "generation_config": {"max_output_tokens": "3", "seed": None},
        }
    )
    assert plain.status == loose.status == 200
    texts = [orjson.loads(plan.body)["candidates"][0]["content"] for plan in (plain, loose)]
    assert texts[0] == texts[1]


def test_all_unknown_names_are_refused_at_once_with_their_places() -> None:
    wrong = {
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING", "const": "x"}},
        "additionalProperties": False,
    }
    config = {"responseMimeType": "application/json", "responseSchema": wrong}
    error = refusal(decided(prompt(generationConfig=config, stream=True)))
    at = "generation_config.response_schema"
    assert error["status"] == "INVALID_ARGUMENT"
    violations = error["details"][0]["fieldViolations"]
    assert [each.get("field") for each in violations] == [f"{at}.properties[0].value", at, None]
    assert error["message"].split("\n") == [
        f"Invalid JSON payload received. Unknown name \"const\" at '{at}.properties[0].value': Cannot find field.",
        f"Invalid JSON payload received. Unknown name \"additionalProperties\" at '{at}': Cannot find field.",
        'Invalid JSON payload received. Unknown name "stream": Cannot find field.',
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "contents is not specified"),
        ({"contents": [{"parts": []}]}, "contents.parts must not be empty"),
        ({"contents": [{"parts": [{}]}]}, "required oneof field 'data'"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "Please use a valid role: user, model."),
        ({"contents": "Hi"}, "Invalid value at 'contents[0]'"),
        (prompt(generationConfig={"temperature": "hot"}), "(TYPE_DOUBLE), \"hot\""),
        (prompt(generationConfig={"temperature": 3}), "must be in the range [0, 2]"),
        (prompt(generationConfig={"candidateCount": 9}), "must be in the range [1, 8]"),
        (prompt(generationConfig={"responseSchema": SCHEMA}), "response_mime_type"),
        (prompt(generationConfig={"responseLogprobs": True}), "Logprobs is not enabled"),
        (prompt(generationConfig={"responseModalities": ["AUDIO"]}), "response modalities"),
        (prompt(toolConfig={"functionCallingConfig": {"mode": "ANY"}}), "without function_declarations"),
        (prompt(tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "SOME"}}), "(type.googleapis.com/"),
        (
            prompt(tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["h"]}}),
            "'h' is not one of",
        ),
        (prompt(tools=[*TOOLS, *TOOLS]), "Duplicate function declaration found: f"),
        (prompt(tools=[{"googleSearch": {}}]), "Tool googleSearch is not supported"),
        (prompt(tools=[{"functionDeclarations": [{"name": "1f"}]}]), "Invalid function name"),
        ({"contents": WHOLE["contents"][:2] + prompt()["contents"]}, "number of function response parts"),
        ({"contents": WHOLE["contents"][2:]}, "immediately after a function call turn"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/gif", "data": "AA=="}}]}]}, "Unsupported MIME"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]}, "Base64 decoding"),
        (b"{not json", "Invalid JSON payload received. Unexpected token."),
        (b"[1]", "Invalid JSON payload received. Unexpected token."),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_the_words_of_the_api(body: Any, said: str) -> None:
    plan = decided(body)
    error = refusal(plan)
    assert (plan.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert said in error["message"]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "ARRAY"}, "response_schema.items: missing field."),
        (
            {"type": "OBJECT", "properties": {}},
            "response_schema.properties: should be non-empty for OBJECT type",
        ),
        ({"type": "INTEGER", "enum": ["1"]}, "response_schema.enum: only allowed for STRING type"),
        ({**SCHEMA, "required": ["b"]}, "response_schema.required[0]: property is not defined"),
        ({"type": "STRING", "format": "date"}, "only 'enum' and 'date-time' are supported for STRING type"),
        ({"type": ["STRING", "NULL"]}, "Proto field is not repeating, cannot start list."),
        ({"description": "x"}, "response_schema.type: must be specified"),
    ],
)
def test_a_schema_beyond_the_subset_is_refused_at_its_place(schema: Any, said: str) -> None:
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    assert said in refusal(decided(prompt(generationConfig=config)))["message"]


def test_a_json_schema_may_refer_to_definitions_but_not_beside_other_words() -> None:
    good = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}
    for schema, status in (
        (good, 200),
        ({**good, "title": "x"}, 400),
        ({"type": "string", "pattern": "a"}, 400),
    ):
        config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
        assert decided(prompt(generationConfig=config)).status == status


def test_embeddings_name_the_model_of_the_path_in_every_request() -> None:
    one = {"model": "models/sim-embed", "content": {"parts": [{"text": "x"}]}}
    good = decided({"requests": [one, one]}, "batchEmbedContents", "sim-embed")
    assert good.status == 200 and len(orjson.loads(good.body)["embeddings"]) == 2
    for body, said in (
        ({"requests": []}, "requests is not specified"),
        ({"requests": [one] * 101}, "at most 100"),
        ({"requests": [{**one, "model": "sim-embed"}]}, "unexpected model name format"),
        ({"requests": [{**one, "model": "models/other"}]}, "must be the model in the path"),
        ({"requests": [{**one, "content": {"parts": []}}]}, "content is empty"),
    ):
        assert said in refusal(decided(body, "batchEmbedContents", "sim-embed"))["message"]
    single = orjson.loads(decided({"content": one["content"]}, "embedContent", "sim-embed").body)
    assert single["embedding"] == orjson.loads(good.body)["embeddings"][0]


def test_a_model_is_not_found_for_what_it_cannot_do() -> None:
    for model, method in (
        ("nobody", "generateContent"),
        ("sim-embed", "generateContent"),
        ("sim-small", "embedContent"),
    ):
        error = refusal(decided(prompt(), method, model))
        assert error["status"] == "NOT_FOUND" and f"not supported for {method}" in error["message"]
    assert decided(prompt(), model="llama3:8b", all_models=True).status == 200


def test_a_key_may_stand_in_the_header_or_the_query_and_is_refused_as_the_api_does() -> None:
    simulation = Simulation(SimulatorConfig(api_key="right"), instance="ab")
    path, body = "/v1beta/models/sim-small:generateContent", orjson.dumps(prompt())

    def status_and_name(query: str, headers: dict[str, str]) -> tuple[int, str]:
        plan = simulation.decide(Inbound("POST", path, body, headers, query), now=0.0, unix_s=0)
        return plan.status, orjson.loads(plan.body).get("error", {}).get("status", "")

    assert status_and_name("", {}) == (403, "PERMISSION_DENIED")
    assert status_and_name("key=wrong", {}) == (400, "INVALID_ARGUMENT")
    assert status_and_name("key=right", {}) == status_and_name("", {"x-goog-api-key": "right"}) == (200, "")


def test_a_limit_says_its_quota_and_when_to_come_back() -> None:
    simulation = Simulation(SimulatorConfig(requests_per_minute=1), instance="ab")
    first, second = (decided_by(simulation, prompt(), "generateContent", "sim-small") for _ in range(2))
    assert (first.status, second.status) == (200, 429)
    quota, retry = refusal(second)["details"]
    (violation,) = quota["violations"]
    assert violation["quotaValue"] == "1" and "PerMinute" in violation["quotaId"]
    assert retry == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "60s"}


def test_a_spent_day_has_another_quota_and_no_time_to_come_back() -> None:
    (quota,) = refusal(decided(prompt("[[sim:status=429,code=insufficient_quota]]")))["details"]
    assert "PerDay" in quota["violations"][0]["quotaId"]


def test_the_paths_under_v1_are_geminis_by_method_or_by_key_header() -> None:
    simulation = Simulation(SimulatorConfig(), instance="ab")

    def provider(method: str, path: str, headers: dict[str, str]) -> str:
        return simulation.decide(Inbound(method, path, b"{}", headers), now=0.0, unix_s=0).dialect.name

    assert provider("POST", "/v1/models/sim-small:generateContent", {}) == "gemini"
    assert provider("GET", "/v1/models", {"x-goog-api-key": "k"}) == "gemini"
    assert provider("GET", "/v1beta/models", {}) == "gemini"
    assert provider("GET", "/v1/models", {}) == provider("GET", "/v1/models/sim-small", {}) == "openai"
    assert provider("POST", "/v1beta/openai/chat/completions", {}) == "openai"


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 1e18, "", "x", [], [[]], [None], {}, {"": {}}, {"type": 5}, "\u20ac" * 9]
)


@given(st.data())
def test_whatever_one_value_is_changed_to_the_answer_is_a_reply_or_a_refusal(data: st.DataObject) -> None:
    body = copy.deepcopy(WHOLE)
    here: Any = body
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        inner = here[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            here[key] = data.draw(ODD)
            break
        here = inner
    for method in ("generateContent", "streamGenerateContent"):
        plan = decided(body, method)
        assert plan.status in (200, 400, 403)
        assert plan.events is None or b"".join(plan.events)


@pytest.mark.parametrize("part", [b'{"items":', b'{"properties":{"a":', b'{"anyOf":['])
def test_a_schema_without_end_is_refused_and_breaks_nothing(part: bytes) -> None:
    levels = 240 // part.count(b"{") // (1 + part.count(b"["))
    closing = b"".join({b"{": b"}", b"[": b"]"}[bytes([c])] for c in reversed(part) if bytes([c]) in b"{[")
    deep = part * levels + b'{"type":"STRING"}' + closing * levels
    for field in (b"responseSchema", b"responseJsonSchema"):
        config = b'{"responseMimeType":"application/json","' + field + b'":' + deep + b"}"
        body = b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":' + config + b"}"
        assert decided(body).status in (200, 400)


def test_errors_of_other_parts_are_told_in_the_same_shape() -> None:
    error = refusal(decided(prompt("[[sim:nonsense]]")))
    assert error["status"] == "INVALID_ARGUMENT" and "nonsense" in error["message"]
