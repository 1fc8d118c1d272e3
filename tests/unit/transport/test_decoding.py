"""Taking compression off, piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from workers.core.gunzip import BadCompression
from workers.transport.decoding import decoder_for


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in members": ("x-gzip", lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "brotli": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd in frames": ("zstd", lambda data: zstandard.compress(data[:10]) + zstandard.compress(data[10:])),
    "two codings": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
}


def unpack(encoding: str, packed: bytes, step: int) -> bytes:
    parts: list[bytes] = []
    decoder = decoder_for(encoding, parts.append)
    assert decoder is not None
    for start in range(0, len(packed), step):
        decoder.feed(packed[start : start + step])
    decoder.finish()
    return b"".join(parts)


@pytest.mark.parametrize("name", PACKERS)
@given(data=st.binary(max_size=300), times=st.sampled_from([1, 1_000]), step=st.sampled_from([1, 7, 100_000]))
def test_what_was_packed_comes_back_however_it_is_cut(name: str, data: bytes, times: int, step: int) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(data * times)
    assert unpack(encoding, packed, max(step, len(packed) // 50)) == data * times


@pytest.mark.parametrize("name", PACKERS)
def test_no_piece_is_large(name: str) -> None:
    encoding, pack = PACKERS[name]
    sizes: list[int] = []
    decoder = decoder_for(encoding, lambda piece: sizes.append(len(piece)))
    assert decoder is not None
    decoder.feed(pack(bytes(3_000_000)))
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= 131_072


@pytest.mark.parametrize("name", [name for name in PACKERS if "zstd" not in name])
def test_a_body_that_ends_too_early_is_told(name: str) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(b"some words" * 10)
    with pytest.raises(BadCompression):
        unpack(encoding, packed[:-3], 1_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_bytes_that_are_not_compressed_are_told(encoding: str) -> None:
    with pytest.raises(BadCompression):
        unpack(encoding, b"these are no compressed bytes at all", 1_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_no_bytes_are_an_empty_body(encoding: str) -> None:
    assert unpack(encoding, b"", 1) == b""


@pytest.mark.parametrize("encoding", ["", "identity", "compress", "gzip, compress"])
def test_what_nobody_asked_for_is_left_as_it_is(encoding: str) -> None:
    assert decoder_for(encoding, lambda piece: None) is None
