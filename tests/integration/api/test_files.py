"""The Files API under the official SDK: what is uploaded comes back, and what cannot be used is told why."""

from __future__ import annotations

import gzip
import os
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.api import MAX_FILE_BYTES, Api, input_line
from tests.support.eventually import eventually
from tests.support.late import Late

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration
_FILE_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}'


def test_a_file_comes_back_as_it_was_sent(api: Api) -> None:
    content = b"".join(input_line(n) + os.urandom(30_000).hex().encode() + b"\n" for n in range(40))
    assert len(content) > 2_000_000  # several chunks

    made = api.sdk.files.create(file=("prompts.jsonl", content), purpose="batch")

    assert made.id.startswith("file-")
    assert (made.bytes, made.filename, made.purpose, made.status) == (
        len(content),
        "prompts.jsonl",
        "batch",
        "processed",
    )
    assert api.sdk.files.retrieve(made.id) == made
    assert api.sdk.files.content(made.id).content == content


def test_a_file_without_bytes_is_kept_for_another_purpose_and_comes_back(api: Api) -> None:
    empty = {"file": ("empty.txt", b"")}
    made = api.call("POST", "/v1/files", files=empty, data={"purpose": "user_data"}).json()
    reply = api.call("GET", f"/v1/files/{made['id']}/content")
    assert (made["bytes"], reply.status_code, reply.content) == (0, 200, b"")


def test_a_packed_file_and_a_packed_body_are_stored_unpacked(api: Api) -> None:
    content = b"".join(map(input_line, range(3000)))
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' + _FILE_PART
    form = form.replace(b"{}", content) + b"\r\n--b--\r\n"
    packed = api.sdk.files.create(file=("prompts.jsonl.gz", gzip.compress(content)), purpose="batch")
    headers = {"content-encoding": "gzip", "content-type": "multipart/form-data; boundary=b"}
    encoded = api.call("POST", "/v1/files", content=gzip.compress(form), headers=headers).json()
    assert (packed.filename, packed.bytes) == ("prompts.jsonl", len(content))
    assert (encoded["filename"], encoded["bytes"]) == ("a.jsonl", len(content))
    for file_id in (packed.id, encoded["id"]):
        assert api.sdk.files.content(file_id).content == content


def test_a_batch_file_expires_after_thirty_days_unless_told_otherwise(api: Api) -> None:
    plain = api.sdk.files.retrieve(api.input_file())
    short = api.sdk.files.create(
        file=("a.jsonl", input_line(1)),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )

    assert plain.expires_at is not None
    assert short.expires_at is not None
    assert abs(plain.expires_at - plain.created_at - 30 * 86_400) <= 1
    assert abs(short.expires_at - short.created_at - 3600) <= 1


@pytest.mark.parametrize(("days", "kept_days"), [(2, 2), (0, 1)])
def test_the_days_of_a_tenant_hold_for_its_files_but_a_batch_can_always_be_made_of_them(
    api: Api, days: int, kept_days: int
) -> None:
    tenants = api.work.db["tenants"]
    tenants.update_one({"_id": "other"}, {"$set": {"retention_days": days}})
    try:
        file = api.sdk_of(api.other_key).files.retrieve(api.input_file(key=api.other_key))
    finally:
        tenants.update_one({"_id": "other"}, {"$unset": {"retention_days": ""}})
    assert file.expires_at is not None and abs(file.expires_at - file.created_at - kept_days * 86_400) <= 1


def test_a_file_that_has_expired_is_gone_for_its_reader(api: Api) -> None:
    file_id = api.input_file()
    api.work.db["files"].update_one({"_id": file_id}, {"$set": {"expires_at": time.time() - 1}})
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert api.call(method, f"/v1/files/{file_id}{path}").status_code == 404
    listed = api.call("GET", "/v1/files").json()["data"]
    assert file_id not in [file["id"] for file in listed]
    batch = api.sdk.batches.retrieve(api.batch(input_file_id=file_id))
    assert batch.status == "failed" and batch.errors and batch.errors.data
    assert batch.errors.data[0].param == "file_id"


