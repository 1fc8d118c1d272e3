"""WIRE.md's table of validation errors, row by row, by the running planner; and files that are odd but good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.conftest import CHAT, Stack, line, lines
from tests.support.bad_lines import BAD_LINES
from tests.support.bad_lines import line as bad_line

pytestmark = pytest.mark.compat
MOST_REQUESTS = 50_000
BODY: dict[str, Any] = {"model": "sim-small", "messages": [{"role": "user", "content": "hi"}]}
JSON = "This line is not parseable as valid JSON."
URL = "The URL provided for this request does not match the batch endpoint."
STREAM = "Chat Completions: Streaming is not supported in the Batch API."
MODEL = "The provided model 'x' is not supported by the Batch API."
Row = tuple[str, str | None, str]


def without(field: str) -> bytes:
    whole = {"custom_id": f"no {field}", "method": "POST", "url": CHAT, "body": BODY}
    return json.dumps({name: value for name, value in whole.items() if name != field}).encode()


def missing(field: str) -> Row:
    return "missing_required_parameter", field, f"Missing required parameter: '{field}'."


TABLE: list[tuple[bytes, Row]] = [
    (b'{"custom_id": "cut', ("invalid_json_line", None, JSON)),
    *((without(field), missing(field)) for field in ("custom_id", "method", "url", "body")),
    (bad_line("url", url="/v1/embeddings"), ("invalid_url", "url", URL)),
    (bad_line("stream", body={**BODY, "stream": True}), ("streaming_unsupported", "body.stream", STREAM)),
    (bad_line("unknown", body={**BODY, "model": "x"}), ("model_not_found", "body.model", MODEL)),
    (
        bad_line("no model", body={"messages": BODY["messages"]}),
        ("invalid_request", "body.model", "Model parameter is required."),
    ),
    (
        bad_line("no messages", body={"model": "sim-small"}),
        ("invalid_request", "body.messages", "Messages parameter is required."),
    ),
    (
        line("first", "again").strip(),
        ("duplicate_custom_id", "custom_id", "custom_id 'first' was already used on line 1."),
    ),
]


def told(stack: Stack, content: bytes) -> list[tuple[str | None, str | None, str | None, int | None]]:
    """What a batch over this file fails with."""
    batch = stack.ended(stack.create(content).id)
    assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
    assert (batch.output_file_id, batch.error_file_id, batch.in_progress_at) == (None, None, None)
    return [(row.code, row.param, row.message, row.line) for row in batch.errors.data]


def test_every_row_of_the_table_is_said_word_for_word_with_its_physical_line(stack: Stack) -> None:
    """A byte order mark, CRLF, blank lines and no final line end, besides."""
    content = (
        b"\xef\xbb\xbf" + line("first", "hi").strip() + b"\r\n\r\n" + b"\r\n \r\n".join(b for b, _ in TABLE)
    )
    assert told(stack, content) == [(*row, 3 + 2 * at) for at, (_, row) in enumerate(TABLE)]


def test_each_bad_line_of_the_list_of_faults_is_named(stack: Stack) -> None:
    """NUL bytes, lone surrogates, depth 10,000, a line of 2 MB, pictures that are none, and their like."""
    content = b"\n".join([line("r1", "hi").strip(), *(raw for raw, *_ in BAD_LINES.values())])
    seen = told(stack, content)
    assert [(code, param, at) for code, param, _, at in seen] == [
        (code, param, at) for at, (_, code, param, _) in enumerate(BAD_LINES.values(), start=2)
    ]
    for (_, _, message, _), (_, _, _, said) in zip(seen, BAD_LINES.values(), strict=True):
        assert message is not None and said in message


def test_a_file_without_a_request_is_empty(stack: Stack) -> None:
    """Too much of nothing for the look at its first line, which refuses a shorter one."""
    empty = "The input file is empty. Please ensure that the batch contains at least one request."
    assert told(stack, b" " * 1_500_000 + b"\n" * 10) == [("empty_file", None, empty, None)]


def test_the_first_hundred_are_named_and_the_rest_is_summed_up(stack: Stack) -> None:
    seen = told(stack, lines(1) + b"{\n" * 150)
    assert [at for *_, at in seen] == [*range(2, 102), None]
    assert seen[-1] == ("more_errors", None, "50 more lines have errors; these are the first 100.", None)


def test_crlf_a_byte_order_mark_blank_lines_and_no_final_line_end_are_no_errors(stack: Stack) -> None:
    content = b"\xef\xbb\xbf\r\n" + lines(3).replace(b"\n", b"\r\n\r\n\n").rstrip()
    batch = stack.ended(stack.create(content).id)
    assert batch.status == "completed" and batch.request_counts is not None
    assert batch.request_counts.total == 3
    assert [row["custom_id"] for row in stack.rows(batch.output_file_id)] == ["r1", "r2", "r3"]


def test_bad_lines_that_are_to_be_skipped_stand_in_the_error_file(stack: Stack) -> None:
    content = lines(2) + b"\n".join(raw for raw, _ in TABLE[:-1])
    made = stack.create(content, extra_body={"batchwright": {"invalid_lines": "skip"}})
    batch = stack.ended(made.id)
    assert batch.status == "completed" and batch.request_counts is not None
    bad = stack.rows(batch.error_file_id)
    assert batch.request_counts.model_dump() == {"total": 12, "completed": 2, "failed": len(bad)}
    assert [row["error"]["code"] for row in bad] == [code for _, (code, *_) in TABLE[:-1]]
    assert all(row["response"] is None for row in bad)


def short(count: int) -> bytes:
    return b"".join(
        b'{"custom_id":"%d","method":"POST","url":"/v1/embeddings","body":{"model":"sim-embed","input":"%d"}}\n'
        % (n, n)
        for n in range(count)
    )


def test_one_request_too_many_is_told_the_limit_and_its_setting(stack: Stack) -> None:
    made = stack.create(short(MOST_REQUESTS + 1), endpoint="/v1/embeddings")
    batch = stack.ended(made.id)
    assert batch.status == "failed" and batch.errors and batch.errors.data
    (row,) = batch.errors.data
    assert (row.code, row.line) == ("too_many_requests_in_file", MOST_REQUESTS + 1)
    assert row.message and str(MOST_REQUESTS) in row.message and "api.max_requests" in row.message


def test_as_many_requests_as_there_may_be_are_planned_in_time(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    file_id = stack.upload(short(MOST_REQUESTS))
    began = time.monotonic()
    batch = stack.sdk.batches.create(
        input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h"
    )
    seen = stack.reached(batch.id, "in_progress", "failed", "completed")
    took_s = time.monotonic() - began
    stack.sdk.batches.cancel(batch.id)
    assert seen.status == "in_progress" and seen.request_counts and seen.request_counts.total == MOST_REQUESTS
    assert stack.ended(batch.id).status == "cancelled"
    record_property("50,000 lines validated and planned, s", took_s)
    assert took_s < 3.0
