"""Take the compression off an answer piece by piece, never holding more than the answer's bound.

httpx decompresses each network read whole, and 64 KB of brotli can hold gigabytes. Here every decoder hands on at
most `_PIECE_BYTES` at a time to `put`, which raises as soon as the bound is passed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import IO, Protocol, cast

import brotli  # type: ignore[import-untyped]
import zstandard

from workers.core.gunzip import BadCompression, Gunzip, inflated

Put = Callable[[bytes], None]

ACCEPTED = "gzip, deflate, br, zstd"
_PIECE_BYTES = 65_536


class Decoder(Protocol):
    """One coding."""

    def feed(self, data: bytes) -> None:
        """Decode the next bytes. Raises BadCompression, and whatever `put` raises."""
        ...

    def finish(self) -> None:
        """The last bytes were fed. Raises BadCompression if there should have been more."""
        ...


def decoder_for(content_encoding: str, put: Put) -> Decoder | None:
    """What turns an answer's bytes into its body; None if they are the body, or in a coding nobody asked for."""
    codings = [one.strip().lower() for one in content_encoding.split(",")]
    codings = [one for one in codings if one and one != "identity"]
    if not codings or any(one not in _DECODERS for one in codings):
        return None
    # Codings are named in the order in which they were applied (RFC 9110, 8.4).
    decoder = _DECODERS[codings[0]](put)
    for coding in codings[1:]:
        decoder = _Chain(coding, decoder)
    return decoder


class _Chain:
    def __init__(self, coding: str, inner: Decoder) -> None:
        self._inner = inner
        self._outer = _DECODERS[coding](inner.feed)

    def feed(self, data: bytes) -> None:
        self._outer.feed(data)

    def finish(self) -> None:
        self._outer.finish()
        self._inner.finish()


class _Gzip:
    def __init__(self, put: Put) -> None:
        self._put = put
        self._gunzip = Gunzip(_PIECE_BYTES)

    def feed(self, data: bytes) -> None:
        for piece in self._gunzip.feed(data):
            self._put(piece)

    def finish(self) -> None:
        self._gunzip.finish()


class _Deflate:
    """With zlib's header, as the name means (RFC 9110, 8.4.1.2), or without it, as some servers have it."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._start = b""
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        if self._inflate is None:
            self._start += data
            if len(self._start) < 2:
                return
            data, self._start = self._start, b""
            # RFC 1950: method 8, and both bytes together are a multiple of 31.
            has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        while data and not self._inflate.eof:
            piece, data = inflated(self._inflate, data, _PIECE_BYTES)
            self._put(piece)

    def finish(self) -> None:
        if self._start or (self._inflate is not None and not self._inflate.eof):
            raise BadCompression("it ends too early")


class _Brotli:
    def __init__(self, put: Put) -> None:
        self._put = put
        self._brotli = brotli.Decompressor()
        self._fed = False

    def feed(self, data: bytes) -> None:
        self._fed = True
        try:
            # It may hold output back while it says that it takes more: only nothing means nothing.
            piece = self._brotli.process(data, output_buffer_limit=_PIECE_BYTES)
            while piece:
                self._put(piece)
                piece = self._brotli.process(b"", output_buffer_limit=_PIECE_BYTES)
        except brotli.error as error:
            raise BadCompression(str(error)) from error

    def finish(self) -> None:
        if self._fed and not self._brotli.is_finished():
            raise BadCompression("it ends too early")


class _Sink:
    """What zstandard's writer writes to."""

    def __init__(self, put: Put) -> None:
        self._put = put

    def write(self, data: bytes) -> int:
        self._put(bytes(data))
        return len(data)


class _Zstd:
    """Any number of frames. The window is bounded: RFC 9659 has servers keep it within 8 MB."""

    def __init__(self, put: Put) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
        self._writer = decompressor.stream_writer(cast(IO[bytes], _Sink(put)), write_size=_PIECE_BYTES)

    def feed(self, data: bytes) -> None:
        try:
            self._writer.write(data)
        except zstandard.ZstdError as error:
            raise BadCompression(str(error)) from error

    def finish(self) -> None:
        """zstandard does not say whether a frame is whole; a cut one shows in what it holds."""


_DECODERS: dict[str, Callable[[Put], Decoder]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