@pytest.mark.parametrize("seconds", [10, 2_592_001])
def test_an_expiry_outside_its_bounds_is_refused_by_name(api: Api, seconds: int) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.sdk.files.create(
            file=("a.jsonl", input_line(1)),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": seconds},
        )
    assert refused.value.param == "expires_after.seconds"


def test_bytes_without_a_name_are_known_by_their_first_line(api: Api) -> None:
    """Clients that send bare bytes: the SDK calls them `upload`."""
    assert api.sdk.files.create(file=input_line(1), purpose="batch").filename == "upload"
    with pytest.raises(openai.BadRequestError, match="first line is not parseable"):
        api.sdk.files.create(file=b"no lines\n", purpose="batch")


def test_a_large_file_of_another_kind_is_refused_also_when_its_purpose_comes_last(api: Api) -> None:
    content = b"a,b,c\n" * 60_000
    body = (
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="data.csv"\r\n\r\n'
        + content
        + b"\r\n"
        b'--limit\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--limit--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=limit"}
    reply = api.call("POST", "/v1/files", content=body, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "Invalid file format for Batch API. Must be .jsonl"


def test_a_form_may_name_its_purpose_after_its_file(api: Api) -> None:
    body = (
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
        b"Content-Type: text/html\r\n\r\n" + input_line(1) + b"\r\n"
        b'--limit\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--limit--\r\n'
    )
    made = api.call(
        "POST", "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=limit"}
    ).json()
    assert (made["purpose"], made["bytes"]) == ("batch", len(input_line(1)))
    assert api.sdk.files.content(made["id"]).content == input_line(1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", input_line(1), "Invalid file format for Batch API. Must be .jsonl"),
        ("a.jsonl", b"", "The input file is empty"),
        ("a.jsonl", b"\n \r\n\n", "The input file is empty"),
        ("a.jsonl", b'\n\n{"custom_id": \n', "the first line is not parseable as valid JSON"),
        ("a.jsonl", b"\x1f\x8b\x08\x00" + os.urandom(100), "the first line is not parseable as valid JSON"),
    ],
)
def test_a_file_that_cannot_be_a_batch_is_refused_and_not_kept(
    api: Api, name: str, content: bytes, said: str
) -> None:
    # Inputs alone: a batch of another test may end meanwhile, and then it has files, too.
    before = [file.id for file in api.sdk.files.list(purpose="batch")]
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        api.sdk.files.create(file=(name, content), purpose="batch")
    assert refused.value.type == "invalid_request_error"
    assert [file.id for file in api.sdk.files.list(purpose="batch")] == before
    assert list(api.work.db["files"].find({"state": "uploading"})) == []


def test_crlf_blank_lines_and_a_byte_order_mark_are_no_reason_to_refuse(api: Api) -> None:
    content = b"\xef\xbb\xbf\r\n" + input_line(1).strip() + b"\r\n\r\n"
    assert api.sdk.files.create(file=("a.jsonl", content), purpose="batch").bytes == len(content)


@pytest.mark.parametrize("bytes_over", [1, 2_000_000])
def test_a_file_over_the_limit_is_told_the_limit_and_the_setting(api: Api, bytes_over: int) -> None:
    """By its bytes where its announced length says nothing, and before the first of them where it does."""
    content = input_line(1).ljust(MAX_FILE_BYTES + bytes_over, b"\n")
    with pytest.raises(openai.APIStatusError) as refused:
        api.sdk.files.create(file=("a.jsonl", content), purpose="batch")
    assert refused.value.status_code == 413
    assert f"{MAX_FILE_BYTES:,} bytes" in refused.value.message
    assert "BATCHWRIGHT_API_MAX_FILE_BYTES" in refused.value.message
    assert list(api.work.db["files"].find({"state": "uploading"})) == []


