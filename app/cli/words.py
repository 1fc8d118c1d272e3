"""Numbers as people read them. Pure; every function gives short text without line breaks."""

from __future__ import annotations

import json
import re
import textwrap
from datetime import UTC, datetime

# Beside the control characters: what breaks a line or turns its direction, and what UTF-8 cannot write.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# A number of its own, not the end of an address or a name.
_NUMBER = re.compile(r"(?<![^\s(])([+\-$]?[\d.,]*\d) (?=[A-Za-z])")
_UNITS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def count(number: int) -> str:
    """1234567 -> 1,234,567."""
    return f"{number:,}"


def short(number: float) -> str:
    """Three digits and a unit: 950, 12.3k, 4.57M."""
    for size, unit in _UNITS:
        # From 999.5 of the smaller unit on, rounding to three digits already needs the larger one.
        if number >= size * 0.9995:
            value = number / size
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.3g}{unit}"
    return f"{number:.0f}"


def rate(per_second: float) -> str:
    """Items a second: 0.25, 3.1, 412."""
    if per_second >= 1_000:
        return count(round(per_second))
    return f"{per_second:.0f}" if per_second >= 99.5 else f"{per_second:.2g}" if per_second > 0 else "0"


def money(usd: float | None) -> str:
    """US dollars, with digits enough to tell a small sum from nothing."""
    if usd is None:
        return "unknown"
    if usd == 0:
        return "$0"
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.4f}" if usd >= 0.00005 else "<$0.0001"


def duration(seconds: float) -> str:
    """0.8 s, 42 s, 3:07 min, 2:03:04 h, 3 d 4 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest_s:02d} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}:{minutes:02d}:{rest_s:02d} h"
    return f"{hours // 24} d {hours % 24} h"


def brief(seconds: float) -> str:
    """The same where there is little room: 42s, 3m07, 2h03, 3d."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole}s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest_s:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}" if hours < 48 else f"{hours // 24}d"


def size(number_of_bytes: float) -> str:
    """12 B, 3.4 kB, 274 MB, 2.0 GB, in steps of 1,000 as disks and model libraries count."""
    value, unit = float(number_of_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def moment(unix_s: float) -> str:
    """A time in the reader's own zone."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def things(number: int, one: str, many: str | None = None) -> str:
    """`1 item`, `1,000 items`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def clean(text: str) -> str:
    """Text from elsewhere without line breaks and escape codes, at its whole length."""
    return _CONTROL.sub(" ", text)


def escaped(text: str) -> str:
    """Text from elsewhere with its line breaks and escape codes visible, so that two names stay two."""
    return _CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text)


def json_line(data: object) -> str:
    """One line of JSON that a terminal can show too: what `clean` takes out is escaped here."""
    return escaped(json.dumps(data, ensure_ascii=False))


def one_line(text: str, limit: int = 300) -> str:
    """Text from elsewhere made fit for a terminal: no line breaks, no escape codes, not endless."""
    flat = clean(text).strip()
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def folded(text: str, width: int | None) -> list[str]:
    """Lines of this width (20 at least), words whole; one as long as it is for None."""
    if width is None:
        return [text] if text else []
    # A number stays with its unit; a path or an address that is longer than the line stays whole, to be copied.
    glued = _NUMBER.sub("\\1\u00a0", text)
    lines = textwrap.wrap(glued, max(20, width), break_long_words=False, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines]


def shortened(name: str, width: int) -> str:
    """A name that fits: the middle goes, since beginnings and ends tell files apart."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"
