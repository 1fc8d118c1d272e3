"""One line of an input file: everything wrong with it is named in the Batch API's words."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.lines import MAX_LEVELS, check_line, custom_id_of, json_type
from workers.core.messages import InputLine, LineProblem

CHAT = "/v1/chat/completions"
GOOD: dict[str, Any] = {
    "custom_id": "a",
    "method": "POST",
    "url": CHAT,
    "body": {"model": "sim-small", "messages": [{"role": "user", "content": "hi"}]},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def checked(line: dict[str, Any], *, model: str | None = None) -> InputLine | LineProblem:
    return check_line(json.dumps(line).encode(), 7, CHAT, model=model)


def test_a_good_line_is_read_as_it_is() -> None:
    assert checked(GOOD) == InputLine("a", CHAT, "sim-small", GOOD["body"])


def test_a_batch_wide_model_wins_over_the_line() -> None:
    line = checked(GOOD, model="sim-large")
    assert isinstance(line, InputLine) and line.model == "sim-large"
    without = {**GOOD, "body": {"messages": []}}
    assert isinstance(checked(without, model="sim-large"), InputLine)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"custom_id": None}, "missing_required_parameter", "custom_id"),
        ({"method": None}, "missing_required_parameter", "method"),
        ({"url": None}, "missing_required_parameter", "url"),
        ({"body": None}, "missing_required_parameter", "body"),
        ({"custom_id": 7}, "invalid_type", "custom_id"),
        ({"body": [1]}, "invalid_type", "body"),
        ({"custom_id": ""}, "invalid_request", "custom_id"),
        ({"custom_id": "x" * 513}, "invalid_request", "custom_id"),
        ({"method": "GET"}, "invalid_method", "method"),
        ({"url": "/v1/embeddings"}, "invalid_url", "url"),
        ({"body": {**GOOD["body"], "stream": True}}, "streaming_unsupported", "body.stream"),
        ({"body": {"messages": []}}, "invalid_request", "body.model"),
        ({"body": {"model": 5, "messages": []}}, "invalid_request", "body.model"),
        ({"body": {"model": "m"}}, "invalid_request", "body.messages"),
        ({"body": {"model": "m", "messages": "hi"}}, "invalid_request", "body.messages"),
    ],
)
def test_what_is_wrong_is_named_with_its_code_and_parameter(
    change: dict[str, Any], code: str, param: str
) -> None:
    problem = checked({**GOOD, **change})
    assert isinstance(problem, LineProblem)
    assert (problem.code, problem.param, problem.line) == (code, param, 7)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b'"text"', b"\x00", b'{"a": NaN}', b'"\\ud800"', b"\xff"])
def test_what_is_no_json_object_is_said_so(raw: bytes) -> None:
    problem = check_line(raw, 1, CHAT)
    assert isinstance(problem, LineProblem) and problem.code == "invalid_json_line"


@pytest.mark.parametrize("levels", [MAX_LEVELS - 3, MAX_LEVELS, 1000, 10_000])
def test_a_line_that_is_accepted_can_be_written_again_however_deep_it_is(levels: int) -> None:
    # Two levels are the line's own: {"body": {...}}.
    deep = b"[" * (levels - 2) + b"]" * (levels - 2)
    raw = json.dumps(GOOD).encode()[:-2] + b', "deep": ' + deep + b"}}"
    line = check_line(raw, 1, CHAT)
    if levels <= MAX_LEVELS:
        assert isinstance(line, InputLine)
        orjson.dumps([line.body])
    else:
        assert isinstance(line, LineProblem) and line.code == "invalid_json_line"


@given(st.binary())
def test_any_bytes_are_a_line_or_a_problem(raw: bytes) -> None:
    assert isinstance(check_line(raw, 1, CHAT), InputLine | LineProblem)
    assert isinstance(custom_id_of(raw), str)


@given(st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body", "x"]), JSON))
def test_any_json_is_a_line_or_a_problem(line: dict[str, Any]) -> None:
    raw = json.dumps(line).encode("utf-8", "surrogatepass")
    assert isinstance(check_line(raw, 1, CHAT), InputLine | LineProblem)


@given(st.dictionaries(st.sampled_from(["model", "messages", "stream", "n"]), JSON))
def test_any_body_is_a_line_or_a_problem(body: dict[str, Any]) -> None:
    assert isinstance(checked({**GOOD, "body": body}), InputLine | LineProblem)


def test_a_broken_line_still_tells_its_custom_id() -> None:
    assert custom_id_of(b'{"custom_id": "a", "body": 1}') == "a"
    assert custom_id_of(b'{"custom_id": 1}') == custom_id_of(b"{") == custom_id_of(b"[1]") == ""


def test_json_values_are_named_as_a_person_would() -> None:
    values = ["", True, 1, 1.5, [], {}, None]
    names = [
        "a string",
        "a boolean",
        "an integer",
        "a number",
        "an array",
        "an object",
        "null",
    ]
    assert [json_type(value) for value in values] == names
