"""How long a batch may take: its completion window in words. Pure; the API checks by it, creation.py reads it."""

from __future__ import annotations

import re

_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
_HOUR_S, _DAY_S = 3600, 86_400
_MAX_WINDOW_S = 7 * _DAY_S


def window_s(text: str) -> int | None:
    """Seconds of a completion window `<n>h` or `<n>d` from 1 hour to 7 days; None for anything else."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        return None
    seconds = int(match[1]) * (_HOUR_S if match[2] == "h" else _DAY_S)
    return seconds if seconds <= _MAX_WINDOW_S else None
