"""The size of a picture from its header, and its tokens from its size."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.images import UNKNOWN_SIZE_TOKENS, image_size, image_tokens, tile_tokens

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480)
JPEG = (
    b"\xff\xd8"
    b"\xff\xe1"
    + struct.pack(">H", 2 + 30_000)
    + bytes(30_000)  # notes of a camera
    + b"\xff\xff\xdb"  # a filler byte before the marker
    + struct.pack(">H", 4)
    + bytes(2)
    + b"\xff\xc2"
    + struct.pack(">HBHH", 17, 8, 480, 640)
)
FILES = {
    "png": PNG,
    "jpeg": JPEG,
    "gif": b"GIF89a" + struct.pack("<HH", 640, 480),
    "bmp": b"BM" + bytes(16) + struct.pack("<ii", 640, -480),
    "webp lossy": b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480),
    "webp lossless": b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + struct.pack("<I", 639 | 479 << 14),
    "webp extended": b"RIFF\0\0\0\0WEBPVP8X"
    + bytes(8)
    + (639).to_bytes(3, "little")
    + (479).to_bytes(3, "little"),
}


def url(data: bytes) -> str:
    return "data:image/any;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize("kind", FILES)
def test_a_header_tells_width_and_height(kind: str) -> None:
    assert image_size(FILES[kind]) == (640, 480)
    assert image_tokens(url(FILES[kind] + bytes(200))) == tile_tokens(640, 480)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1024, 1024, 765),  # the examples of OpenAI's guide
        (2048, 4096, 1105),
        (512, 512, 255),
        (1, 1, 255),
        (100_000, 1, 85 + 170 * 4),
    ],
)
def test_a_picture_costs_by_its_tiles(width: int, height: int, tokens: int) -> None:
    assert tile_tokens(width, height) == tokens


def test_low_detail_costs_the_same_for_every_picture() -> None:
    assert image_tokens(url(PNG), "low") == image_tokens("https://x/y.png", "low") == 85


@pytest.mark.parametrize(
    "place",
    [
        "https://x/y.png",
        "",
        "data:image/png",
        "data:image/png;base64,",
        "data:image/png;base64,???=",
        url(b"BM"),
    ],
)
def test_a_picture_whose_size_nobody_sees_costs_the_most(place: str) -> None:
    assert image_tokens(place) == UNKNOWN_SIZE_TOKENS


@given(st.sampled_from(sorted(FILES)), st.integers(0, 60), st.binary(max_size=8))
def test_a_header_cut_or_spoilt_anywhere_is_read_or_unknown(kind: str, at: int, junk: bytes) -> None:
    size = image_size(FILES[kind][:at] + junk)
    assert size is None or min(size) > 0


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_no_picture_costs_more_than_one_of_unknown_size(width: int, height: int) -> None:
    assert 255 <= tile_tokens(width, height) <= UNKNOWN_SIZE_TOKENS
