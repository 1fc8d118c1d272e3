"""What is packed with gzip comes out as it was, a piece at a time, however it arrives."""

from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.gunzip import BadCompression, Gunzip


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.lists(st.integers(0, 10_000), max_size=5)
)
def test_any_members_cut_anywhere_come_out_whole(members: list[bytes], at: list[int]) -> None:
    packed = b"".join(map(gzip.compress, members))
    gunzip = Gunzip(piece_bytes=64)
    pieces = [piece for part in cut(packed, at) for piece in gunzip.feed(part)]
    gunzip.finish()
    assert b"".join(pieces) == b"".join(members)
    assert all(0 < len(piece) <= 64 for piece in pieces)


def test_a_bomb_is_unfolded_only_as_far_as_somebody_reads() -> None:
    pieces = Gunzip(piece_bytes=1000).feed(gzip.compress(bytes(50_000_000)))
    assert [len(next(pieces)) for _ in range(3)] == [1000, 1000, 1000]


@pytest.mark.parametrize("data", [gzip.compress(b"x" * 100, mtime=0)[:-9], b"\x1f\x8b"], ids=["cut", "head"])
def test_what_ends_too_early_is_noticed(data: bytes) -> None:
    gunzip = Gunzip()
    list(gunzip.feed(data))
    with pytest.raises(BadCompression):
        gunzip.finish()


def test_what_is_no_gzip_is_noticed_at_once() -> None:
    with pytest.raises(BadCompression):
        list(Gunzip().feed(b'{"custom_id": "a"}'))


def test_a_damaged_member_is_noticed() -> None:
    packed = bytearray(gzip.compress(b"some words " * 50))
    packed[-6] ^= 0xFF  # of its checksum
    with pytest.raises(BadCompression):
        list(Gunzip().feed(bytes(packed)))
