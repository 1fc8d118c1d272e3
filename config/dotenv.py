"""Read a `.env` file: `NAME=value` lines, with `export`, quotes and comments, and no expansion.

Our own twenty lines, since a `$` inside a password must stay a `$` and every fault names its line.
"""

from __future__ import annotations

import re
from pathlib import Path

from config.errors import SettingsError
from config.secret import HIDDEN

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<rest>.*)")
_SINGLE = re.compile(r"'(?P<text>[^']*)'\s*(?:#.*)?")
_DOUBLE = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def read_dotenv(path: Path) -> dict[str, str]:
    """All names of the file with their values; a name given twice keeps the last.

    Raises: SettingsError naming file and line. The line's text is not repeated: it may hold a key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(".env", str(path), "a readable UTF-8 file", str(error)) from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        name, value = _read_line(content, f"{path} line {number}")
        values[name] = value
    return values


def _read_line(line: str, source: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise SettingsError(".env", source, "NAME=value", HIDDEN)
    name, rest = match["name"], match["rest"]
    if rest.startswith("'"):
        quoted, unescape = _SINGLE.fullmatch(rest), False
    elif rest.startswith('"'):
        quoted, unescape = _DOUBLE.fullmatch(rest), True
    else:
        # An inline comment needs a blank before its `#`: passwords and URLs contain bare ones.
        return name, re.split(r"(?:^|\s+)#", rest, maxsplit=1)[0].rstrip()
    if quoted is None:
        raise SettingsError(name, source, "a value whose quotes end on its own line", HIDDEN)
    text = quoted["text"]
    return name, re.sub(r"\\(.)", lambda m: _ESCAPED.get(m[1], m[1]), text) if unescape else text
