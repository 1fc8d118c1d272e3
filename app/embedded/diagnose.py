"""Turn the last words of a process that ended into one line that says what to do. Pure: text in, error out.

supervisor.py asks when a process ends before it was ready, or is given up.
"""

import json
import re
from dataclasses import dataclass

from app.embedded.errors import PortTaken, StackError

_QUOTED_LINES = 3
_QUOTED_LINE_CHARS = 240


@dataclass(frozen=True)
class _Cause:
    """What a server's log says, what it means and what helps."""

    pattern: re.Pattern[str]
    meaning: str
    hint: str
    kind: type[StackError] = StackError


def _cause(pattern: str, meaning: str, hint: str, kind: type[StackError] = StackError) -> _Cause:
    return _Cause(re.compile(pattern, re.IGNORECASE), meaning, hint, kind)


# Read from top to bottom: mongod logs a locked directory and then a general error.
_CAUSES = (
    _cause(
        r"address already in use|addrinuse|port \d+ is already|Errno 98|Errno 48"
        r"|cannot listen on \S+: the port is taken",
        "its port is taken by another program",
        "stop that program or choose another port",
        PortTaken,
    ),
    _cause(
        r"DBPathInUse|another mongod instance is already running",
        "another mongod is using its directory {directory}",
        "stop that mongod, or set BATCHWRIGHT_DATA_DIR to another directory",
    ),
    _cause(
        r"no space left on device|not enough space|disk quota exceeded|OutOfDiskSpace",
        "the disk is full",
        "free some space, or set BATCHWRIGHT_DATA_DIR to another disk",
    ),
    _cause(
        r"read-only file ?system|read-only directory|permission denied|operation not permitted",
        "it may not write to {directory}",
        "give yourself the right to write there, or set BATCHWRIGHT_DATA_DIR to another directory",
    ),
    _cause(
        r"a restore into the database \S+ has begun and not ended",
        "a restore into its database has begun and not ended",
        "repeat it: batchwright restore FILE",
    ),
    _cause(
        r"UPGRADE PROBLEM|featureCompatibilityVersion|can't handle RDB format|incompatible with this version",
        "its data in {directory} was written by another version of the server",
        "use that version again, or move the directory away to start empty",
    ),
    _cause(
        r"WT_TRY_SALVAGE|WT_PANIC|WT_ERROR|corrupt|Bad file format|wrong signature"
        r"|Unexpected end of file|Unrecoverable error reading|checksum (error|mismatch)|read checksum"
        r"|Unable to read the storage engine|Fatal error loading the DB",
        "its data in {directory} is damaged",
        "move the directory away to start empty, or put a backup in its place",
    ),
    _cause(
        r"error while loading shared libraries|GLIBC_|symbol lookup error",
        "a library it needs is missing on this system",
        "install the library named in the log, or name a running server by its URL setting",
    ),
    _cause(r"cannot allocate memory|out of memory", "there is not enough memory", "close some programs"),
)


def explain_end(name: str, returncode: int, log_text: str, *, log_path: str, directory: str) -> StackError:
    """The error for a process that ended although it should run.

    Args:
        returncode: as of Popen: negative = the signal that ended it.
        log_text: what it wrote since it was started.
        directory: where its data lies, for the messages that name it.
    """
    for cause in _CAUSES:
        if cause.pattern.search(log_text):
            meaning = cause.meaning.format(directory=directory)
            return cause.kind(f"{name} did not start, {meaning}", cause.hint)
    quoted = last_words(log_text)
    said = f", its last words: {quoted}" if quoted else ""
    return StackError(f"{name} ended with {_ending(returncode)}{said}", f"the whole log is {log_path}")


def last_words(log_text: str) -> str:
    """The last lines of a log on one line, each shortened; mongod's JSON lines by their message."""
    lines = [line.strip() for line in log_text.splitlines() if line.strip()][-_QUOTED_LINES:]
    return " | ".join(_plain(line)[:_QUOTED_LINE_CHARS] for line in lines)


def _plain(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict) or "msg" not in record:
        return line
    detail = record.get("attr", {})
    reason = detail.get("error") if isinstance(detail, dict) else None
    return f"{record['msg']}: {reason}" if reason else str(record["msg"])


def _ending(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
