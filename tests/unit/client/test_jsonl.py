"""Lines: bytes into lines, Python requests into input lines, output lines into results."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.jsonl import LineSplitter, Result, in_input_order, input_line, result_from
from workers.core.errors import UserError


@given(st.lists(st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode())), st.integers(1, 7))
def test_lines_come_out_whole_however_the_stream_is_cut(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    splitter = LineSplitter()
    found = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert found + splitter.finish() == lines


def test_a_prompt_becomes_the_smallest_request_of_its_endpoint() -> None:
    chat = json.loads(input_line("hi", 1, "/v1/chat/completions"))
    assert chat == {
        "custom_id": "request-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": [{"role": "user", "content": "hi"}]},
    }
    assert json.loads(input_line("hi", 2, "/v1/embeddings"))["body"] == {"input": "hi"}


def test_a_body_is_wrapped_and_a_whole_line_keeps_its_own_parts() -> None:
    body = {"model": "m", "messages": []}
    assert json.loads(input_line(body, 3, "/v1/chat/completions"))["body"] == body
    whole = {"custom_id": "mine", "body": body}
    line = json.loads(input_line(whole, 4, "/v1/chat/completions"))
    assert (line["custom_id"], line["body"], line["method"]) == ("mine", body, "POST")


@pytest.mark.parametrize(
    ("wrong", "words"), [(7, "of type int"), ({"x": {1, 2}}, "cannot be written as JSON")]
)
def test_what_is_no_request_is_refused_with_its_number(wrong: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        input_line(wrong, 5, "/v1/embeddings")


def output(custom_id: str, response: Any, error: Any = None) -> bytes:
    return json.dumps({"id": "r", "custom_id": custom_id, "response": response, "error": error}).encode()


def test_an_answer_has_its_text() -> None:
    body = {"choices": [{"message": {"content": "blue"}}]}
    found = result_from(output("a", {"status_code": 200, "body": body}))
    assert (found.ok, found.text, found.error) == (True, "blue", None)


def test_an_embedding_has_no_text() -> None:
    body = {"data": [{"embedding": [0.1]}]}
    found = result_from(output("a", {"status_code": 200, "body": body}))
    assert (found.ok, found.text) == (True, None)


def test_a_providers_refusal_and_a_lost_connection_both_have_words() -> None:
    refused = result_from(
        output("a", {"status_code": 400, "body": {"error": {"message": "bad", "code": "c"}}})
    )
    assert (refused.ok, refused.status_code, refused.error, refused.code) == (False, 400, "bad", "c")
    lost = result_from(output("b", None, {"code": "timeout", "message": "too slow"}))
    assert (lost.ok, lost.status_code, lost.error, lost.code) == (False, None, "too slow", "timeout")


@given(st.lists(st.booleans(), max_size=30))
def test_results_come_in_input_order_however_they_fell(fates: list[bool]) -> None:
    inputs = [json.dumps({"custom_id": str(n)}).encode() for n in range(len(fates))]
    made = [Result(str(n), fate, 200, {}, None, None) for n, fate in enumerate(fates)]
    answers, failures = (iter([each for each in made if each.ok is kind]) for kind in (True, False))
    assert list(in_input_order(inputs, answers, failures)) == made
