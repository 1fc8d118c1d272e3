"""Every refusal of WIRE.md as the Python SDK's own exception, with its status, type, code, param and request id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from tests.compat.conftest import CHAT, MAX_FILE_BYTES, Stack, line, lines

pytestmark = pytest.mark.compat
INVALID = "invalid_request_error"
NOWHERE = "batch_00000000000000000000000000000000"
NO_FILE = "file-00000000000000000000000000000000"
GOOD: dict[str, Any] = {"input_file_id": NO_FILE, "endpoint": CHAT, "completion_window": "24h"}


@dataclass(frozen=True)
class Refusal:
    """A call, and what the SDK must make of the answer."""

    call: Callable[[openai.OpenAI], Any]
    error: type[openai.APIStatusError]
    status: int
    said: str
    param: str | None = None
    code: str | None = None


def create(**changed: Any) -> Callable[[openai.OpenAI], Any]:
    """A create that differs from a good one; None leaves a parameter out."""
    body = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    return lambda sdk: sdk.post("/batches", body=body, cast_to=openai.types.Batch)


def upload(name: str, content: bytes, **options: Any) -> Callable[[openai.OpenAI], Any]:
    return lambda sdk: sdk.files.create(file=(name, content), **{"purpose": "batch", **options})


def bad(call: Callable[[openai.OpenAI], Any], said: str, param: str | None, code: str | None) -> Refusal:
    return Refusal(call, openai.BadRequestError, 400, said, param, code)


def absent(call: Callable[[openai.OpenAI], Any], said: str, param: str | None = None) -> Refusal:
    return Refusal(call, openai.NotFoundError, 404, said, param)


MISSING = "missing_required_parameter"
NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"
REFUSALS = {
    "no input file": bad(
        create(input_file_id=None), "Missing required parameter: 'input_file_id'.", "input_file_id", MISSING
    ),
    "no endpoint": bad(create(endpoint=None), "Missing required parameter: 'endpoint'.", "endpoint", MISSING),
    "no window": bad(
        create(completion_window=None),
        "Missing required parameter: 'completion_window'.",
        "completion_window",
        MISSING,
    ),
    "unknown endpoint": bad(
        create(endpoint="/v1/x"),
        "Invalid value: '/v1/x'. Supported values are: '/v1/chat/completions'",
        "endpoint",
        "invalid_value",
    ),
    "window of no unit": bad(
        create(completion_window="24"), "Invalid value: '24'.", "completion_window", "invalid_value"
    ),
    "window too long": bad(
        create(completion_window="169h"), "Invalid value: '169h'.", "completion_window", "invalid_value"
    ),
    "metadata of an array": bad(
        create(metadata={"tags": ["a"]}),
        "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
        "metadata.tags",
        "invalid_type",
    ),
    "metadata of a number": bad(
        create(metadata={"n": 1}), "expected a string, but got an integer", "metadata.n", "invalid_type"
    ),
    "seventeen pairs": bad(
        create(metadata={str(n): "x" for n in range(17)}),
        "at most 16 properties",
        "metadata",
        "object_above_max_properties",
    ),
    "a long key": bad(
        create(metadata={"k" * 65: "v"}),
        "maximum length 64",
        "metadata." + "k" * 65,
        "string_above_max_length",
    ),
    "a long value": bad(
        create(metadata={"k": "v" * 513}), "maximum length 512", "metadata.k", "string_above_max_length"
    ),
    "a short life of the output": bad(
        create(output_expires_after={"anchor": "created_at", "seconds": 3599}),
        ">= 3600",
        "output_expires_after.seconds",
        "integer_below_min_value",
    ),
    "another anchor of the output": bad(
        create(output_expires_after={"anchor": "completed_at", "seconds": 3600}),
        "Supported values are: 'created_at'",
        "output_expires_after.anchor",
        "invalid_value",
    ),
    "a batch nobody made": absent(
        lambda sdk: sdk.batches.retrieve(NOWHERE), f"No batch found with id '{NOWHERE}'."
    ),
    "cancel of it": absent(lambda sdk: sdk.batches.cancel(NOWHERE), f"No batch found with id '{NOWHERE}'."),
    "a file nobody sent": absent(
        lambda sdk: sdk.files.retrieve(NO_FILE), f"No such File object: {NO_FILE}", "id"
    ),
    "its content": absent(lambda sdk: sdk.files.content(NO_FILE), f"No such File object: {NO_FILE}", "id"),
    "its end": absent(lambda sdk: sdk.files.delete(NO_FILE), f"No such File object: {NO_FILE}", "id"),
    "an unknown cursor": bad(lambda sdk: sdk.batches.list(after=NOWHERE), NOWHERE, "after", "invalid_value"),
    "a number as cursor": bad(lambda sdk: sdk.batches.list(after="7"), "'7'", "after", "invalid_value"),
    "an unknown file as cursor": bad(
        lambda sdk: sdk.files.list(after=NO_FILE), NO_FILE, "after", "invalid_value"
    ),
    "no batches a page": bad(
        lambda sdk: sdk.batches.list(limit=0), ">= 1", "limit", "integer_below_min_value"
    ),
    "too many batches a page": bad(
        lambda sdk: sdk.batches.list(limit=101), "<= 100", "limit", "integer_above_max_value"
    ),
    "too many files a page": bad(
        lambda sdk: sdk.files.list(limit=10_001), "<= 10000", "limit", "integer_above_max_value"
    ),
    "files in no order": bad(
        lambda sdk: sdk.files.list(extra_query={"order": "up"}), "'asc' and 'desc'", "order", "invalid_value"
    ),
    "no lines by name": bad(upload("a.txt", b"{}"), NOT_JSONL, "file", None),
    "no lines by content": bad(upload("a.jsonl", b"hello\n"), NOT_JSONL, "file", "invalid_json_line"),
    "nothing in it": bad(upload("a.jsonl", b""), "The input file is empty.", "file", "empty_file"),
    "no purpose": bad(
        lambda sdk: sdk.post(
            "/files",
            files={"file": ("a.jsonl", b"{}")},
            options={"headers": {"Content-Type": "multipart/form-data"}},
            cast_to=openai.types.FileObject,
        ),
        "Missing required parameter: 'purpose'.",
        "purpose",
        MISSING,
    ),
    "a short life": bad(
        upload("a.jsonl", lines(1), expires_after={"anchor": "created_at", "seconds": 3599}),
        ">= 3600",
        "expires_after.seconds",
        "integer_below_min_value",
    ),
    "a long life": bad(
        upload("a.jsonl", lines(1), expires_after={"anchor": "created_at", "seconds": 2_592_001}),
        "<= 2592000",
        "expires_after.seconds",
        "integer_above_max_value",
    ),
    "another anchor": bad(
        upload("a.jsonl", lines(1), expires_after={"anchor": "now", "seconds": 3600}),
        "Supported values are: 'created_at'",
        "expires_after.anchor",
        "invalid_value",
    ),
    "half an expiry": bad(
        upload("a.jsonl", lines(1), expires_after={"anchor": "created_at"}),
        "Missing required parameter: 'expires_after.seconds'.",
        "expires_after.seconds",
        MISSING,
    ),
    "a large file": Refusal(
        upload("a.jsonl", line("r1", "x").ljust(MAX_FILE_BYTES + 1, b"\n")),
        openai.APIStatusError,
        413,
        "BATCHWRIGHT_API_MAX_FILE_BYTES",
        "file",
        "file_too_large",
    ),
    "a key nobody has": Refusal(
        lambda sdk: sdk.with_options(api_key="sk-wrong").files.list(),
        openai.AuthenticationError,
        401,
        "Incorrect API key provided: sk-********.",
        None,
        "invalid_api_key",
    ),
    "a path nobody serves": absent(
        lambda sdk: sdk.moderations.create(input="x"), "Invalid URL (POST /v1/moderations)"
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_the_sdks_own_exception_and_says_what_is_wrong(stack: Stack, case: str) -> None:
    wanted = REFUSALS[case]
    with pytest.raises(wanted.error) as refused:
        wanted.call(stack.sdk)
    error = refused.value
    assert wanted.said in error.message
    told = (error.status_code, error.type, error.param)
    assert told == (wanted.status, INVALID, wanted.param)
    assert error.code == wanted.code or (wanted.code is None and error.code == "unknown_url")
    assert error.request_id and error.request_id.startswith("req_")
    assert isinstance(error.body, dict) and set(error.body) == {"message", "type", "param", "code"}


def test_no_error_has_another_shape_whatever_is_asked(stack: Stack) -> None:
    with httpx.Client(base_url=stack.api.url, headers={"authorization": f"Bearer {stack.key}"}) as client:
        for method, path in (
            ("GET", "/"),
            ("GET", "/v1"),
            ("GET", "/v1/files/"),
            ("PUT", "/v1/files"),
            ("PATCH", "/v1/batches/x"),
            ("POST", "/v1/batches/x/cancel"),
            ("GET", "/v1/batches/%00"),
            ("GET", "/v1/files/" + "x" * 3000),
            ("GET", "/v1/batches?limit=%F0%9F"),
            ("POST", "/v1/batches"),
        ):
            reply = client.request(method, path)
            assert 400 <= reply.status_code < 500, (method, path, reply.text)
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}, (method, path)
            assert reply.headers["x-request-id"].startswith("req_")
