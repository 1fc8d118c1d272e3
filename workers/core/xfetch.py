"""When to ask anew for a kept answer that is about to expire, so that those who share it do not all ask at once.

Source: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", PVLDB 8 (2015), the
algorithm XFetch: asked at `now`, refresh when now - delta * beta * ln(u) >= expiry. Pure: time and draw are arguments.
"""

from __future__ import annotations

import math


def is_due(now_s: float, *, expires_s: float, took_ms: float, beta: float, draw: float) -> bool:
    """Whether this look-up should count as a miss, so that its asker renews the answer before it is gone.

    After `expires_s` it never is: an answer that is still there then has been given a longer life.

    Args:
        took_ms: how long the answer took to get (the paper's delta): what takes longer is renewed earlier.
        beta: 1 is the paper's optimum; more is earlier, 0 is never before the end.
        draw: uniform in [0, 1).
    """
    if now_s >= expires_s:
        return False
    return now_s - took_ms / 1000.0 * beta * math.log(1.0 - draw) >= expires_s
