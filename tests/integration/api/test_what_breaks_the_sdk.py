"""The ways in which compatible servers break the official SDK, each as a test (WIRE's list, and its refusals)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import Api, answered, input_line, refused
from tests.support.eventually import eventually
from tests.support.late import Late

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration
GOOD: dict[str, Any] = {
    "input_file_id": "file-x",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


def test_after_is_an_object_id_and_an_unknown_one_is_a_400(api: Api) -> None:
    older, newer = api.batch(metadata={"n": "1"}), api.batch(metadata={"n": "2"})
    assert api.sdk.batches.list(after=newer, limit=1).data[0].id == older
    for after in ("12", "batch_nowhere"):
        with pytest.raises(openai.BadRequestError) as refusal:
            api.sdk.batches.list(after=after)
        assert refusal.value.param == "after"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/batches/batch_nowhere", None, 404),
        ("GET", "/v1/nowhere", None, 404),
        ("DELETE", "/v1/batches", None, 405),
        ("POST", "/v1/batches", b"{", 400),
        ("POST", "/v1/batches", b"[]", 400),
        ("POST", "/v1/batches", b"", 400),
        ("POST", "/v1/batches", b"x" * 1_100_000, 413),
        ("GET", "/v1/batches?limit=many", None, 400),
        ("GET", "/v1/batches?limit=101", None, 400),
        ("GET", "/v1/files?order=up", None, 400),
        ("POST", "/v1/files", b"{}", 400),
    ],
)
def test_no_error_has_another_shape(
    api: Api, method: str, path: str, body: bytes | None, status: int
) -> None:
    reply = api.call(method, path, content=body)
    assert reply.status_code == status
    assert set(reply.json()) == {"error"}
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("changed", "param", "code", "said"),
    [
        (
            {"input_file_id": None},
            "input_file_id",
            "missing_required_parameter",
            "Missing required parameter: 'input_file_id'.",
        ),
        (
            {"endpoint": None},
            "endpoint",
            "missing_required_parameter",
            "Missing required parameter: 'endpoint'.",
        ),
        (
            {"endpoint": "/v1/x"},
            "endpoint",
            "invalid_value",
            "Invalid value: '/v1/x'. Supported values are: '/v1/chat/completions'",
        ),
        ({"completion_window": "8d"}, "completion_window", "invalid_value", "Invalid value: '8d'."),
        ({"completion_window": "0h"}, "completion_window", "invalid_value", "Invalid value: '0h'."),
        (
            {"metadata": {"tags": ["a"]}},
            "metadata.tags",
            "invalid_type",
            "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
        ),
        (
            {"metadata": {"n": None}},
            "metadata.n",
            "invalid_type",
            "Invalid type for 'metadata.n': expected a string, but got null instead.",
        ),
        ({"metadata": "a"}, "metadata", "invalid_type", "expected an object, but got a string instead."),
        (
            {"metadata": {str(n): "" for n in range(17)}},
            "metadata",
            "object_above_max_properties",
            "at most 16 properties, but got an object with 17",
        ),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length", "maximum length 512"),
        (
            {"metadata": {"k" * 65: "v"}},
            "metadata." + "k" * 65,
            "string_above_max_length",
            "maximum length 64",
        ),
        ({"input_file_id": 7}, "input_file_id", "invalid_type", "expected a string, but got an integer"),
        ({"batchwright": {"cash": "off"}}, "batchwright.cash", "unknown_parameter", "batchwright.cash"),
        (
            {"batchwright": {"cache": "maybe"}},
            "batchwright.cache",
            "invalid_value",
            "Invalid value: 'maybe'. Supported values are: 'on', 'off' and 'warm'.",
        ),
        ({"batchwright": {"priority": 10}}, "batchwright.priority", "integer_above_max_value", "<= 9"),
        ({"output_expires_after": {"anchor": "created_at"}}, "output_expires_after.seconds", None, "Missing"),
    ],
)
def test_a_wrong_create_is_a_400_that_names_the_parameter(
    api: Api, changed: dict[str, Any], param: str, code: str | None, said: str
) -> None:
    reply = api.call("POST", "/v1/batches", json={**GOOD, **changed})
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert said in error["message"]
    assert code is None or error["code"] == code


def test_another_tenants_object_is_the_same_404_as_none(api: Api) -> None:
    file_id, batch_id = api.input_file(), api.batch()
    api.work.complete(batch_id, [answered(1)])
    output_id = api.sdk.batches.retrieve(batch_id).output_file_id
    assert output_id is not None
    other = api.sdk_of(api.other_key)
    calls: list[tuple[Any, str]] = [
        (other.files.retrieve, file_id),
        (other.files.content, file_id),
        (other.files.delete, file_id),
        (other.files.content, output_id),
        (other.batches.retrieve, batch_id),
        (other.batches.cancel, batch_id),
    ]
    for call, object_id in calls:
        unknown = object_id[:-4] + "zzzz"
        with pytest.raises(openai.NotFoundError) as theirs:
            call(object_id)
        with pytest.raises(openai.NotFoundError) as nobodys:
            call(unknown)
        assert theirs.value.message.replace(object_id, "ID") == nobodys.value.message.replace(unknown, "ID")
    assert batch_id not in [batch.id for batch in other.batches.list()]
    assert file_id not in [file.id for file in other.files.list()]


def test_http_failures_are_in_the_error_file_with_their_body_as_an_object(api: Api) -> None:
    batch_id = api.batch()
    api.work.complete(batch_id, [answered(1), refused(2, 429)])
    batch = api.sdk.batches.retrieve(batch_id)
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None

    good = json.loads(api.sdk.files.content(batch.output_file_id).text)
    bad = json.loads(api.sdk.files.content(batch.error_file_id).text)

    assert isinstance(good["response"]["body"], dict)
    assert (bad["error"], bad["response"]["status_code"]) == (None, 429)
    assert set(bad["response"]["body"]["error"]) == {"message", "type", "param", "code"}


def test_a_file_that_does_not_exist_is_null_never_empty_text(api: Api) -> None:
    all_good, all_bad = api.batch(), api.batch()
    api.work.complete(all_good, [answered(1)])
    api.work.complete(all_bad, [refused(1)])
    good, bad = api.sdk.batches.retrieve(all_good), api.sdk.batches.retrieve(all_bad)
    assert (good.status, bad.status) == ("completed", "completed")
    assert good.error_file_id is None
    assert bad.output_file_id is None


def test_a_cancelled_batch_never_goes_back(api: Api) -> None:
    batch_id = api.batch()
    api.sdk.batches.cancel(batch_id)
    eventually(lambda: api.sdk.batches.retrieve(batch_id).status == "cancelled", 5)
    seen = [api.sdk.batches.cancel(batch_id), api.sdk.batches.retrieve(batch_id)]
    assert [batch.status for batch in seen] == ["cancelled", "cancelled"]


def test_a_list_says_whether_there_is_more(api: Api) -> None:
    for path in ("/v1/batches", "/v1/files"):
        page = api.call("GET", path, params={"limit": 1}).json()
        assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
        assert page["object"] == "list"
    empty = api.call("GET", "/v1/files", params={"purpose": "nothing"}).json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_the_sdk_downloads_with_its_own_accept_header(api: Api) -> None:
    reply = api.call(
        "GET", f"/v1/files/{api.input_file(1)}/content", headers={"accept": "application/binary"}
    )
    assert reply.status_code == 200
    assert reply.content == input_line(1)


@pytest.mark.parametrize(
    "odd", [{"metadata": {"a\u0000b": "c"}}, {"more": json.loads("[" * 300 + "]" * 300)}]
)
def test_odd_but_readable_bodies_are_400_and_never_500(api: Api, odd: dict[str, Any]) -> None:
    body = {"input_file_id": "file-x", "endpoint": "/v1/embeddings", "completion_window": "24h", **odd}
    reply = api.call("POST", "/v1/batches", json=body)
    assert reply.status_code == 400
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
