r"""The file of a backup: one zstd stream of BSON documents, and behind it what they are.

    b"batchwright-backup 1\n"
    one zstd frame: the documents of each collection, in the manifest's order, nothing between them
    the manifest, one BSON document
    its length (8 bytes, little-endian), its blake3 digest (32 bytes), b"batchwright-end\n"

The manifest stands last because counts and digests are known last; a file that was cut lacks its end. Sources:
bsonspec.org, RFC 8878 (zstd), the blake3 paper.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

import bson
import zstandard
from blake3 import blake3

from workers.core.errors import UserError

MAGIC = b"batchwright-backup 1\n"
_FAMILY = b"batchwright-backup "
_END = b"batchwright-end\n"
_TRAILER = struct.Struct(f"<Q32s{len(_END)}s")
_FORMAT = 1
_SMALLEST_DOCUMENT, _LARGEST_DOCUMENT = 5, 17 << 20
_MOST_MANIFEST_BYTES = 1 << 20
_TELL_EVERY = 500

# Collection, documents so far, bytes so far.
Tell = Callable[[str, int, int], None]


class NoBackup(UserError):
    """The file is no backup, or none that this version understands, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Part:
    """One collection: how many documents, their bytes, and the digest of these bytes, hexadecimal."""

    name: str
    documents: int
    bytes: int
    blake3: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup; `created_at` is Unix time, `version` the product's."""

    created_at: float
    version: str
    database: str
    parts: tuple[Part, ...]

    @property
    def documents(self) -> int:
        """Of all collections."""
        return sum(part.documents for part in self.parts)

    @property
    def bytes(self) -> int:
        """Of all documents, as they are in the database."""
        return sum(part.bytes for part in self.parts)


class Writer:
    """`add` each collection, then `finish`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parts: list[Part] = []
        file.write(MAGIC)
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        self._stream = compressor.stream_writer(file, closefd=False)

    def add(self, name: str, documents: Iterable[bytes], tell: Tell) -> None:
        """Write a collection; what is read is written before more is read."""
        digest, count, size_bytes = blake3(), 0, 0
        for document in documents:
            digest.update(document)
            self._stream.write(document)
            count, size_bytes = count + 1, size_bytes + len(document)
            if count % _TELL_EVERY == 0:
                tell(name, count, size_bytes)
        tell(name, count, size_bytes)
        self._parts.append(Part(name, count, size_bytes, digest.hexdigest()))

    def finish(self, *, created_at: float, version: str, database: str) -> Manifest:
        """Write what was written."""
        self._stream.flush(zstandard.FLUSH_FRAME)
        manifest = Manifest(created_at, version, database, tuple(self._parts))
        content = bson.encode({"format": _FORMAT, **asdict(manifest)})
        self._file.write(content)
        self._file.write(_TRAILER.pack(len(content), blake3(content).digest(), _END))
        return manifest


def read_manifest(file: IO[bytes]) -> Manifest:
    """What the file says of itself. Raises NoBackup."""
    head = file.read(len(MAGIC))
    if not head.startswith(_FAMILY):
        raise NoBackup(f"{_name(file)} is no backup of Batchwright")
    if head != MAGIC:
        raise NoBackup(f"{_name(file)} was written in another format", hint="restore it by a newer version")
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes < len(MAGIC) + _TRAILER.size:
        raise _cut(file)
    file.seek(-_TRAILER.size, os.SEEK_END)
    length, digest, end = _TRAILER.unpack(file.read(_TRAILER.size))
    if end != _END or length > min(_MOST_MANIFEST_BYTES, size_bytes):
        raise _cut(file)
    file.seek(-_TRAILER.size - length, os.SEEK_END)
    content = file.read(length)
    if blake3(content).digest() != digest:
        raise _changed(file)
    known: dict[str, Any] = bson.decode(content)
    del known["format"]
    parts = tuple(Part(**part) for part in known.pop("parts"))
    return Manifest(parts=parts, **known)


def read_parts(file: IO[bytes], manifest: Manifest, tell: Tell) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Each collection with its documents, each of which must be read to its end before the next.

    The end of a collection raises NoBackup if its bytes are not those that were written.
    """
    file.seek(len(MAGIC))
    # Nothing is read ahead: behind the frame stands what is no zstd.
    with zstandard.ZstdDecompressor().stream_reader(file, closefd=False) as stream:
        for part in manifest.parts:
            yield part.name, _documents(file, stream, part, tell)


def _documents(
    file: IO[bytes], source: zstandard.ZstdDecompressionReader, part: Part, tell: Tell
) -> Iterator[bytes]:
    digest, size_bytes = blake3(), 0
    for count in range(1, part.documents + 1):
        try:
            head = source.read(4)
            length = int.from_bytes(head, "little", signed=True)
            if not _SMALLEST_DOCUMENT <= length <= _LARGEST_DOCUMENT:
                raise _changed(file)
            document = head + source.read(length - 4)
        except zstandard.ZstdError:
            raise _changed(file) from None
        if len(document) != length:
            raise _changed(file)
        digest.update(document)
        size_bytes += length
        yield document
        if count % _TELL_EVERY == 0:
            tell(part.name, count, size_bytes)
    if digest.hexdigest() != part.blake3:
        raise _changed(file)


def _cut(file: IO[bytes]) -> NoBackup:
    return NoBackup(
        f"{_name(file)} is not whole: its end is missing", hint="copy it again, or take another one"
    )


def _changed(file: IO[bytes]) -> NoBackup:
    return NoBackup(
        f"{_name(file)} was changed after it was written", hint="copy it again, or take another one"
    )


def _name(file: IO[bytes]) -> str:
    return str(file.name)
