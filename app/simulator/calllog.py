"""The call log: one JSON line a call, the witness of what was paid.

server.py writes each line before it sends the answer, so whoever has an answer finds its line, and a client's
death cuts off its connection, not its line. Buffering would save 4 microseconds a call and lose that.
One whole line a write on an O_APPEND descriptor: a reader never meets two lines mixed.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One line. `status` 0: a hang, no status was sent when it was written."""

    time: float  # Unix seconds at arrival
    provider: str  # the dialect it was made in
    model: str | None
    prompt_hash: str  # blake3 of the body with its keys sorted; of the bytes where they are no JSON
    status: int
    endpoint: str
    stream: bool
    duration_ms: float  # until the answer began; 0 where none did
    request_id: str
    fault: str | None  # the words of the injected fault, None for an honest call
    prompt_tokens: int  # all input, cached or not
    completion_tokens: int
    cached_tokens: int = 0  # of the input, read from the prompt cache
    cache_write_tokens: int = 0  # of the input, written to it


class CallLog:
    """Appends records. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        """Open at once, so that a log that cannot be written stops the start, not the hundredth call.

        Raises: OSError if the file cannot be opened.
        """
        self._file = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, record: CallRecord) -> None:
        """Append one record. It is with the operating system when this returns.

        Raises: OSError if it cannot be written.
        """
        if self._file < 0:
            return
        left = memoryview(orjson.dumps(asdict(record), option=orjson.OPT_APPEND_NEWLINE))
        while left:  # a full disk may take half a line before it refuses the rest
            left = left[os.write(self._file, left) :]

    def close(self) -> None:
        """Close; later records go nowhere."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
