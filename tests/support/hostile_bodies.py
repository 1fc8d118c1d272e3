"""Bodies that are far larger than they look. Made once, of a repeated piece, so that a gigabyte costs nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache

import brotli  # type: ignore[import-untyped]
import zstandard

GIGABYTE = 1 << 30
_PIECE = bytes(1 << 20)


def endless(size: int = GIGABYTE) -> Iterator[bytes]:
    """`size` bytes of nothing, in frames."""
    frame = bytes(16_384)
    return (frame for _ in range(size // len(frame)))


@cache
def bomb(encoding: str) -> bytes:
    """A gigabyte of zeros, compressed."""
    return {"gzip": _gzip, "br": _brotli, "zstd": _zstd}[encoding]()


def _gzip() -> bytes:
    # After a full flush nothing refers back (RFC 1951), so the same block may follow itself for ever.
    packer = zlib.compressobj(level=1, wbits=31)
    start = packer.compress(_PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(_PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * 1023


def _brotli() -> bytes:
    # From the second flush on a block of zeros refers only to zeros right before it: it may be repeated.
    packer = brotli.Compressor(quality=1)
    start = packer.process(_PIECE) + packer.flush()
    block = packer.process(_PIECE) + packer.flush()
    return bytes(start + block * 1023)


def _zstd() -> bytes:
    # Frames may follow each other (RFC 8878).
    return zstandard.ZstdCompressor(level=1).compress(_PIECE * 16) * 64
