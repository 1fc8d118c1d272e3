"""The stored form of an answer, version 3: a fixed head, three short strings, the answer's bytes, a checksum.

    "bwc3"  flags  lengths  usage | [expires_s took_ms] | model  request_id  notes | body | crc32 of all before

Little-endian. `notes` is JSON (warnings, tier) and mostly absent; the body is one zstd frame where that saves room.
Whatever is not one of ours, whole, reads as Unread: a foreign entry, a truncated one, a single flipped bit. What
another version has written (2 began with a JSON object) is not damaged, only not ours to read.

Every cache hit passes here, 17,000 a second and core: so no JSON, and no wrapper around a plain answer.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import Enum

import orjson
import zstandard

from workers.core.messages import Reply, Usage

_FAMILY = b"bwc"
_MAGIC = _FAMILY + b"3"
_BEGINNINGS_OF_OTHER_VERSIONS = (_FAMILY, b'{"v":')
# flags, lengths of model, request id, notes and body (as it was before compression), the five counts of Usage
_FIXED = struct.Struct("<4sBHHII5Q")
_WARM = struct.Struct("<dd")
_CRC_BYTES = 4
# The CRC-32 of anything that ends with its own CRC-32, little-endian (a property of the code): checking needs no copy.
_WHOLE = 0x2144DF1C
_COMPRESSED, _WARMED, _HAS_REQUEST_ID = 1, 2, 4
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Warm:
    """What is known of an answer fetched ahead of its askers: its end (Unix seconds), and how long it took to get."""

    expires_s: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Warmed:
    """An entry of a warmed answer."""

    reply: Reply
    warm: Warm


class Unread(Enum):
    """Why bytes gave no answer."""

    OTHER_VERSION = "other_version"
    CORRUPT = "corrupt"


class Codec:
    """Pack and unpack entries. Belongs to one thread: zstd's contexts must not be shared.

    Attributes:
        raw_bytes, packed_bytes: bodies that were compressed, before and after, since this was made.
    """

    def __init__(self, *, compress_over_bytes: int, max_body_bytes: int) -> None:
        """Larger bodies are refused on both ways, so that no foreign entry unfolds into more than that."""
        self._compress_over, self._max_body = compress_over_bytes, max_body_bytes
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()
        self.raw_bytes = self.packed_bytes = 0

    def pack(self, reply: Reply, warm: Warm | None = None) -> bytes | None:
        """The entry; None for an answer that is too large, or whose counts and names are beyond all measure."""
        body, usage = reply.body, reply.usage
        size = len(body)
        if size > self._max_body:
            return None
        flags = _WARMED if warm else 0
        if size > self._compress_over:
            small = self._compress(body)
            if small is not None:
                body, flags = small, flags | _COMPRESSED
        model, request_id, notes = reply.model.encode(), b"", b""
        if reply.request_id is not None:
            request_id, flags = reply.request_id.encode(), flags | _HAS_REQUEST_ID
        if reply.warnings or reply.tier:
            notes = orjson.dumps([reply.warnings, reply.tier])
        try:
            head = _FIXED.pack(
                _MAGIC,
                flags,
                len(model),
                len(request_id),
                len(notes),
                size,
                usage.input_tokens,
                usage.output_tokens,
                usage.cached_tokens,
                usage.reasoning_tokens,
                usage.cache_write_tokens,
            )
        except struct.error:
            return None
        more = _WARM.pack(warm.expires_s, warm.took_ms) if warm else b""
        entry = b"".join((head, more, model, request_id, notes, body))
        return entry + zlib.crc32(entry).to_bytes(_CRC_BYTES, "little")

    def unpack(self, entry: bytes) -> Reply | Warmed | Unread:
        """Read an entry, or say why not; never raises."""
        if not entry.startswith(_MAGIC):
            is_older = entry.startswith(_BEGINNINGS_OF_OTHER_VERSIONS)
            return Unread.OTHER_VERSION if is_older else Unread.CORRUPT
        if zlib.crc32(entry) != _WHOLE:
            return Unread.CORRUPT
        try:
            return self._read(entry)
        except (ValueError, TypeError, struct.error, zstandard.ZstdError):
            return Unread.CORRUPT

    def _read(self, entry: bytes) -> Reply | Warmed | Unread:
        _, flags, n_model, n_request, n_notes, size, *counts = _FIXED.unpack_from(entry)
        at = _FIXED.size + (_WARM.size if flags & _WARMED else 0)
        end = at + n_model
        model = entry[at:end].decode()
        request_id = entry[end : end + n_request].decode() if flags & _HAS_REQUEST_ID else None
        end += n_request
        warnings, tier = _notes(entry[end : end + n_notes]) if n_notes else ((), "")
        body = entry[end + n_notes : -_CRC_BYTES]
        if flags & _COMPRESSED:
            body = self._decompress(body, size)
        if len(body) != size or size > self._max_body:
            return Unread.CORRUPT
        reply = Reply(body, Usage(*counts), model, request_id, warnings, tier)
        return Warmed(reply, Warm(*_WARM.unpack_from(entry, _FIXED.size))) if flags & _WARMED else reply

    def _compress(self, body: bytes) -> bytes | None:
        small = self._compressor.compress(body)
        self.raw_bytes += len(body)
        self.packed_bytes += min(len(small), len(body))
        return small if len(small) < len(body) else None

    def _decompress(self, frame: bytes, size: int) -> bytes:
        # The library makes room for as much as a frame says it holds, whatever bound it is given.
        if size > self._max_body or zstandard.frame_content_size(frame) != size:
            raise ValueError("the frame is of another size than it may be")
        return self._decompressor.decompress(frame)


def _notes(data: bytes) -> tuple[tuple[str, ...], str]:
    warnings, tier = orjson.loads(data)
    return tuple(str(warning) for warning in warnings), str(tier)
