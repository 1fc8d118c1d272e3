"""Cut a stream of bytes into the lines of a JSONL file, in bounded memory.

The planner reads stored files by it, the command line checks local ones: both number lines alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

UTF8_BOM = b"\xef\xbb\xbf"
# How a packed file begins (RFC 1952). It is never unpacked here: a kilobyte may hold a gigabyte.
GZIP = b"\x1f\x8b"


def split_lines(chunks: Iterable[bytes], max_line_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Cut a byte stream into lines.

    Gives (physical number from 1, offset of its first byte, bytes without CR and LF); blank lines are counted
    but not given; a UTF-8 byte order mark and a missing last line end are accepted. Of a line longer than
    `max_line_bytes` only one byte more than that is given: enough to see that it is too long.
    """
    rest, offset, number, cut = b"", 0, 0, 0
    # A mark and a CR are no part of the line: with room for both, what is cut off is always past the bound.
    keep = max_line_bytes + 1 + len(UTF8_BOM) + 1
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            number += 1
            length = len(rest) + cut + end - start
            yield from _line(number, offset, (rest + chunk[start:end])[:keep], max_line_bytes)
            offset += length + 1
            rest, cut, start = b"", 0, end + 1
        rest += chunk[start:]
        if len(rest) > keep:
            cut += len(rest) - keep
            rest = rest[:keep]
    if rest:
        yield from _line(number + 1, offset, rest, max_line_bytes)


def _line(number: int, offset: int, raw: bytes, max_line_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    if offset == 0 and raw.startswith(UTF8_BOM):
        raw, offset = raw[len(UTF8_BOM) :], len(UTF8_BOM)
    line = raw.removesuffix(b"\r")[: max_line_bytes + 1]
    if line.strip():
        yield number, offset, line