def test_a_file_of_another_purpose_has_a_limit_of_its_own(api: Api) -> None:
    content = b"x" * (MAX_FILE_BYTES + 2_000_000)
    made = api.sdk.files.create(file=("a.bin", content), purpose="user_data")
    assert made.bytes == len(content)
    late = {"file": ("a.jsonl", content), "purpose": (None, "batch")}  # its purpose comes behind it
    reply = api.call("POST", "/v1/files", files=late)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "file_too_large")


def test_a_file_at_the_limit_is_taken(api: Api) -> None:
    content = input_line(1).ljust(MAX_FILE_BYTES, b"\n")
    assert api.sdk.files.create(file=("a.jsonl", content), purpose="batch").bytes == MAX_FILE_BYTES


def test_an_upload_whose_client_leaves_stays_nowhere(api: Api) -> None:
    """The chunks that had arrived go too."""
    where = urlsplit(api.url)
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.key}\r\ncontent-length: 2500000\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="left.jsonl"\r\n\r\n'
    )

    def left() -> int:
        return api.work.db["files"].count_documents({"filename": "left.jsonl"})

    with socket.create_connection((str(where.hostname), int(where.port or 0))) as client:
        client.sendall(head.encode() + b"x" * 2_200_000)
        eventually(lambda: left() == 1, 10)
    eventually(lambda: left() == 0, 10)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_file_that_lost_bytes_is_never_taken_for_a_whole_one(api: Api, lost: int) -> None:
    content = input_line(1).ljust(1_500_000, b"\n")
    file_id = api.sdk.files.create(file=("a.jsonl", content), purpose="batch").id
    api.work.db["files.chunks"].delete_many({"files_id": file_id, "n": {"$gte": lost}})
    with pytest.raises((openai.InternalServerError, openai.APIConnectionError, httpx.HTTPError)):
        api.sdk_of(api.key).files.content(file_id).read()


def test_other_purposes_are_stored_whatever_the_file_is(api: Api) -> None:
    made = api.sdk.files.create(file=("photo.png", b"\x89PNG"), purpose="user_data")
    assert (made.purpose, made.expires_at) == ("user_data", None)
    assert made.id in [file.id for file in api.sdk.files.list(purpose="user_data")]
    assert made.id not in [file.id for file in api.sdk.files.list(purpose="batch")]


def test_the_sdk_pages_through_files_in_either_order(api: Api) -> None:
    made = [api.input_file(key=api.other_key) for _ in range(5)]
    sdk = api.sdk_of(api.other_key)

    newest_first = [file.id for file in sdk.files.list(limit=2) if file.id in made]
    oldest_first = [file.id for file in sdk.files.list(limit=2, order="asc") if file.id in made]

    assert newest_first == made[::-1]
    assert oldest_first == made
    with pytest.raises(openai.BadRequestError, match="file-nowhere"):
        sdk.files.list(after="file-nowhere")


def test_a_deleted_file_is_gone_for_its_reader(api: Api) -> None:
    file_id = api.input_file()
    deleted = api.sdk.files.delete(file_id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file_id, "file", True)
    for call in (api.sdk.files.retrieve, api.sdk.files.content, api.sdk.files.delete):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {file_id}"):
            call(file_id)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"--b--\r\n", "file"),
        (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n', "file"),
        (_FILE_PART + b"\r\n--b--\r\n", "purpose"),
        (_FILE_PART, None),
        (b"nothing of a form", None),
    ],
)
def test_a_form_that_lacks_something_is_a_400_that_says_what(api: Api, body: bytes, said: str | None) -> None:
    reply = api.call(
        "POST", "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == said


def test_a_key_is_taken_from_either_header_and_a_wrong_one_is_a_401(api: Api) -> None:
    assert httpx.get(f"{api.url}/v1/files", headers={"x-api-key": api.key}).status_code == 200
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Basic abc"}):
        reply = httpx.get(f"{api.url}/v1/files", headers=headers)
        assert reply.status_code == 401
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    with pytest.raises(openai.AuthenticationError) as refused:
        api.sdk_of("bw_wrong-key-of-nobody").files.list()
    assert refused.value.code == "invalid_api_key"
    assert "wrong-key-of-nobody" not in refused.value.message
