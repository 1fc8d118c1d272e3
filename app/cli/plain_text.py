"""What a terminal whose encoding lacks a letter is shown in its place: a sign like it, or its JSON escape.

Under `LC_ALL=C` or a Latin-1 locale a bar, a tick or a name from elsewhere would end a command in the middle. Escapes
are those of JSON (RFC 8259, section 7); in a line of JSON, where signs are somebody's data, there is nothing else.
"""

from __future__ import annotations

import codecs
import io
from typing import Final, TextIO

_HANDLER: Final = "batchwright-plain"
# Those that refuse what they cannot say; others were chosen by somebody.
_REFUSING: Final = ("strict", "surrogateescape")
_LIKE: Final = {"━": "#", "─": "-", "…": "~", "·": "-", "✓": "+", "✗": "x"}


def speak_plainly(*streams: TextIO) -> None:
    """From here on these streams show what they can, and never raise UnicodeEncodeError."""
    codecs.register_error(_HANDLER, _in_place_of)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _REFUSING:
            stream.reconfigure(errors=_HANDLER)


def json_for(line: str, encoding: str | None) -> str:
    """A line of JSON that says the same in this encoding; None: in any."""
    try:
        line.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return "".join(letter if letter.isascii() else _escape(letter) for letter in line)
    return line


def _in_place_of(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(letter: str) -> str:
    return _LIKE.get(letter) or _escape(letter)


def _escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
