"""How many tokens a picture costs, from the first bytes of its file. Pure; nothing is decoded but headers.

Sizes by the published headers of PNG, JPEG, GIF, WebP and BMP; tokens by OpenAI's tile rule for gpt-4o (images and
vision guide): 85 for the picture, and 170 for each tile of 512 pixels once it is scaled into 2048 and 768 pixels.
"""

from __future__ import annotations

import binascii
import math
import struct
from collections.abc import Iterator

LOW_DETAIL_TOKENS = 85
TILE_TOKENS = 170
# The most that the rule gives: 2048 by 768 pixels, eight tiles. For pictures whose size nobody can see.
UNKNOWN_SIZE_TOKENS = LOW_DETAIL_TOKENS + 8 * TILE_TOKENS
_TILE, _LONG_SIDE, _SHORT_SIDE = 512, 2048, 768
# A JPEG names its size behind its notes (camera, colours, a preview), which mostly end within 64 KB.
_HEAD_CHARACTERS, JPEG_HEAD_CHARACTERS = 64, 88_000


def image_tokens(url: str, detail: str = "auto") -> int:
    """Tokens of a picture that a request shows: a data URL, or an address that says nothing of its size."""
    if detail == "low":
        return LOW_DETAIL_TOKENS
    size = size_of_data_url(url) if url.startswith("data:") else None
    return tile_tokens(*size) if size else UNKNOWN_SIZE_TOKENS


def tile_tokens(width: int, height: int) -> int:
    """Tokens of a picture of this size in pixels, in high detail."""
    longest = max(width, height)
    scale = min(1.0, _LONG_SIDE / longest)
    scale = min(scale, _SHORT_SIDE / min(width, height))
    across, down = (max(1, math.ceil(side * scale / _TILE - 1e-9)) for side in (width, height))
    return LOW_DETAIL_TOKENS + TILE_TOKENS * across * down


def size_of_data_url(url: str) -> tuple[int, int] | None:
    """Width and height of the picture in a base64 data URL; None where its header cannot be read."""
    start = url.find(",", 0, 200) + 1
    if not start:
        return None
    head = _decoded(url[start : start + _HEAD_CHARACTERS])
    if head.startswith(b"\xff\xd8"):
        head = _decoded(url[start : start + JPEG_HEAD_CHARACTERS])
    return image_size(head)


def image_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels from the beginning of a file; None for other files and for nonsense."""
    try:
        size = _size(head)
    except struct.error:
        return None
    return size if size and min(size) > 0 else None


def _size(head: bytes) -> tuple[int, int] | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    if head[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", head, 6)
        return width, height
    if head.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", head, 18)
        return width, abs(height)  # negative: the rows stand in the other order
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    return _jpeg_size(head) if head.startswith(b"\xff\xd8") else None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) >= 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    for marker, at in _jpeg_segments(head):
        # The frame headers, C0 to CF, but for the three of that range that are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, at + 3)
            return width, height
    return None


def _jpeg_segments(head: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment's length."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # a filler before the marker
            at += 1
            continue
        yield marker, at + 2
        (length,) = struct.unpack_from(">H", head, at + 2)
        at += 2 + length


def _decoded(text: str) -> bytes:
    """Base64 cut at a place where it can be; nothing for what is none."""
    try:
        return binascii.a2b_base64(text[: len(text) // 4 * 4])
    except ValueError:
        return b""
