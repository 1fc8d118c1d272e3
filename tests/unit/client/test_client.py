"""Both clients against a small server of canned replies: what goes out, and what each failure becomes."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import batchwright
from app.client.blocking import Client
from app.client.calls import BatchRequest
from app.client.concurrent import AsyncClient
from app.client.errors import ApiRefused, ApiUnreachable
from app.client.locate import Place

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "status": "completed",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "output_file_id": "file-out",
    "error_file_id": "file-err",
    "created_at": 1,
    "request_counts": {"total": 3, "completed": 2, "failed": 1},
    "batchwright": {"recorded": 3, "calls": 3, "cost_usd": None},
}
FILE = {"id": "file-1", "filename": "in.jsonl", "bytes": 3, "purpose": "batch", "created_at": 1}
ANSWER = {"status_code": 200, "body": {"choices": [{"message": {"content": "blue \u2028 sky"}}]}}


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeApi:
    """Replies by method and path; a list is used up one by one, its last entry stays."""

    url: str = ""
    replies: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def reply(self, call: str, *answers: tuple[int, Any]) -> None:
        self.replies[call] = list(answers)

    def take(self, call: str) -> tuple[int, Any]:
        answers = self.replies.get(call) or [(404, {"error": {"message": f"no {call}", "code": None}})]
        found: tuple[int, Any] = answers.pop(0) if len(answers) > 1 else answers[0]
        return found


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.partition("?")[0]
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.seen.append(Seen(self.command, self.path, headers, body))
            status, data = fake.take(f"{self.command} {path}")
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_DELETE = do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    fake.reply("POST /v1/files", (200, FILE))
    fake.reply("POST /v1/batches", (200, BATCH))
    fake.reply("GET /v1/batches/batch_1", (200, BATCH))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def results_of(api: FakeApi) -> None:
    lines = [json.dumps({"custom_id": name}).encode() for name in "abc"]
    api.reply("GET /v1/files/file-1/content", (200, b"\n".join(lines)))
    answers = [json.dumps({"custom_id": name, "response": ANSWER}, ensure_ascii=False) for name in "ac"]
    api.reply("GET /v1/files/file-out/content", (200, "\n".join(answers).encode()))
    lost = {"custom_id": "b", "response": None, "error": {"code": "timeout", "message": "slow"}}
    api.reply("GET /v1/files/file-err/content", (200, json.dumps(lost).encode()))


def test_an_upload_is_a_jsonl_file_for_batches_with_our_key(api: FakeApi, tmp_path: Path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_bytes(b'{"x": 1}\n')
    with Client(Place(api.url, "bw_key")) as client:
        assert client.upload(source).id == "file-1"
    (seen,) = api.seen
    assert seen.headers["authorization"] == "Bearer bw_key"
    assert b'name="purpose"\r\n\r\nbatch' in seen.body
    assert b'filename="prompts.txt.jsonl"' in seen.body
    assert b'{"x": 1}\n' in seen.body


def test_a_create_carries_our_options_under_our_own_key(api: FakeApi) -> None:
    with Client(Place(api.url, None)) as client:
        client.create_batch(
            BatchRequest(
                input_file_id="file-1",
                endpoint="/v1/embeddings",
                model="m",
                cache=False,
                run_key="k",
                idempotency_key="once",
            )
        )
    (seen,) = api.seen
    assert json.loads(seen.body)["batchwright"] == {"model": "m", "cache": "off", "run_key": "k"}
    assert seen.headers["idempotency-key"] == "once"


def test_a_cache_is_cleared_by_what_was_named_and_once(api: FakeApi) -> None:
    api.reply("DELETE /v1/cache", (200, {"entries": 7}))
    api.reply("GET /v1/cache", (200, {"away": False}))

    async def again() -> Any:
        async with AsyncClient(Place(api.url, None)) as client:
            return await client.clear_cache(tenant="a b"), await client.cache_stats()

    with Client(Place(api.url, None)) as client:
        assert client.clear_cache(prefix="ai:v2:openai") == {"entries": 7}
        assert client.cache_stats() == {"away": False}
    assert asyncio.run(again()) == ({"entries": 7}, {"away": False})
    api.reply("DELETE /v1/cache", (503, {"error": {"message": "away", "code": "cache_unavailable"}}))
    with Client(Place(api.url, None)) as client, pytest.raises(ApiUnreachable, match="away"):
        client.clear_cache()
    paths = [seen.path for seen in api.seen if seen.method == "DELETE"]
    assert paths == ["/v1/cache?prefix=ai%3Av2%3Aopenai", "/v1/cache?tenant=a+b", "/v1/cache"], "none twice"


def test_a_busy_server_is_asked_again_only_where_that_is_safe(api: FakeApi) -> None:
    busy = (503, {"error": {"message": "starting", "code": None}})
    api.reply("GET /v1/batches/batch_1", busy, (200, BATCH))
    api.reply("POST /v1/batches", busy)
    with Client(Place(api.url, None)) as client:
        assert client.get("batch_1").id == "batch_1"
        with pytest.raises(ApiUnreachable, match="starting"):
            client.create_batch(BatchRequest(input_file_id="f", endpoint="/v1/embeddings"))
    assert [seen.method for seen in api.seen] == ["GET", "GET", "POST"]


@pytest.mark.parametrize(
    ("status", "reply", "words", "hint"),
    [
        (
            401,
            {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}},
            "Incorrect",
            "BATCHWRIGHT_API_KEY",
        ),
        (404, {"error": {"message": "No batch found", "code": None}}, "No batch found", None),
        (404, b"<html>", "not as Batchwright does", "BATCHWRIGHT_API_URL"),
        (
            500,
            {"error": {"message": "boom", "code": None}},
            "failed with status 500: boom",
            "batchwright logs api",
        ),
        (200, b"<html>", "not as Batchwright does", "BATCHWRIGHT_API_URL"),
        (200, {"id": "x"}, "not as Batchwright does", "BATCHWRIGHT_API_URL"),
    ],
)
def test_every_refusal_says_what_to_do(
    api: FakeApi, status: int, reply: Any, words: str, hint: str | None
) -> None:
    api.reply("GET /v1/batches/batch_1", (status, reply))
    with Client(Place(api.url, None)) as client, pytest.raises(ApiRefused) as caught:
        client.get("batch_1")
    assert words in caught.value.message
    assert (hint or "") in (caught.value.hint or "")


def test_a_download_that_is_refused_leaves_no_file(api: FakeApi, tmp_path: Path) -> None:
    with Client(Place(api.url, None)) as client, pytest.raises(ApiRefused):
        client.download("file-9", tmp_path / "o.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_partial_output_is_asked_for_by_its_own_path(api: FakeApi, tmp_path: Path) -> None:
    api.reply("GET /v1/batches/batch_1/output", (200, b"{}\n"))
    with Client(Place(api.url, None)) as client:
        assert client.download_partial("batch_1", "error", tmp_path / "o.jsonl") == 3
    assert api.seen[0].path.endswith("/output?partial=true&which=error")


def test_python_programs_get_answers_and_failures_in_input_order(api: FakeApi) -> None:
    results_of(api)
    with batchwright.submit(["a", {"messages": []}], model="m", api_url=api.url, api_key="k") as batch:
        found = list(batch.results())
        assert batch.status == "completed"
    assert [(each.custom_id, each.ok) for each in found] == [("a", True), ("b", False), ("c", True)]
    assert found[0].text == "blue \u2028 sky"
    assert b'"content":"a"' in api.seen[0].body


@pytest.mark.parametrize(
    "requests",
    [
        lambda: ["hi"],
        lambda: io.StringIO('{"custom_id": "a", "url": "/v1/embeddings"}\n'),
        lambda: io.BytesIO(b'\n{"custom_id": "a", "url": "/v1/embeddings"}\n'),
    ],
)
def test_async_programs_use_the_same_names(api: FakeApi, requests: Callable[[], Any]) -> None:
    results_of(api)

    async def program() -> list[str]:
        async with await batchwright.asubmit(requests(), api_url=api.url) as batch:
            assert await batch.status == "completed"
            return [result.custom_id async for result in batch.results()]

    assert asyncio.run(program()) == ["a", "b", "c"]
    created = json.loads(next(seen for seen in api.seen if seen.path == "/v1/batches").body)
    expected = "/v1/chat/completions" if isinstance(requests(), list) else "/v1/embeddings"
    assert created["endpoint"] == expected


def test_requests_may_arrive_over_time(api: FakeApi) -> None:
    async def prompts() -> Any:
        yield "one"
        yield "two"

    async def program() -> str:
        async with await batchwright.asubmit(prompts(), api_url=api.url) as batch:
            return batch.id

    assert asyncio.run(program()) == "batch_1"
    assert api.seen[0].body.count(b"custom_id") == 2


def test_a_refused_batch_raises_with_its_first_reason(api: FakeApi) -> None:
    problem = {"code": "invalid_url", "message": "The URL is wrong.", "param": "url", "line": 3}
    failed = {**BATCH, "status": "failed", "errors": {"object": "list", "data": [problem]}}
    api.reply("POST /v1/batches", (200, failed))
    api.reply("GET /v1/batches/batch_1", (200, failed))
    batch = batchwright.submit(["x"], api_url=api.url)
    with pytest.raises(batchwright.UserError, match="line 3: url: The URL is wrong"):
        list(batch.results())
    batch.close()


def test_waiting_ends_at_its_limit(api: FakeApi) -> None:
    api.reply("GET /v1/batches/batch_1", (200, {**BATCH, "status": "in_progress"}))
    with Client(Place(api.url, None)) as client, pytest.raises(batchwright.WaitTimeout):
        client.wait("batch_1", timeout_s=0.0)


def test_a_single_prompt_is_not_taken_for_a_path(api: FakeApi) -> None:
    with pytest.raises(batchwright.UserError) as caught:
        batchwright.submit("Why is the sky blue?", api_url=api.url)
    assert caught.value.hint is not None
    assert "submit(['...'])" in caught.value.hint


def test_nobody_there_is_said_with_the_address() -> None:
    async def ask() -> None:
        async with AsyncClient(Place("http://127.0.0.1:9", None)) as client:
            await client.upload(io.BytesIO(b"{}"))

    with pytest.raises(ApiUnreachable, match=r"cannot reach the server at http://127\.0\.0\.1:9"):
        asyncio.run(ask())
