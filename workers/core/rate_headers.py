"""What a provider says of its own limits in the headers of any answer.

OpenAI (platform.openai.com/docs/guides/rate-limits): `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, the
reset as a duration such as `6m0s`. Anthropic (docs.anthropic.com/en/api/rate-limits):
`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, the reset as a time
(RFC 3339). Both resets mean: when the whole limit is there again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Kind = Literal["requests", "tokens"]

LONGEST_S = 900.0  # nobody sleeps longer on a provider's word
FRESH_S = 60.0  # a limit is for a minute; what nobody has repeated for so long is not known any more

_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_TOKENS = ("tokens", "input-tokens", "output-tokens")


@dataclass(frozen=True, slots=True)
class Allowance:
    """`left` of `limit`; one more comes back every `step_ms`. Not to be believed for longer than `fresh_s`."""

    kind: Kind
    limit: float
    left: float
    step_ms: float
    fresh_s: float


def allowances(headers: Mapping[str, str], *, now_s: float) -> list[Allowance]:
    """At most one for requests and one for tokens: of several kinds of tokens the one with the least left.

    Args:
        headers: names in lower case.
        now_s: Unix time, used where the answer has no `date` of its own.
    What is incomplete or makes no sense is as if it were not there.
    """
    if not any("ratelimit" in name for name in headers):
        return []
    sent_s = _date_s(headers.get("date"))
    now_s = now_s if sent_s is None else sent_s
    found: list[Allowance] = []
    for kind, names in (("requests", ("requests",)), ("tokens", _TOKENS)):
        said = [
            allowance
            for name in names
            for limit, left, reset in (_openai(headers, name), _anthropic(headers, name))
            if (
                allowance := _allowance(
                    "requests" if kind == "requests" else "tokens", limit, left, reset, now_s
                )
            )
        ]
        found += sorted(said, key=lambda allowance: allowance.left)[:1]
    return found


_Said = tuple[str | None, str | None, str | None]


def _openai(headers: Mapping[str, str], name: str) -> _Said:
    limit, left, reset = (
        headers.get(f"x-ratelimit-{word}-{name}") for word in ("limit", "remaining", "reset")
    )
    return limit, left, reset


def _anthropic(headers: Mapping[str, str], name: str) -> _Said:
    limit, left, reset = (
        headers.get(f"anthropic-ratelimit-{name}-{word}") for word in ("limit", "remaining", "reset")
    )
    return limit, left, reset


def _allowance(
    kind: Kind, limit: str | None, left: str | None, reset: str | None, now_s: float
) -> Allowance | None:
    most, rest, reset_s = _number(limit), _number(left), _reset_s(reset, now_s)
    if most is None or most < 1 or rest is None or reset_s is None:
        return None
    rest = min(rest, most)
    # A share has been used and is back in reset_s. Nothing used, or a time in the past, tells no pace: a minute's.
    step_ms = reset_s * 1000 / (most - rest) if rest < most and reset_s > 0 else 60_000 / most
    step_ms = min(step_ms, LONGEST_S * 1000)
    return Allowance(kind, most, rest, step_ms, fresh_s=min(max(FRESH_S, reset_s), LONGEST_S))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value < 1e15 else None


def _reset_s(text: str | None, now_s: float) -> float | None:
    if not text or len(text) > 64:
        return None
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if (seconds := _number(text)) is not None:
        return seconds if seconds < 86_400 * 31 else None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if until.tzinfo is None else max(0.0, until.timestamp() - now_s)


def _date_s(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError):
        return None
