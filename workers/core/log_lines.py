"""What a log line may say, and how: no key, no control character, one line an event. Pure.

telemetry.py makes every line of every process with it, and `batchwright logs` reads them back by `read_line`.

    2026-11-21T10:00:00.123456Z INFO batchwright.api request method=GET path=/v1/batches status=200 ms=1.8
    {"timestamp":"2026-11-21T10:00:00.123456Z","level":"info","logger":"batchwright.api","event":"request",...}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from workers.core.api_keys import SHORTEST_SECRET, without_secrets

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_HEAD = ("timestamp", "level", "logger", "event")
EXCEPTION: Final = "exception"
# Whoever sends a path of 64 KB must not fill the disk with it.
_LONGEST = 4_000
_DEEPEST = 5
_LONG_NAME = 20
_MOST = 100
# C0, DEL and C1 drive terminals; U+2028 and U+2029 end a line for some readers; the others turn text around.
_CONTROL_CODES = (
    *range(32),
    *range(127, 160),
    0x061C,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
_CONTROL = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in _CONTROL_CODES}
# A traceback keeps its lines and tabs.
_CONTROL_IN_TRACEBACKS = {code: shown for code, shown in _CONTROL.items() if code not in (9, 10)}
_CONTROL_IN_JSON = {code: f"\\u{code:04x}" for code in _CONTROL_CODES}
# What may stand behind `name=` as it is.
_PLAIN = re.compile(r"[!#-<>-~]+")
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_DIM, _END = "\x1b[2m", "\x1b[0m"
_TEXT_LINE = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) ([A-Z]+) (\S+) (.*)", re.DOTALL)
# Redis: `1:M 21 Nov 2026 10:00:00.123 * text`, in the machine's own time.
_REDIS_LINE = re.compile(r"\d+:[A-Z] (\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3}) ([.\-*#])")
_REDIS_LEVELS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}
_MONGO_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical", "D": "debug"}


def cleaned(value: Any, hidden: re.Pattern[str] | None = None, deep: int = 0) -> Any:
    """The value as a line may show it: of keys the beginning, wherever they stand, and nothing without end.

    Args:
        hidden: matches secrets that have no form of their own.
    """
    if isinstance(value, str):
        return _text(value, hidden)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if deep >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        kept = list(value.items())[:_MOST]
        return {_text(str(name), hidden): cleaned(each, hidden, deep + 1) for name, each in kept}
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(each, hidden, deep + 1) for each in list(value)[:_MOST]]
    return _text(_said(value), hidden)


def cleaned_event(event: Mapping[str, Any], hidden: re.Pattern[str] | None = None) -> dict[str, Any]:
    """All fields of an event, cleaned; a traceback is kept whole."""
    found = {}
    for name, value in event.items():
        if name == EXCEPTION:
            found[name] = _masked(str(value), hidden)
        else:
            # Our own names are short; what is not may hold anything.
            found[name if len(name) < _LONG_NAME else _text(name, hidden)] = cleaned(value, hidden)
    return found


def as_json(event: Mapping[str, Any]) -> str:
    """A cleaned event as one JSON object, which no terminal takes for anything else."""
    ordered = {name: event[name] for name in _HEAD if name in event}
    text = orjson.dumps(ordered | dict(event)).decode()
    return text if text.isascii() and "\x7f" not in text else text.translate(_CONTROL_IN_JSON)


def as_text(event: Mapping[str, Any], *, coloured: bool = False) -> str:
    """A cleaned event as a line for people; a traceback follows on lines of its own."""
    level = str(event["level"])
    head = f"{event['timestamp']} {level.upper()} {event['logger']} {_escaped(event['event'])}"
    fields = "".join(
        f" {name if name.isidentifier() else _shown(name)}={_shown(value)}"
        for name, value in event.items()
        if name not in _HEAD and name != EXCEPTION
    )
    if coloured:
        head = f"{_COLOURS[level]}{head}{_END}" if level in _COLOURS else head
        fields = f"{_DIM}{fields}{_END}" if fields else ""
    traceback = event.get(EXCEPTION)
    if traceback is None:
        return head + fields
    return f"{head}{fields}\n{str(traceback).translate(_CONTROL_IN_TRACEBACKS)}"


@dataclass(frozen=True, slots=True)
class Line:
    """What a line of a log says of itself; `at` (Unix seconds) and `level` are None where it does not.

    `text` is the line for people, without an escape code. `fields`: those of a line of JSON.
    """

    text: str
    at: float | None = None
    level: str | None = None
    fields: Mapping[str, Any] | None = None


def read_line(raw: str) -> Line:
    """A line of ours in either form, of MongoDB or of Redis; of any other only the text."""
    if raw.startswith("{"):
        found = _json_line(raw)
        if found is not None:
            return found
    text = raw.translate(_CONTROL)
    if match := _TEXT_LINE.fullmatch(text):
        level = match[2].lower()
        return Line(text, _moment(match[1]), level if level in LEVELS else None)
    if match := _REDIS_LINE.match(text):
        at = datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").astimezone()
        return Line(text, at.timestamp(), _REDIS_LEVELS[match[2]])
    return Line(text)


def coloured(text: str, level: str | None) -> str:
    """The text in the colour of its level."""
    colour = _COLOURS.get(level or "")
    return f"{colour}{text}{_END}" if colour else text


def _json_line(raw: str) -> Line | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(found.get("t"), dict) and "c" in found:  # MongoDB's own
        level = _MONGO_LEVELS.get(str(found.get("s"))[:1])
        return Line(raw.translate(_CONTROL), _moment(str(found["t"].get("$date"))), level, found)
    if not all(name in found for name in _HEAD):
        return None
    event = cleaned_event(found)
    # Of our own lines these are plain; whose line this is nobody knows.
    event |= {name: _escaped(event[name]) for name in _HEAD}
    return Line(as_text(event), _moment(str(found["timestamp"])), str(found["level"]), event)


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _said(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value[:_LONGEST]).decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value that cannot be shown must not cost the line
        return type(value).__name__


def _text(value: str, hidden: re.Pattern[str] | None) -> str:
    if len(value) < SHORTEST_SECRET and hidden is None and value.isascii():
        return value
    value = _masked(value, hidden)
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


def _masked(value: str, hidden: re.Pattern[str] | None) -> str:
    if not value.isascii():
        # Half a surrogate pair, as a path may hold one, can be written to no stream.
        value = value.encode("utf-8", "backslashreplace").decode()
    if hidden is not None:
        value = hidden.sub("********", value)
    return without_secrets(value)


def _escaped(value: Any) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROL)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value.translate(_CONTROL), ensure_ascii=False)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False).translate(_CONTROL)
    return "-" if value is None else str(value)
