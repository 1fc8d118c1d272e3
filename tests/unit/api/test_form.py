"""The multipart form: the same parts however the network cuts the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from python_multipart.exceptions import FormParserError

from app.api import uploading
from app.api.errors import ApiError
from app.api.form import MAX_FIELD_BYTES, Form

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


def read(body: bytes, step: int = 0) -> Form:
    form = Form()
    parser = form.parser(b"b")
    for start in range(0, len(body), step or len(body)):
        parser.write(body[start : start + (step or len(body))])
    parser.finalize()
    return form


def part(*headers: bytes) -> bytes:
    return b"--b\r\n" + b"".join(header + b"\r\n" for header in headers) + b"\r\n{}\r\n--b--\r\n"


@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"two lines\r\nof --b text\r\n", b"x" * 5000 + b"\r\n"])
@pytest.mark.parametrize("step", [1, 3, 0])
def test_what_stands_before_the_first_part_is_no_part_of_the_form(preamble: bytes, step: int) -> None:
    form = read(preamble + part(b'Content-Disposition: form-data; name="file"; filename="a.jsonl"'), step)
    assert (form.filename, form.take_block(), form.ended) == ("a.jsonl", b"{}", True)


@pytest.mark.parametrize("body", [b"--", b"no form", b"x" * 20_000, b"-b\r\n"])
def test_a_body_without_a_first_part_is_no_form(body: bytes) -> None:
    with pytest.raises(FormParserError):
        read(body + b"and more")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b'filename="a.jsonl"', "a.jsonl"),
        (b"filename=a.jsonl", "a.jsonl"),
        (b'filename="a;b.jsonl"', "a;b.jsonl"),
        (b'filename="a\\"b.jsonl"', 'a"b.jsonl'),
        (b'filename="C:\\dir\\a.jsonl"', "a.jsonl"),
        (b'filename="pr\xc3\xa9.jsonl"', "pré.jsonl"),
        (b"filename*=UTF-8''pr%C3%A9.jsonl", "pré.jsonl"),
        (b"filename*=utf-8'en'pr%C3%A9.jsonl", "pré.jsonl"),
        (b"filename*=iso-8859-1''pr%E9.jsonl", "pré.jsonl"),
        (b"filename*=x-nobody''a%20b.jsonl", "a b.jsonl"),
        (b"filename=\"plain.jsonl\"; filename*=UTF-8''other.jsonl", "plain.jsonl"),
        (b'filename="=?utf-8?q?pr=C3=A9.jsonl?="', "pré.jsonl"),
        (b'filename="=?UTF-8?B?cHLDqS5qc29ubA==?="', "pré.jsonl"),
        (b'filename="=?x-nobody?q?a.jsonl?="', "=?x-nobody?q?a.jsonl?="),
        (b"filename*=UTF-8''a%0D%0Ab.jsonl", "ab.jsonl"),
    ],
)
def test_the_files_name_is_read_in_every_way_that_clients_write_it(said: bytes, name: str) -> None:
    assert read(part(b'Content-Disposition: form-data; name="file"; ' + said)).filename == name


@pytest.mark.parametrize("encoding", [b"base64", b"Quoted-Printable"])
def test_a_part_in_another_encoding_is_refused_and_never_stored_as_it_is(encoding: bytes) -> None:
    named = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"'
    with pytest.raises(ApiError, match="send the bytes as they are") as refused:
        read(part(named, b"Content-Transfer-Encoding: " + encoding))
    assert (refused.value.status, refused.value.param) == (400, "file")
    assert read(part(named, b"Content-Transfer-Encoding: 8bit")).take_block() == b"{}"


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
