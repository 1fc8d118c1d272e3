"""Tokens before anyone counted them, and the arithmetic of waiting for a limit.

store/limiter.py lets Redis decide what is permitted; here stands only what needs no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.core.tokens import estimate_input_tokens, estimate_output_tokens

BYTES_PER_TOKEN = 4
BURST_SHARE = 0.1
# No answer is longer; a cap beyond it is a slip, and the sum of a shard's must fit 64 bits.
MOST_TOKENS = 10**9
PARK_AFTER_S = 2.0


def estimate_tokens(request_bytes: int, body: Mapping[str, Any], endpoint: str = "") -> int:
    """Input and output of a request together, at least 1, under five microseconds for 2 KB of prose.

    Input by the kinds of its characters (by size, four bytes a token, for a body of unknown shape), output by the
    cap the request names, times its choices. An estimate reserves, true usage settles; so it errs on the side of
    what the request may cost. At most a billion, whatever cap it names.
    """
    tokens = estimate_input_tokens(body) or request_bytes // BYTES_PER_TOKEN
    return max(1, min(tokens + estimate_output_tokens(body, endpoint), MOST_TOKENS))


def must_park(wait_s: float) -> bool:
    """Whether a slot is better given back than held: the next permitted call is over two seconds away."""
    return wait_s > PARK_AFTER_S


def burst_of(per_minute: int) -> int:
    """What may be spent at once after a pause: a tenth of the minute, at least one."""
    return max(1, int(per_minute * BURST_SHARE))
