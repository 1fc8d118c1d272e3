"""Clients without an SDK: httpx, requests and curl, and forms that only a socket would write."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests

from tests.compat.conftest import CHAT, Stack, lines

pytestmark = pytest.mark.compat
NAMED = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"'
PURPOSE = b'Content-Disposition: form-data; name="purpose"'


def form(content: bytes, *, named: bytes = NAMED, boundary: bytes = b"b", before: bytes = b"") -> bytes:
    """A form with the purpose first, as the SDKs send it."""
    limit = b"--" + boundary
    parts = [limit, PURPOSE, b"", b"batch", limit, named, b"", content, limit + b"--", b""]
    return before + b"\r\n".join(parts)


def sent(stack: Stack, body: bytes | Iterator[bytes], boundary: str = "b") -> httpx.Response:
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return stack.api.call("POST", "/v1/files", content=body, headers=headers)


@pytest.mark.parametrize(
    ("named", "name"),
    [
        (NAMED, "a.jsonl"),
        (b"Content-Disposition: form-data; name=file; filename=a.jsonl", "a.jsonl"),
        (b'CONTENT-DISPOSITION: FORM-DATA; FILENAME="a.jsonl"; NAME="file"', "a.jsonl"),
        (b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''pr%C3%A9.jsonl", "pré.jsonl"),
        (b'Content-Disposition: form-data; name="file"; filename="=?utf-8?Q?pr=C3=A9.jsonl?="', "pré.jsonl"),
        (NAMED + b"\r\nContent-Transfer-Encoding: binary\r\nContent-Length: 7", "a.jsonl"),
        (b"Content-Type: text/csv; charset=latin-1\r\n" + NAMED, "a.jsonl"),
    ],
)
def test_a_file_is_named_in_many_ways(stack: Stack, named: bytes, name: str) -> None:
    content = lines(1)
    made = sent(stack, form(content, named=named)).json()
    assert (made["filename"], made["bytes"]) == (name, len(content))
    kept = stack.api.call("GET", f"/v1/files/{made['id']}/content")
    assert kept.content == content


@pytest.mark.parametrize("before", [b"", b"\r\n", b"a preamble\r\nof --b two lines\r\n"])
@pytest.mark.parametrize("boundary", [b"b", b"-" * 60, b"=_b'()+,./:?"])
def test_a_boundary_may_be_cut_anywhere_and_need_not_come_first(
    stack: Stack, before: bytes, boundary: bytes
) -> None:
    """Chunked, without a length; the content looks like the boundary wherever it may."""
    content = lines(1) + b"\r\n--" + boundary[:-1] + b"\r\n-\r\n--\r\n" + lines(1)
    body = form(content, boundary=boundary, before=before)
    for step in (1, 5, len(body)):
        chunks = iter([body[at : at + step] for at in range(0, len(body), step)])
        made = sent(stack, chunks, f'"{boundary.decode()}"').json()
        assert made["bytes"] == len(content), made
    assert stack.api.call("GET", f"/v1/files/{made['id']}/content").content == content


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
def test_a_part_in_another_encoding_is_refused_by_name(stack: Stack, encoding: bytes) -> None:
    reply = sent(stack, form(lines(1), named=NAMED + b"\r\nContent-Transfer-Encoding: " + encoding))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "file")
    assert encoding.decode() in reply.json()["error"]["message"]


def test_a_boundary_on_the_edge_of_a_stored_block_loses_nothing(stack: Stack) -> None:
    block = 1 << 20
    for over in (-4, -1, 0, 1, 3):
        content = lines(1).ljust(block + over, b"\n")
        made = sent(stack, form(content)).json()
        assert made["bytes"] == len(content)
        assert stack.api.call("GET", f"/v1/files/{made['id']}/content").content == content


def test_requests_uploads_creates_and_downloads(stack: Stack, tmp_path: Path) -> None:
    """With the other key header, as a session keeps it."""
    path = tmp_path / "é 'x'.jsonl"
    path.write_bytes(lines(2))
    with requests.Session() as session, path.open("rb") as opened:
        session.headers["X-API-Key"] = stack.key
        form: Any = {
            "purpose": "batch",
            "expires_after[anchor]": "created_at",
            "expires_after[seconds]": "3600",
        }
        file = session.post(f"{stack.base_url}/files", data=form, files={"file": opened}, timeout=20).json()
        assert (file["filename"], file["expires_at"] - file["created_at"]) == (path.name, 3600)
        wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "1d"}
        batch = session.post(f"{stack.base_url}/batches", json=wanted, timeout=20).json()
        ended = stack.ended(batch["id"])
        output = session.get(
            f"{stack.base_url}/files/{ended.output_file_id}/content", stream=True, timeout=20
        )
        assert [json.loads(row)["custom_id"] for row in output.iter_lines()] == ["r1", "r2"]


def test_curl_sends_a_large_file_after_asking_whether_it_may(stack: Stack, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no `curl` here")
    path = tmp_path / "large.jsonl"
    path.write_bytes(lines(20_000))
    command = ["curl", "-sS", f"{stack.base_url}/files", "-H", f"Authorization: Bearer {stack.key}"]
    command += ["-H", "Expect: 100-continue", "-F", f"file=@{path}", "-F", "purpose=batch"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert json.loads(done.stdout)["bytes"] == path.stat().st_size, done


def test_a_cancel_is_a_post_of_json_without_a_body(stack: Stack) -> None:
    batch = stack.create(lines(1))
    for headers in ({"content-type": "application/json"}, {}):
        reply = stack.api.call("POST", f"/v1/batches/{batch.id}/cancel", headers=headers)
        assert reply.status_code in (200, 409), reply.text
    assert stack.ended(batch.id).status in ("cancelled", "completed")


def test_several_requests_on_one_connection_are_answered_in_turn(stack: Stack) -> None:
    """Pipelined, as old HTTP/1.1 clients do; a refused upload must not be taken for the next request."""
    where = urlsplit(stack.api.url)
    head = f"host: x\r\nauthorization: Bearer {stack.key}\r\n"
    bad = form(b"not json\n")
    upload = f"POST /v1/files HTTP/1.1\r\n{head}content-length: {len(bad)}\r\n"
    upload += "content-type: multipart/form-data; boundary=b\r\n\r\n"
    last = f"GET /v1/files?limit=1 HTTP/1.1\r\n{head}connection: close\r\n\r\n"
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=10) as client:
        client.sendall(upload.encode() + bad + last.encode())
        reply = client.makefile("rb").read()
    assert re.findall(rb"HTTP/1\.1 (\d+)", reply) == [b"400", b"200"]
