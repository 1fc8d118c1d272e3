"""The official Python SDK with strict response validation on: every flow of files and batches, sync and async."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.compat.conftest import CHAT, ENDED, PATIENCE_S, SLOW_LINES, Stack, line, lines

pytestmark = pytest.mark.compat
MANY = 105
BAD_FILE = "file-nowhere"


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous SDK, as strict."""
    client = openai.AsyncOpenAI(
        api_key=stack.key, base_url=stack.base_url, max_retries=0, _strict_response_validation=True
    )
    async with client:
        yield client


@pytest.fixture(scope="module")
def hundred(stack: Stack) -> list[str]:
    """Ids of more than a hundred batches of the second tenant, oldest first. Without a file: they end at once."""
    other = stack.api.sdk_of(stack.api.other_key)
    wanted: Any = {"input_file_id": BAD_FILE, "endpoint": CHAT, "completion_window": "24h"}
    return [other.batches.create(**wanted, metadata={"n": str(n)}).id for n in range(MANY)]


# -------------------------------------------------------------------------------------------- files


def test_a_file_is_uploaded_in_every_form_that_the_sdk_takes(stack: Stack, tmp_path: Path) -> None:
    content = lines(2)
    path = tmp_path / "prompts é.jsonl"
    path.write_bytes(content)
    named = io.BytesIO(content)
    named.name = "named.jsonl"
    with path.open("rb") as opened:
        forms: list[tuple[Any, str]] = [
            (path, path.name),
            (opened, path.name),
            (named, "named.jsonl"),
            (("a b'.jsonl", content), "a b'.jsonl"),
            (("a.JSONL", io.BytesIO(content)), "a.JSONL"),
            (("a.jsonl", content, "application/jsonl"), "a.jsonl"),
            (("a.jsonl", content, "text/plain", {"x-any": "1"}), "a.jsonl"),
        ]
        for form, name in forms:
            made = stack.sdk.files.create(file=form, purpose="batch")
            assert (made.filename, made.bytes) == (name, len(content)), form
            assert stack.sdk.files.content(made.id).read() == content


@pytest.mark.parametrize("bare", [bytes, io.BytesIO], ids=["bytes", "io"])
def test_bytes_without_a_name_are_known_by_their_first_line(
    stack: Stack, bare: Callable[[bytes], Any]
) -> None:
    """As some clients send them; the SDK names them `upload`."""
    file = stack.sdk.files.create(file=bare(lines(1)), purpose="batch")
    assert file.filename == "upload"
    made = stack.sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert stack.ended(made.id).status == "completed"
    with pytest.raises(openai.BadRequestError, match="first line is not parseable"):
        stack.sdk.files.create(file=bare(b"no lines\n"), purpose="batch")


def test_a_file_is_processed_as_soon_as_it_is_there(stack: Stack) -> None:
    file_id = stack.upload(lines(1))
    done = stack.sdk.files.wait_for_processing(file_id, poll_interval=0.01, max_wait_seconds=PATIENCE_S)
    assert (done.id, done.status, done.status_details) == (file_id, "processed", None)


def test_a_download_is_read_in_every_way_that_the_sdk_has(stack: Stack, tmp_path: Path) -> None:
    content = lines(300)
    file_id = stack.upload(content)
    files, kept = stack.sdk.files, tmp_path / "kept.jsonl"
    assert files.content(file_id).text == content.decode()
    assert b"".join(files.content(file_id).iter_bytes(1000)) == content
    assert list(files.content(file_id).iter_lines()) == content.decode().splitlines()
    files.content(file_id).write_to_file(kept)
    assert kept.read_bytes() == content
    with pytest.warns(DeprecationWarning, match="stream"):
        files.content(file_id).stream_to_file(kept)
    assert kept.read_bytes() == content
    raw = files.with_raw_response.content(file_id)
    assert raw.headers["content-length"] == str(len(content))
    assert raw.headers["content-disposition"].startswith("attachment")
    assert raw.parse().read() == content
    with files.with_streaming_response.content(file_id) as streamed:
        streamed.stream_to_file(kept)
    assert kept.read_bytes() == content


