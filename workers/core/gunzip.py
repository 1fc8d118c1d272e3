"""Unpack gzip (RFC 1952) piece by piece: what a few bytes unfold to is never held whole.

Pulled, not pushed: whoever reads the pieces stores one before the next is made, and stops where a bound is passed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 65_536
_START = b"\x1f"
_WITH_HEADER = 16 + zlib.MAX_WBITS


class BadCompression(Exception):
    """The bytes are not what their name or header says, or end too early."""


class Gunzip:
    """Any number of members; what follows the last one is ignored.

    Args of the constructor:
        piece_bytes: the most that is given at a time.
    """

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._inflate = zlib.decompressobj(_WITH_HEADER)
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes unfold to. Raises BadCompression. Read it to its end before the next feed."""
        self._fed = self._fed or bool(data)
        while data:
            if self._inflate.eof:
                if not data.startswith(_START):
                    return
                self._inflate = zlib.decompressobj(_WITH_HEADER)
            piece, data = inflated(self._inflate, data, self._piece_bytes)
            if piece:
                yield piece

    def finish(self) -> None:
        """The last bytes were fed. Raises BadCompression if there should have been more."""
        if self._fed and not self._inflate.eof:
            raise BadCompression("it ends too early")


def inflated(inflate: zlib._Decompress, data: bytes, most_bytes: int) -> tuple[bytes, bytes]:
    """One piece, and what of the data is still to be done. Raises BadCompression."""
    try:
        piece = inflate.decompress(data, most_bytes)
    except zlib.error as error:
        raise BadCompression(str(error)) from error
    return piece, inflate.unused_data if inflate.eof else inflate.unconsumed_tail
