"""Output lines and objects as the Batch API shows them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given

from tests.support.results import RESULTS
from workers.core.messages import ItemError, Result
from workers.core.states import BatchStatus
from workers.core.wire import STATUS_TIMES, batch_object, error_body, file_object, line_bytes, output_line


@given(RESULTS)
def test_an_output_line_is_one_line_of_json_with_the_keys_of_the_batch_api(result: Result) -> None:
    line = output_line("batch_1", result)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    shown = json.loads(line)
    ours = ["batchwright"] if result.warnings else []
    assert list(shown) == ["id", "custom_id", "response", "error", *ours]
    assert shown["id"].startswith("batch_req_")
    assert (shown["response"] is None) != (shown["error"] is None) or result.status_code is not None
    if shown["response"] is not None:
        assert (shown["error"] is None) == (result.error is None)
        assert list(shown["response"]) == ["status_code", "request_id", "body"]
        assert isinstance(shown["response"]["body"], dict)


@given(RESULTS)
def test_a_line_is_measured_as_long_as_it_is_written(result: Result) -> None:
    assert line_bytes(result) == len(output_line("batch_1", result))


def test_a_success_carries_the_providers_body_untouched() -> None:
    body = b'{"b":1,  "a":[2]}'
    line = output_line("b", Result(1, "c", "call", 200, body, request_id="req_1"))
    assert body in line
    assert json.loads(line)["response"] == {
        "status_code": 200,
        "request_id": "req_1",
        "body": {"b": 1, "a": [2]},
    }


def test_a_providers_failure_keeps_its_status_and_has_no_error_of_ours() -> None:
    body = error_body("no such model", kind="invalid_request_error", param="model")
    shown = json.loads(output_line("b", Result(1, "c", "call", 404, body)))
    assert shown["error"] is None
    assert shown["response"]["status_code"] == 404
    assert shown["response"]["body"]["error"] == {
        "message": "no such model",
        "type": "invalid_request_error",
        "param": "model",
        "code": None,
    }


def test_an_answer_beside_its_schema_stands_in_the_error_file_with_its_reply() -> None:
    error = ItemError("schema_mismatch", "the reply does not match the schema at $.price")
    result = Result(1, "c", "call", 200, b'{"choices":[]}', error)
    shown = json.loads(output_line("b", result))
    assert not result.ok
    assert shown["error"]["code"] == "schema_mismatch" and shown["response"]["body"] == {"choices": []}


def test_what_a_request_lost_is_named_beside_its_answer() -> None:
    shown = json.loads(output_line("b", Result(1, "c", "call", 200, b"{}", warnings=("seed: left out",))))
    assert shown["batchwright"] == {"warnings": ["seed: left out"]}


def test_a_failure_without_http_has_no_response() -> None:
    error = ItemError("batch_expired", "too late")
    shown = json.loads(output_line("b", Result(1, "c", "none", error=error)))
    assert shown["response"] is None
    assert shown["error"] == {"code": "batch_expired", "message": "too late"}


def test_a_line_without_a_custom_id_shows_null() -> None:
    assert json.loads(output_line("b", Result(1, "", "none")))["custom_id"] is None


def batch(**changes: Any) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "_id": "batch_1",
        "endpoint": "/v1/embeddings",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": BatchStatus.VALIDATING,
        "created_at": 1000.9,
        "total": 0,
    }
    return doc | changes


def test_a_batch_shows_every_key_and_whole_seconds() -> None:
    shown = batch_object(batch(in_progress_at=1001.5, total=3), {"completed": 1}, {"note": 1})
    nullable = {"errors", "output_file_id", "error_file_id", "metadata", "model", *STATUS_TIMES}
    assert nullable <= shown.keys()
    assert (shown["created_at"], shown["in_progress_at"], shown["completed_at"]) == (1000, 1001, None)
    assert shown["request_counts"] == {"total": 3, "completed": 1, "failed": 0}
    assert shown["usage"]["total_tokens"] == 0
    assert shown["batchwright"] == {"note": 1}
    orjson.dumps(shown)


def test_counts_are_zero_and_never_null_while_validating() -> None:
    shown = batch_object(batch(total=5), {"completed": 2, "failed": 1}, {})
    assert shown["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


@pytest.mark.parametrize(
    ("errors", "expected"), [(None, None), ([], None), ([{"code": "x"}], [{"code": "x"}])]
)
def test_errors_are_a_list_object_or_null(errors: Any, expected: Any) -> None:
    shown = batch_object(batch(errors=errors), {}, {})["errors"]
    assert shown == (expected and {"object": "list", "data": expected})


def test_a_file_shows_what_the_files_api_shows() -> None:
    doc = {"_id": "file-1", "bytes": 3, "created_at": 9.7, "filename": "x.jsonl", "purpose": "batch"}
    shown = file_object(doc)
    assert shown == {
        "id": "file-1",
        "object": "file",
        "bytes": 3,
        "created_at": 9,
        "expires_at": None,
        "filename": "x.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