def test_every_reply_of_the_sdk_knows_its_request_id(stack: Stack) -> None:
    made = stack.sdk.files.with_raw_response.create(file=("a.jsonl", lines(1)), purpose="batch")
    file = made.parse()
    assert made.headers["x-request-id"].startswith("req_")
    assert made.headers["content-type"] == "application/json"
    again = stack.sdk.files.retrieve(file.id)
    assert again == file and again._request_id and again._request_id.startswith("req_")


def test_files_are_listed_by_purpose_in_either_order_and_from_any_place(stack: Stack) -> None:
    other = stack.api.sdk_of(stack.api.other_key)
    made = [other.files.create(file=("a.jsonl", lines(1)), purpose="batch").id for _ in range(5)]
    unlike = other.files.create(file=("a.png", b"\x89PNG"), purpose="vision").id
    assert [file.id for file in other.files.list(purpose="batch") if file.id in made] == made[::-1]
    assert [file.id for file in other.files.list(purpose="vision")] == [unlike]
    for limit in (1, 2, 10_000):
        up = [file.id for file in other.files.list(order="asc", limit=limit, purpose="batch")]
        assert [file_id for file_id in up if file_id in made] == made
    page = other.files.list(after=made[2], order="asc", limit=2)
    assert ([file.id for file in page.data], page.has_more) == (made[3:], True)
    assert [file.id for file in page.get_next_page().data] == [unlike]
    assert not other.files.list(after=made[0], order="desc", purpose="batch").data


def test_a_file_lives_as_long_as_it_was_told(stack: Stack) -> None:
    for seconds in (3600, 2_592_000):
        made = stack.sdk.files.create(
            file=("a.jsonl", lines(1)),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": seconds},
        )
        assert made.expires_at == made.created_at + seconds


# -------------------------------------------------------------------------------------------- batches


def test_a_batch_goes_from_upload_to_answers(stack: Stack) -> None:
    content = lines(3) + line("bad", f"{lines(1).hex()} [[sim:status=400]]")
    batch = stack.create(content, metadata={"run": "7", "ü": "é" * 512})
    assert batch.status == "validating"

    batch = stack.ended(batch.id)

    assert (batch.status, batch.metadata) == ("completed", {"run": "7", "ü": "é" * 512})
    assert batch.request_counts is not None and batch.usage is not None
    assert batch.request_counts.model_dump() == {"total": 4, "completed": 3, "failed": 1}
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    times = (batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    assert all(times) and list(times) == sorted(time or 0 for time in times)
    good, bad = stack.rows(batch.output_file_id), stack.rows(batch.error_file_id)
    assert [row["custom_id"] for row in good] == ["r1", "r2", "r3"]
    for row in good:
        openai.types.chat.ChatCompletion.model_validate(row["response"]["body"], strict=True)
        assert (row["error"], row["response"]["status_code"]) == (None, 200) and row["response"]["request_id"]
    (refused,) = bad
    assert (refused["custom_id"], refused["error"], refused["response"]["status_code"]) == ("bad", None, 400)
    assert set(refused["response"]["body"]["error"]) == {"message", "type", "param", "code"}
    assert len({row["id"] for row in good + bad}) == 4
    assert all(row["id"].startswith("batch_req_") for row in good + bad)
    assert batch.output_file_id is not None
    output = stack.sdk.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.bytes) == (
        "batch_output",
        len(stack.sdk.files.content(batch.output_file_id).content),
    )


def test_the_output_of_a_batch_lives_as_long_as_it_was_told(stack: Stack) -> None:
    batch = stack.create(lines(1), output_expires_after={"anchor": "created_at", "seconds": 7200})
    batch = stack.ended(batch.id)
    assert batch.output_file_id is not None
    output = stack.sdk.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 7200


