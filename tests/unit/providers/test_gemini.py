"""Chat requests as Gemini's API wants them: what is translated, what is refused, what is left out."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import ModelTraits
from tests.support.gemini_requests import (
    CHAT,
    EMBEDDINGS,
    GEMINI,
    JSON,
    PNG,
    RESPONSES,
    TRANSCRIPTIONS,
    USER,
    call,
    chat,
    refused,
)
from workers.core.errors import Untranslatable
from workers.core.messages import Call
from workers.providers.gemini import Gemini

CLOCK = {"type": "function", "function": {"name": "now"}}


def config(**body: Any) -> dict[str, Any]:
    made: dict[str, Any] = chat(**body)["generationConfig"]
    return made


def warned(*, endpoint: str = CHAT, **body: Any) -> tuple[str, ...]:
    asked = {"messages": USER, **body} if endpoint == CHAT else body
    return GEMINI.build_request(call(asked, endpoint=endpoint), None).warnings


# --- requests


@pytest.mark.ability("gemini", "chat")
def test_a_conversation_becomes_contents_and_a_system_instruction() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "salut"},
        {"role": "user", "content": "bye"},
    ]
    request = GEMINI.build_request(call({"messages": messages}), "key-1").request
    assert (request.method, request.path) == ("POST", "/v1beta/models/gemini-2.5-flash:generateContent")
    assert request.headers["x-goog-api-key"] == "key-1"
    assert orjson.loads(request.body) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "In French."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"text": "salut"}]},
            {"role": "user", "parts": [{"text": "bye"}]},
        ],
    }


def test_a_stream_is_asked_for_by_its_own_method() -> None:
    request = GEMINI.build_request(call({"messages": USER, "stream": False}), None, stream=True).request
    assert request.path.endswith(":streamGenerateContent?alt=sse")
    assert "x-goog-api-key" not in request.headers


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-pro-latest", "models/gemini-pro-latest"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("../keys?x#y", "models/..%2Fkeys%3Fx%23y"),
    ],
)
def test_a_model_stays_one_part_of_the_path(model: str, path: str) -> None:
    request = GEMINI.build_request(call({"messages": USER}, model=model), None).request
    assert request.path == f"/v1beta/{path}:generateContent"


def test_own_headers_are_laid_over_ours() -> None:
    adapter = Gemini("mine", headers={"accept": "*/*", "x-team": "a"})
    headers = adapter.build_request(call({"messages": USER}), "k").request.headers
    assert (adapter.name, headers["accept"], headers["x-team"]) == ("mine", "*/*", "a")


def test_sampling_and_bounds_become_the_generation_config() -> None:
    assert config(
        max_tokens=5, max_completion_tokens=7, temperature=0, top_p=0.5, stop="END", seed=3, n=2,
        presence_penalty=1, frequency_penalty=-1, top_k=40,
    ) == {
        "maxOutputTokens": 7, "temperature": 0, "topP": 0.5, "stopSequences": ["END"], "seed": 3,
        "candidateCount": 2, "presencePenalty": 1, "frequencyPenalty": -1, "topK": 40,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "effort", "told"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192}),
        ("gemini-3-pro-preview", "low", {"thinkingLevel": "LOW"}),
        ("models/gemini-flash-latest", "xhigh", {"thinkingLevel": "XHIGH"}),
    ],
)
def test_an_effort_becomes_a_budget_or_a_level(model: str, effort: str, told: dict[str, Any]) -> None:
    assert chat(model=model, reasoning_effort=effort)["generationConfig"]["thinkingConfig"] == told


def test_an_effort_that_a_model_has_not_is_rounded_with_a_warning_or_refused() -> None:
    asked = call({"messages": USER, "reasoning_effort": "none"}, model="gemini-3-flash")
    built = GEMINI.build_request(asked, None)
    assert orjson.loads(built.request.body)["generationConfig"]["thinkingConfig"] == {
        "thinkingLevel": "MINIMAL"
    }
    assert built.warnings[0].startswith("reasoning_effort")
    assert warned(reasoning_effort="xhigh")[0].startswith("reasoning_effort")
    assert refused(reasoning_effort="enormous") == "reasoning_effort"


@pytest.mark.ability("gemini", "schema")
def test_json_mode_and_a_schema_become_response_mime_type_and_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "n", "strict": True, "description": "d", "schema": schema},
    }
    assert config(response_format=wanted) == {
        "responseMimeType": "application/json",
        "responseSchema": {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}},
            "propertyOrdering": ["a"],
            "description": "d",
        },
    }
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    schema["properties"]["a"]["pattern"] = "^x"  # type: ignore[index]
    assert refused(response_format=wanted) == "response_format.json_schema.schema.properties.a.pattern"


# --- what is lost


def test_hints_are_left_out_with_a_warning_each() -> None:
    names = ["user", "metadata", "store", "logit_bias", "prediction", "verbosity", "service_tier"]
    found = warned(
        user="u", metadata={"a": "b"}, store=True, logit_bias={"1": 1}, prediction={}, verbosity="low",
        service_tier="scale",
    )  # fmt: skip
    assert sorted(warning.split(":")[0] for warning in found) == sorted(names)
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    assert warned(tools=[strict])[0].startswith("tools[0].function.strict:")
    detailed = {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}
    assert warned(messages=[{"role": "user", "content": [detailed]}])[0].startswith(
        "messages[0].content[0].image_url"
    )


def test_what_asks_for_nothing_special_is_left_out_without_a_word() -> None:
    assert (
        warned(logprobs=False, top_logprobs=0, modalities=["text"], n=1, service_tier="auto", store=None)
        == ()
    )


def test_a_service_tier_is_asked_for_by_geminis_name() -> None:
    assert chat(service_tier="flex")["serviceTier"] == "flex"
    assert chat(service_tier="default")["serviceTier"] == "standard"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "a"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"functions": [{}]}, "functions"),
        ({"tools": [CLOCK], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"n": 2, "stream": True}, "n"),
        ({"endpoint": "/v1/audio/speech"}, "url"),
        ({"endpoint": "/v1/moderations"}, "url"),
        ({"endpoint": EMBEDDINGS, "input": "x", "stream": True}, "stream"),
        ({"endpoint": EMBEDDINGS, "input": [[1, 2]]}, "input"),
        ({"endpoint": EMBEDDINGS}, "input"),
        ({"endpoint": EMBEDDINGS, "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"endpoint": TRANSCRIPTIONS}, "file_url"),
        ({"endpoint": TRANSCRIPTIONS, "file_url": "https://a/b.mp3"}, "file_url"),
        ({"endpoint": TRANSCRIPTIONS, "file_url": PNG, "response_format": "srt"}, "response_format"),
        ({"endpoint": TRANSCRIPTIONS, "file_url": PNG, "include": ["logprobs"]}, "include"),
    ],
)
def test_what_decides_the_answer_is_refused_with_its_path(body: dict[str, Any], param: str) -> None:
    assert refused(**body) == param


def test_system_messages_that_cannot_stand_where_they_are_become_a_users_turn() -> None:
    later = {"role": "system", "content": "And rhyme."}
    assert chat([*USER, later])["contents"][1] == {"role": "user", "parts": [{"text": "And rhyme."}]}
    assert warned(messages=[*USER, later])[0].startswith("messages[1]:")
    alone = chat([later])
    assert alone == {"contents": [{"role": "user", "parts": [{"text": "And rhyme."}]}]}


def test_a_model_without_sampling_gets_none() -> None:
    asked = call({"messages": USER, "temperature": 1, "top_p": 1}, traits=ModelTraits(takes_sampling=False))
    built = GEMINI.build_request(asked, None)
    assert "generationConfig" not in orjson.loads(built.request.body)
    assert [warning.split(":")[0] for warning in built.warnings] == ["temperature", "top_p"]


# --- provider_options


def test_options_are_laid_over_the_translated_request() -> None:
    options = {"generationConfig": {"topK": 3, "temperature": None}, "safetySettings": [{"category": "x"}]}
    asked = call({"messages": USER, "temperature": 1, "seed": 1}, provider_options=options)
    body = orjson.loads(GEMINI.build_request(asked, None).request.body)
    assert body["generationConfig"] == {"seed": 1, "topK": 3}
    assert body["safetySettings"] == [{"category": "x"}]


def test_a_request_may_be_given_in_geminis_own_words_alone() -> None:
    own = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert orjson.loads(GEMINI.build_request(call({}, provider_options=own), None).request.body) == own
    embed = {"requests": [{"model": "models/e", "content": {"parts": [{"text": "a"}]}}]}
    built = GEMINI.build_request(call({}, endpoint=EMBEDDINGS, provider_options=embed), None)
    assert orjson.loads(built.request.body) == embed


BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.just(USER) | JSON,
        "tools": st.just([CLOCK]) | JSON,
        "tool_choice": st.sampled_from(["auto", "required"]) | JSON,
        "response_format": st.just({"type": "json_object"}) | JSON,
        "stop": st.text(max_size=3) | JSON,
        "input": st.text(max_size=3) | JSON,
        "file_url": st.just(PNG) | JSON,
        "language": JSON,
        "modalities": JSON,
        "service_tier": JSON,
        "reasoning_effort": JSON,
        "metadata": JSON,
    },
)


@given(BODIES, st.sampled_from([CHAT, RESPONSES, EMBEDDINGS, TRANSCRIPTIONS]), st.booleans())
def test_building_never_changes_the_call_and_raises_nothing_else(
    body: dict[str, Any], endpoint: str, stream: bool
) -> None:
    before = copy.deepcopy(body)
    options = {"labels": {"a": "b"}}
    try:
        GEMINI.build_request(call(body, endpoint=endpoint, provider_options=options), "k", stream=stream)
    except Untranslatable as error:
        assert error.param  # noqa: PT017  either outcome is right
    assert (body, options) == (before, {"labels": {"a": "b"}})


def test_tools_of_geminis_own_can_be_demanded_too() -> None:
    options: dict[str, Any] = {"tools": [{"googleSearch": {}}]}
    made = Gemini().build_request(Call("/v1/chat/completions", "gemini-2.5-flash", {
        "messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}, options), "k")  # fmt: skip
    assert orjson.loads(made.request.body)["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def test_a_model_that_always_thinks_is_asked_to_think_least() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "none"}
    made = Gemini().build_request(Call("/v1/chat/completions", "gemini-2.5-pro", body), "k")
    assert orjson.loads(made.request.body)["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 128}
    assert made.warnings


def test_a_files_name_is_named_as_lost() -> None:
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}
    body = {"messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]}
    made = Gemini().build_request(Call("/v1/chat/completions", "gemini-2.5-flash", body), "k")
    assert made.warnings[0].startswith("messages[0].content[0].file.filename:")
