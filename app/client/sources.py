"""What a Python caller hands over, turned into one file that can be uploaded.

A path or a binary file is used as it is; everything else is written, line by line, to a temporary file: a
generator of a million prompts needs the memory of one.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from app.client.jsonl import DEFAULT_ENDPOINT, Request, endpoint_of, input_line
from workers.core.errors import UserError

Requests = str | os.PathLike[str] | IO[bytes] | IO[str] | Iterable[Request]
AsyncRequests = Requests | AsyncIterable[Request]

_IN_MEMORY_BYTES = 1 << 20
_LONGEST_FIRST_LINE = 1 << 20


@contextmanager
def opened(requests: Requests, endpoint: str) -> Iterator[BinaryIO]:
    """The requests as a binary file at its beginning; `endpoint` is that of requests that name none."""
    if isinstance(requests, Mapping):
        raise UserError("one request was given, not several", hint="put it into a list: submit([request])")
    if isinstance(requests, (str, os.PathLike)):
        with open_file(Path(requests)) as file:
            yield file
        return
    if is_file(requests):
        if _is_seekable_binary(requests):
            yield cast("BinaryIO", requests)
            return
        with _spool() as spool:
            _copy(requests, spool)
            yield _rewound(spool)
        return
    with _spool() as spool:
        for number, request in enumerate(cast("Iterable[Request]", requests), start=1):
            spool.write(input_line(request, number, endpoint))
        yield _rewound(spool)


@contextmanager
def _spool() -> Iterator[BinaryIO]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        yield spool  # type: ignore[misc]  # a binary file in all but its declared base


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _is_seekable_binary(file: Any) -> bool:
    # A pipe cannot be rewound after its first line was looked at; text is decoded already.
    seekable = getattr(file, "seekable", lambda: False)
    return not isinstance(file, io.TextIOBase) and isinstance(file.read(0), bytes) and seekable()


def _copy(source: Any, spool: BinaryIO) -> None:
    while data := source.read(1 << 16):
        spool.write(data.encode() if isinstance(data, str) else data)


async def write_async(requests: AsyncIterable[Request], endpoint: str, spool: BinaryIO) -> BinaryIO:
    """Write requests that arrive over time; gives the file at its beginning."""
    number = 0
    async for request in requests:
        number += 1
        spool.write(input_line(request, number, endpoint))
    return _rewound(spool)


def is_file(requests: object) -> bool:
    """Whether the caller handed over an open file."""
    return hasattr(requests, "read")


def open_file(path: Path) -> BinaryIO:
    """Open an input file. Raises UserError."""
    try:
        return path.open("rb")
    except OSError as error:
        hint = (
            "a single prompt goes in a list: submit(['...'])"
            if isinstance(error, FileNotFoundError)
            else None
        )
        raise UserError(f"cannot read {path}: {error.strerror}", hint=hint) from error


def endpoint_for(file: BinaryIO, endpoint: str | None) -> str:
    """The endpoint of a file: the caller's, else the one its first line names. The file is rewound."""
    if endpoint is not None:
        return endpoint
    while line := file.readline(_LONGEST_FIRST_LINE):
        if line.strip():
            break
    file.seek(0)
    return endpoint_of(line.removeprefix(b"\xef\xbb\xbf")) or DEFAULT_ENDPOINT