@pytest.mark.parametrize("limit", [1, 2, 100, None])
def test_more_than_a_hundred_batches_are_paged_through_newest_first(
    stack: Stack, hundred: list[str], limit: int | None
) -> None:
    other = stack.api.sdk_of(stack.api.other_key)
    listed = other.batches.list(limit=limit) if limit else other.batches.list()
    assert len(listed.data) == (limit or 20)
    found = [batch.id for batch in listed]
    assert [batch_id for batch_id in found if batch_id in set(hundred)] == hundred[::-1]
    assert len(found) == len(set(found))


async def test_the_asynchronous_sdk_does_all_of_it(sdk: openai.AsyncOpenAI, tmp_path: Path) -> None:
    path, kept = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(lines(2))
    file = await sdk.files.create(
        file=path, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    await sdk.files.wait_for_processing(file.id, poll_interval=0.01)
    batch = await sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    async with asyncio.timeout(PATIENCE_S):
        while batch.status not in ENDED:
            batch = await sdk.batches.retrieve(batch.id)
    assert batch.output_file_id is not None
    text = (await sdk.files.content(batch.output_file_id)).text
    assert sorted(json.loads(row)["custom_id"] for row in text.splitlines()) == ["r1", "r2"]
    async with sdk.files.with_streaming_response.content(batch.output_file_id) as streamed:
        await streamed.stream_to_file(kept)
    assert kept.read_text() == text
    raw = await sdk.batches.with_raw_response.retrieve(batch.id)
    assert raw.parse() == batch and raw.headers["x-request-id"]
    assert (await sdk.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await sdk.files.retrieve(file.id)
    with pytest.raises(openai.ConflictError):
        await sdk.batches.cancel(batch.id)


@pytest.mark.parametrize("limit", [2, 100])
async def test_the_asynchronous_sdk_pages_as_well(stack: Stack, hundred: list[str], limit: int) -> None:
    async with openai.AsyncOpenAI(
        api_key=stack.api.other_key, base_url=stack.base_url, max_retries=0, _strict_response_validation=True
    ) as other:
        found = [batch.id async for batch in other.batches.list(limit=limit)]
    assert [batch_id for batch_id in found if batch_id in set(hundred)] == hundred[::-1]


def test_a_cancelled_batch_keeps_what_was_answered_and_names_what_never_ran(stack: Stack) -> None:
    running = stack.half_done()
    asked = stack.sdk.batches.cancel(running.id)
    assert asked.status == "cancelling" and asked.cancelling_at
    ended = stack.ended(running.id)
    assert (ended.status, ended.cancelling_at) == ("cancelled", asked.cancelling_at)
    what_is_left_is_named(stack, ended, "batch_cancelled")
    assert stack.sdk.batches.cancel(running.id).status == "cancelled"


def test_an_expired_batch_keeps_what_was_answered_and_names_what_never_ran(stack: Stack) -> None:
    running = stack.half_done()
    over = datetime.now(UTC) - timedelta(seconds=1)  # the shortest window is an hour
    stack.api.work.db["batch_jobs"].update_one({"_id": running.id}, {"$set": {"window_ends": over}})
    ended = stack.ended(running.id)
    assert (ended.status, ended.expired_at is not None) == ("expired", True)
    what_is_left_is_named(stack, ended, "batch_expired")
    with pytest.raises(openai.ConflictError, match="status 'expired'"):
        stack.sdk.batches.cancel(running.id)


def what_is_left_is_named(stack: Stack, ended: Batch, code: str) -> None:
    """Every line is in one of the files, and what never ran counts neither as completed nor as failed."""
    good, bad = stack.rows(ended.output_file_id), stack.rows(ended.error_file_id)
    assert ended.request_counts is not None
    counts, total = ended.request_counts, 2 + SLOW_LINES
    assert (counts.total, counts.completed, counts.failed) == (total, len(good), 0)
    assert {"r1", "r2"} <= {row["custom_id"] for row in good}
    assert bad and {(row["response"], row["error"]["code"]) for row in bad} == {(None, code)}
    assert len({row["custom_id"] for row in good + bad}) == len(good) + len(bad) == total
