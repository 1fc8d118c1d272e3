"""The stored form of an answer: what was packed comes back the same; all else is a miss, and never a bomb."""

from __future__ import annotations

import struct
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from workers.core.messages import Reply, Usage
from workers.store.cache_entry import Codec, Unread, Warm, Warmed

pytestmark = pytest.mark.fast
CODEC = Codec(compress_over_bytes=300, max_body_bytes=20_000)
ANSWER = Reply(b'{"choices":[]}', Usage(1, 2, 3, 4, 5), "sim-small", "req_1", ("seed: left out",), "flex")
LONG = Reply(b'{"text":"' + b"word " * 500 + b'"}', Usage(), "m")


def packed(reply: Reply, warm: Warm | None = None) -> bytes:
    entry = CODEC.pack(reply, warm)
    assert entry is not None
    return entry


def signed(entry: bytes) -> bytes:
    """A forged entry whose checksum is right."""
    return entry[:-4] + struct.pack("<I", zlib.crc32(entry[:-4]))


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        packed(ANSWER)[:-1],
        packed(ANSWER)[1:],
        packed(LONG)[:-9],
        b"bwc3",
        signed(packed(ANSWER)[:30] + b"1234"),
        signed(packed(ANSWER) + b"more"),
        signed(packed(LONG).replace(zstandard.FRAME_HEADER, b"1234")),
        b"\xff\n{}",
    ],
)
def test_what_is_not_whole_and_ours_is_corrupt(entry: bytes) -> None:
    assert CODEC.unpack(entry) is Unread.CORRUPT


@pytest.mark.parametrize("reply", [Reply(b"x" * 20_001, Usage(), "m"), Reply(b"{}", Usage(2**64), "m")])
def test_what_is_too_large_or_beyond_measure_is_not_packed(reply: Reply) -> None:
    assert CODEC.pack(reply) is None


@pytest.mark.parametrize("entry", [b'{"v":2,"usage":[0,0,0,0,0]}\n{}', b"bwc4 whatever comes next"])
def test_an_entry_of_another_version_is_a_miss_but_not_damaged(entry: bytes) -> None:
    assert CODEC.unpack(entry) is Unread.OTHER_VERSION


@pytest.mark.parametrize("says", [10**9, len(LONG.body) + 1])
def test_a_foreign_frame_does_not_unfold_into_more_than_an_answer_may_be(says: int) -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * 30_000)
    head = struct.pack("<4sBHHII5Q", b"bwc3", 1, 0, 0, 0, says, *[0] * 5)
    assert CODEC.unpack(signed(head + bomb + b"1234")) is Unread.CORRUPT


@given(st.integers(0, 8 * len(packed(LONG)) - 1))
def test_one_flipped_bit_anywhere_is_a_miss(bit: int) -> None:
    spoiled = bytearray(packed(LONG))
    spoiled[bit // 8] ^= 1 << bit % 8
    assert isinstance(CODEC.unpack(bytes(spoiled)), Unread)


COUNTS = st.integers(0, 2**64 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        Reply,
        st.binary(max_size=600),
        st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
        NAMES,
        st.none() | NAMES,
        st.lists(NAMES, max_size=2).map(tuple),
        NAMES,
    ),
    st.none() | st.builds(Warm, st.floats(0, 1e10), st.floats(0, 1e6)),
)
def test_whatever_is_packed_is_unpacked_the_same(reply: Reply, warm: Warm | None) -> None:
    assert CODEC.unpack(packed(reply, warm)) == (Warmed(reply, warm) if warm else reply)


@given(st.binary())
def test_any_bytes_are_an_answer_or_a_miss(entry: bytes) -> None:
    assert isinstance(CODEC.unpack(entry), Unread)
