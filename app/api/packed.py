"""Uploads that come packed with gzip: the whole body (Content-Encoding) or the file in it (NAME.jsonl.gz).

A kilobyte may hold a gigabyte, so what comes out is counted against the limit of what goes in, piece by piece.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from app.api.door import encoding_of, unread_encoding
from app.api.errors import ApiError, bad_request
from app.api.file_limits import FileLimits
from workers.core.gunzip import BadCompression, Gunzip

PACKED_NAME = ".jsonl.gz"
PIECE_BYTES = 1 << 20
_GZIP = ("gzip", "x-gzip")


def body_of(request: Request, limits: FileLimits) -> AsyncIterator[bytes]:
    """The body of an upload as it was before it was packed.

    Raises: ApiError 415 for another packing than gzip; later, 413 for too much of it and 400 for what is no gzip.
    """
    encoding = encoding_of(request)
    if encoding is None:
        return request.stream()
    if encoding not in _GZIP:
        raise unread_encoding(encoding)
    return _unpacked(request.stream(), limits)


async def _unpacked(chunks: AsyncIterator[bytes], limits: FileLimits) -> AsyncIterator[bytes]:
    gunzip, passed = Gunzip(PIECE_BYTES), 0
    try:
        async for chunk in chunks:
            for piece in gunzip.feed(chunk):
                passed += len(piece)
                limits.refuse_form(passed)
                yield piece
        gunzip.finish()
    except BadCompression as error:
        raise bad_packing("The body", error) from None


def bad_packing(what: str, error: BadCompression) -> ApiError:
    """400: it says that it is packed with gzip, and cannot be unpacked."""
    return bad_request(f"{what} cannot be unpacked as gzip: {error}.", param="file", code="invalid_gzip")
