"""The multipart form: the same parts however the network cuts the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.api import uploading
from app.api.errors import ApiError
from app.api.uploading import MAX_FIELD_BYTES, Form

pytestmark = pytest.mark.fast
CONTENT = b'{"a": 1}\r\n--not the limit\r\n-\r\n--limi\n{"b": 2}\n'
BODY = (
    b'--limit\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--limit\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600\r\n'
    b'--limit\r\ncontent-disposition: form-data; name="file"; filename="pr\xc3\xa9 \x07\'.jsonl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + CONTENT + b"\r\n--limit--\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 16, len(BODY)])
def test_a_form_reads_the_same_in_pieces_of_any_size(step: int) -> None:
    form = Form()
    parser = form.parser(b"limit")
    taken = b""
    for start in range(0, len(BODY), step):
        parser.write(BODY[start : start + step])
        taken += form.take_block()
    assert taken == CONTENT
    assert form.fields == {"purpose": "batch", "expires_after[seconds]": "3600"}
    assert form.filename == "pré '.jsonl"
    assert form.ended
    assert form.waiting_bytes == 0


def test_a_cut_form_has_not_ended() -> None:
    form = Form()
    form.parser(b"limit").write(BODY[:-12])
    assert not form.ended


def test_a_second_file_and_an_endless_field_are_refused() -> None:
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\nx\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
    with pytest.raises(ApiError, match="Only one file"):
        Form().parser(b"b").write(file + file)
    with pytest.raises(ApiError, match="'purpose' is too long"):
        Form().parser(b"b").write(field + b"x" * (MAX_FIELD_BYTES + 1))


async def test_a_sender_that_falls_silent_is_told_so_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    monkeypatch.setattr(uploading, "STALL_S", 0.01)
    chunks = uploading._without_stalls(silent())
    assert await anext(chunks) == b"first"
    with pytest.raises(ApiError) as stalled:
        await anext(chunks)
    assert (stalled.value.status, stalled.value.code) == (408, "upload_stalled")
