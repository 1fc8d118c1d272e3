"""Faults on demand: what the words mean. Pure; simulation.py carries them out.

The same words stand in the header `x-sim-fault`, in a marker `[[sim:...]]` anywhere in the request body, and
in the config beside a rate. Parts are parted by `;` or `,`:

    status=429                answer with that error
    retry-after=2             and that header; retry-after-ms=150 is the other one; neither comes by itself
    code=insufficient_quota   and that error code
    latency-ms=500            take that long instead of the usual
    hang                      never answer
    truncated                 half of the true body
    invalid-json              the true body, spoiled so that it is no JSON
    empty                     no body at all
    html                      an HTML page instead; with status=502 a proxy's
    huge=1048576              a valid answer of at least that many bytes
    tools=3                   call tools that often, where the request brings some (see chat.chosen_tools)
    safety                    the prompt is judged unsafe; only Gemini has an answer that says so
    times=2                   only the first 2 answered calls of this very request; then answer normally
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

_MARKER = re.compile(rb"\[\[sim:([^\]\n]{0,256})\]\]")
_BODIES = ("truncated", "invalid-json", "empty", "html")
MAX_HUGE_BYTES = 256 * 1024 * 1024


class FaultError(ValueError):
    """A fault nobody can carry out; the message names the part that is wrong."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. None and False mean: as usual."""

    spec: str
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None
    retry_after_ms: int | None = None
    latency_ms: float | None = None
    hang: bool = False
    body: str | None = None  # one of truncated, invalid-json, empty, html
    huge_bytes: int | None = None
    tool_calls: int | None = None
    safety: bool = False
    times: int | None = None

    @property
    def wait_s(self) -> float | None:
        """The wait asked for, in seconds, by whichever word."""
        return self.retry_after_ms / 1000 if self.retry_after_ms is not None else self.retry_after_s

    def retry_headers(self) -> list[tuple[str, str]]:
        """The waiting headers asked for, none otherwise: a 429 may come without a word on when to return."""
        headers = []
        if self.retry_after_s is not None:
            headers.append(("retry-after", f"{self.retry_after_s:g}"))
        if self.retry_after_ms is not None:
            headers.append(("retry-after-ms", str(self.retry_after_ms)))
        return headers


def marker_in(body: bytes) -> str | None:
    """The words of the first `[[sim:...]]` in a request body, None without one."""
    match = _MARKER.search(body)
    return match[1].decode("utf-8", "replace") if match else None


def parse_fault(spec: str) -> Fault:
    """Read fault words.

    Raises: FaultError naming the part it cannot read.
    """
    fault = Fault(spec=spec)
    for raw in re.split(r"[;,]", spec):
        part = raw.strip()
        if part:
            name, _, value = part.partition("=")
            fault = _with_part(fault, name.strip().lower(), value.strip())
    if fault == Fault(spec=spec):
        raise FaultError(f"fault {spec!r} asks for nothing")
    return fault


def _with_part(fault: Fault, name: str, value: str) -> Fault:
    if name in _BODIES and not value:
        return replace(fault, body=name)
    if name == "hang" and not value:
        return replace(fault, hang=True)
    if name == "safety" and not value:
        return replace(fault, safety=True)
    if name == "code" and value:
        return replace(fault, code=value)
    numbers = _NUMBERS.get(name)
    if numbers is None:
        raise FaultError(f"fault {fault.spec!r}: unknown part {name!r}; known: {', '.join(sorted(KNOWN))}")
    field, low, high, whole = numbers
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise FaultError(f"fault {fault.spec!r}: {name} is a number from {low:g} to {high:g}, got {value!r}")
    changed: dict[str, float] = {field: number}
    return replace(fault, **changed)  # type: ignore[arg-type]  # the table pairs each field with its own type


# word -> (field, least, most, whole number)
_NUMBERS: Mapping[str, tuple[str, float, float, bool]] = {
    "status": ("status", 400, 599, True),
    "retry-after": ("retry_after_s", 0, 86_400, False),
    "retry-after-ms": ("retry_after_ms", 0, 86_400_000, True),
    "latency-ms": ("latency_ms", 0, 3_600_000, False),
    "huge": ("huge_bytes", 1, MAX_HUGE_BYTES, True),
    "tools": ("tool_calls", 1, 16, True),
    "times": ("times", 1, 1_000_000, True),
}
KNOWN = frozenset({*_NUMBERS, *_BODIES, "hang", "safety", "code"})
