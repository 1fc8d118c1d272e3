"""What calls and waits for limits came to, for `/metrics`: once for a call, and once for a chunk of waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workers import metrics
from workers.core.errors import (
    CallTimeout,
    InternalFault,
    Overloaded,
    RateLimited,
    TransportError,
    UnusableReply,
)
from workers.core.lanes import Go, Verdict
from workers.engine.work import Answered, Failed
from workers.observed import OBSERVED

# The first that fits.
_WORDS: Final = (
    (RateLimited, "rate_limited"),
    (Overloaded, "overloaded"),
    (CallTimeout, "timeout"),
    (TransportError, "broken"),
    (UnusableReply, "unusable"),
    (InternalFault, "engine"),
)


def count_call(provider: str, outcome: Answered | Failed) -> None:
    """How long a call took, under what came of it."""
    OBSERVED.time(metrics.LLM_SECONDS, provider, _word(outcome), seconds=outcome.latency_ms / 1000)


def count_waits(provider: str, verdicts: Sequence[Verdict]) -> None:
    """What the calls of a chunk were told to wait for, and how long."""
    waits_s: dict[str, list[float]] = {}
    for verdict in verdicts:
        if verdict.wait_s > 0:
            why: str = "pace" if isinstance(verdict, Go) else verdict.why
            waits_s.setdefault(why, []).append(verdict.wait_s)
    for reason, each in waits_s.items():
        OBSERVED.count(metrics.LIMITER_WAITS, provider, reason, by=len(each))
        OBSERVED.count(metrics.LIMITER_WAIT_SECONDS, provider, reason, by=sum(each))


def _word(outcome: Answered | Failed) -> str:
    if isinstance(outcome, Answered):
        return "ok"
    return next((word for kind, word in _WORDS if isinstance(outcome.error, kind)), "refused")
