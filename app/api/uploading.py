"""A multipart upload on its way from the socket into the store, a few chunks in memory at a time.

files.py hands it a request; form.py finds the parts and what they are, `receive` moves the file's bytes on.
Receiving and storing overlap: while one block is being written the next one arrives.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import PurePath
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from app.api.bodies import ExpiresAfter
from app.api.door import check, refuse_key
from app.api.errors import ApiError, bad_request, conflict, missing
from app.api.file_limits import BATCH, limits_of
from app.api.form import Form
from app.api.packed import PACKED_NAME, PIECE_BYTES, bad_packing
from app.api.services import Services
from app.api.tenant_limits import Storage, storage_of
from workers.core import faultpoints
from workers.core.errors import BatchwrightError
from workers.core.gunzip import BadCompression, Gunzip
from workers.core.identity import new_file_id
from workers.core.split import GZIP, UTF8_BOM
from workers.store.files import Upload
from workers.store.mongo import STORE_TROUBLE

Doc = dict[str, Any]
BLOCK_BYTES = 1 << 20
STALL_S = 60.0
TOUCH_EVERY_S = 10.0
# A short retention of results must not take an input file away before anybody could make a batch of it.
_BATCH_MAY_COME_S = 86_400.0
# The form as the OpenAPI document shows it.
FORM: Doc = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "With a file name: `.jsonl` for a batch, or `.jsonl.gz`.",
        },
        "purpose": {"type": "string", "minLength": 1, "maxLength": 64, "examples": ["batch"]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": 3600,
            "maximum": 2_592_000,
            "examples": [2_592_000],
        },
    },
    "dependentRequired": {
        "expires_after[anchor]": ["expires_after[seconds]"],
        "expires_after[seconds]": ["expires_after[anchor]"],
    },
}
_EXPIRES = re.compile(r"expires_after\[(\w+)\]")
_NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"
_EMPTY = "The input file is empty. Please ensure that the batch contains at least one request."


class _Receiver:
    """One upload: begins it at its first bytes, stores block by block, ends or removes it."""

    def __init__(self, services: Services, tenant: str, storage: Storage, content_length: str | None) -> None:
        self._services, self._tenant, self._storage = services, tenant, storage
        self._limits, self._announced = limits_of(services.settings.api), content_length
        self._upload: Upload | None = None
        self._gunzip: Gunzip | None = None
        self._writing: asyncio.Task[None] | None = None
        self._size_bytes = 0
        self._begun_s = time.time()
        self._touched = time.monotonic()
        self.form = Form()

    async def pass_on(self) -> None:
        """Store what has arrived, as soon as the block before it is stored."""
        arrived = self.form.take_block()
        if self._upload is None:
            self._refuse_name()
            self._limits.refuse_length(self._announced, self.form.fields.get("purpose"))
            self._gunzip = Gunzip(PIECE_BYTES) if self._is_packed else None
            self._upload = await self._begin()
        try:
            for block in self._gunzip.feed(arrived) if self._gunzip else (arrived,):
                await self._store(self._upload, block)
        except BadCompression as error:
            raise bad_packing("The file", error) from None

    async def _store(self, upload: Upload, block: bytes) -> None:
        self._size_bytes += len(block)
        self._limits.refuse(self._size_bytes, self.form.fields.get("purpose"))
        self._storage.refuse(self._size_bytes)
        await self._stored()
        faultpoints.passes(faultpoints.UPLOAD_BLOCK, self._size_bytes)
        self._writing = asyncio.create_task(self._services.run(upload.write, block))

    async def finish(self) -> Doc:
        """The stored file. Raises ApiError 400 for a form or a file that cannot be used."""
        if not self.form.ended:
            raise bad_request("The multipart body ends in the middle.")
        if self.form.filename is None:
            raise missing("file")
        purpose = self.form.fields.get("purpose") or None
        if purpose is None:
            raise missing("purpose")
        if len(purpose) > 64:
            raise bad_request("Invalid 'purpose': string too long.", param="purpose", code="invalid_value")
        self._refuse_name()  # the purpose may have come after the file
        late = {"purpose": purpose, "expires_at": await self._expires_at(purpose)}
        await self.pass_on()
        self._refuse_cut_packing()
        await self._stored()
        if self._upload is None:  # pass_on began it
            raise missing("file")
        if purpose == BATCH:
            _refuse_content(self._upload)
        await self._storage.claim(self._upload.file_id, self._size_bytes)
        try:
            return await self._services.run(self._upload.finish, **late)
        except LookupError as error:  # this process stood still for so long that the sweeper took its upload
            raise ApiError(408, f"{error}; send it again.", param="file", code="upload_stalled") from None

    async def remove(self) -> None:
        """Leave nothing behind; what a lost database keeps, the sweeper finds by its state."""
        if self._writing is not None:
            with suppress(Exception):
                await self._writing
        if self._upload is not None:
            with suppress(*STORE_TROUBLE, BatchwrightError):
                await self._services.run(self._upload.abort)

    async def keep_alive(self) -> None:
        """Say now and then that a slow upload still goes on, or the sweeper would take it for a dead one."""
        now = time.monotonic()
        if self._upload is not None and now - self._touched >= TOUCH_EVERY_S:
            self._touched = now
            await self._services.run(self._services.files.touch, self._upload.file_id)

    async def _begin(self) -> Upload:
        # Only now: a slow form may have outlasted its tenant. What is there from here on, its erasure finds.
        if not await self._services.run(self._services.tenants.stays, self._tenant, self._begun_s):
            raise conflict("The tenant is being erased, or is no more.", code="tenant_erasing")
        files = self._services.files
        return await self._services.run(
            files.begin,
            new_file_id(int(self._begun_s * 1000)),
            self._tenant,
            filename=self._name,
            purpose=self.form.fields.get("purpose", ""),
            expires_at=None,
        )

    async def _stored(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None

    @property
    def _is_packed(self) -> bool:
        return (self.form.filename or "").lower().endswith(PACKED_NAME)

    @property
    def _name(self) -> str:
        """What the file is called once it is unpacked."""
        name = self.form.filename or ""
        return name[: -len(".gz")] if self._is_packed else name

    def _refuse_cut_packing(self) -> None:
        try:
            if self._gunzip is not None:
                self._gunzip.finish()
        except BadCompression as error:
            raise bad_packing("The file", error) from None

    def _refuse_name(self) -> None:
        # Known before the first byte is stored when the form names its purpose first, as the SDKs do.
        for param, said in (("file", self._name), ("purpose", self.form.fields.get("purpose", ""))):
            refuse_key(said.encode("utf-8", "replace"), param)
        # A name without an ending says nothing: the SDKs call bare bytes "upload", and their first line will tell.
        ending = PurePath(self._name.lower()).suffix
        if self.form.fields.get("purpose") == BATCH and ending not in ("", ".jsonl"):
            raise bad_request(_NOT_JSONL, param="file")

    async def _expires_at(self, purpose: str) -> float | None:
        given: Doc = {
            match[1]: value for name, value in self.form.fields.items() if (match := _EXPIRES.fullmatch(name))
        }
        if not given:
            if purpose != BATCH:
                return None
            kept_s = await self._services.run(self._services.batches.retention_s, self._tenant)
            return self._begun_s + max(_BATCH_MAY_COME_S, kept_s)
        if given.get("seconds", "").isascii() and given.get("seconds", "").isdigit():
            given["seconds"] = int(given["seconds"][:12])
        try:
            return self._begun_s + check(ExpiresAfter, given).seconds
        except ApiError as error:
            inner = error.param or ""
            raise bad_request(
                error.message.replace(f"'{inner}'", f"'expires_after.{inner}'"),
                param=f"expires_after.{inner}",
                code=error.code,
            ) from None


async def receive(
    services: Services,
    tenant: str,
    chunks: AsyncIterator[bytes],
    content_type: str,
    *,
    content_length: str | None = None,
) -> Doc:
    """Store the file of a multipart body and give its document.

    Args:
        content_length: how long the body is, as its sender announces it.
    Raises: ApiError 400 for a body or a file that cannot be used, 413 over a limit of the server or of the tenant;
        nothing stays behind.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise bad_request("Send the file as multipart/form-data with the parts 'purpose' and 'file'.")
    storage = await storage_of(services, tenant)
    storage.refuse_length(content_length)
    receiver = _Receiver(services, tenant, storage, content_length)
    try:
        parser = receiver.form.parser(options[b"boundary"])
        async for chunk in _without_stalls(chunks):
            parser.write(chunk)
            if receiver.form.waiting_bytes >= BLOCK_BYTES:
                await receiver.pass_on()
            await receiver.keep_alive()
        parser.finalize()
        return await receiver.finish()
    except FormParserError as error:
        await receiver.remove()
        raise bad_request(f"The multipart body cannot be read: {error}") from None
    except BaseException:
        # Also when the client is gone, or the server stops: the removal is short and must not be cut off.
        await asyncio.shield(receiver.remove())
        raise


async def _without_stalls(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks. Raises ApiError 408 when the sender falls silent, so that nothing waits for ever."""
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            text = f"Nothing of the file has arrived for {STALL_S:.0f} s; send it again."
            raise ApiError(408, text, param="file", code="upload_stalled") from None
        yield chunk


def _refuse_content(upload: Upload) -> None:
    if upload.first_line.startswith(GZIP):
        is_packed = (
            "the first line is not parseable as valid JSON, but packed with gzip; name it NAME.jsonl.gz."
        )
        text = f"{_NOT_JSONL}: {is_packed}"
        raise bad_request(text, param="file", code="invalid_json_line")
    first = bytes(upload.first_line).removeprefix(UTF8_BOM).strip()
    if not first and not upload.first_line_cut:
        raise bad_request(_EMPTY, param="file", code="empty_file")
    if upload.first_line_cut:
        return  # longer than what is kept of it: the planner reads all of it
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        text = f"{_NOT_JSONL}: the first line is not parseable as valid JSON."
        raise bad_request(text, param="file", code="invalid_json_line") from None
