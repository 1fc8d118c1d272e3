"""Bytes from the store to a client, block by block: what blocks runs on a thread, what waits holds none.

files.py calls `streamed`. The first block is read before the reply begins, so a file that cannot be read is
still a proper error; after that only a broken connection can tell.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from urllib.parse import quote

from starlette.responses import StreamingResponse

from app.api.services import Services

BLOCK_BYTES = 256 * 1024


async def streamed(
    services: Services, pieces: Iterator[bytes], *, filename: str, size_bytes: int | None = None
) -> StreamingResponse:
    """A reply with these bytes. `size_bytes` only where it is sure: a wrong one breaks the download."""
    if size_bytes is not None:
        pieces = whole(pieces, size_bytes)
    first = await services.run(next_block, pieces)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}"}
    if size_bytes is not None:
        headers["content-length"] = str(size_bytes)
    body = _blocks(services, first, pieces)
    return StreamingResponse(body, headers=headers, media_type="application/octet-stream")


async def _blocks(services: Services, first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    try:
        block = first
        while block:
            yield block
            block = await services.run(next_block, pieces)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            with suppress(ValueError):  # the client left while a thread was inside; the cursor ends with it
                close()


def whole(pieces: Iterator[bytes], size_bytes: int) -> Iterator[bytes]:
    """The same pieces. Raises LookupError if they are fewer bytes than the store says it holds."""
    passed = 0
    for piece in pieces:
        passed += len(piece)
        yield piece
    if passed != size_bytes:
        raise LookupError(f"{passed} of {size_bytes} bytes are there")


def next_block(pieces: Iterator[bytes]) -> bytes:
    """The next pieces, up to about a quarter of a megabyte; empty at the end."""
    block: list[bytes] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            break
    return b"".join(block)
