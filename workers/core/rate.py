"""Tokens before anyone counted them, and the arithmetic of waiting for a limit.

store/limits.py lets Redis decide what is permitted; here stands only what needs no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 4
DEFAULT_OUTPUT_TOKENS = 256
BURST_SHARE = 0.1
PARK_AFTER_S = 2.0


def estimate_tokens(request_bytes: int, body: Mapping[str, Any]) -> int:
    """Input by size (four bytes a token) plus the output cap the request names, times its choices.

    An estimate reserves, true usage settles; so it errs on the side of what the request may cost.
    """
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    output = 0 if "input" in body and "messages" not in body else DEFAULT_OUTPUT_TOKENS
    if isinstance(cap, int) and cap > 0:
        output = cap
    choices = body.get("n")
    return (
        request_bytes // BYTES_PER_TOKEN
        + 1
        + output * (choices if isinstance(choices, int) and choices > 0 else 1)
    )


def must_park(wait_s: float) -> bool:
    """Whether a slot is better given back than held: the next permitted call is over two seconds away."""
    return wait_s > PARK_AFTER_S


def burst_of(per_minute: int) -> int:
    """What may be spent at once after a pause: a tenth of the minute, at least one."""
    return max(1, int(per_minute * BURST_SHARE))
