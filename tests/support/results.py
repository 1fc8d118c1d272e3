"""Random results for property tests: every kind of end an item can have."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from workers.core.messages import NEVER_RAN_CODES, Attempt, ItemError, Result, Source, Usage

_TOKENS = st.integers(0, 100_000)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_USAGE = st.builds(Usage, _TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS)
_SOURCES: list[Source] = ["call", "cache", "coalesced"]
_MILLISECONDS = st.integers(0, 10**6).map(lambda n: n / 1000)
ATTEMPTS = st.builds(
    Attempt,
    at=st.floats(0, 2e9),
    provider=st.sampled_from(["openai", "acme"]),
    code=st.sampled_from(["timeout", "rate_limited"]),
    status=st.none() | st.integers(400, 599),
    then=st.sampled_from(["retry", "hand_over", "give_up"]),
    wait_s=_MILLISECONDS,
    excess=st.booleans(),
)
WAITS = st.dictionaries(st.sampled_from(["limit", "retry", "breaker"]), _MILLISECONDS, max_size=2)
_BODIES = st.dictionaries(_TEXT, _TEXT | st.integers(-(2**53), 2**53), max_size=3)


def _common(line: st.SearchStrategy[int]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "line": line,
        "custom_id": _TEXT,
        "calls": st.integers(0, 5),
        "excess": st.integers(0, 2),
        "asks_again": st.integers(0, 2),
        # Thousandths: sums of them are the same in every order but for the last bits.
        "cost_usd": st.none() | st.integers(0, 10_000).map(lambda n: n / 1000),
        "saved_usd": st.none() | st.integers(0, 10_000).map(lambda n: n / 1000),
        "latency_ms": st.integers(0, 10**6).map(float),
        "usage": _USAGE,
        "model": _TEXT,
        "request_id": st.none() | _TEXT,
        "warnings": st.lists(_TEXT, max_size=2).map(tuple),
        "attempts": st.lists(ATTEMPTS, max_size=2).map(tuple),
        "waited_s": WAITS,
    }


def results(line: st.SearchStrategy[int]) -> st.SearchStrategy[Result]:
    """Answers, those beside their schema, providers' refusals, failures without HTTP, closing and rejected rows."""
    common = _common(line)
    bodies = _BODIES.map(orjson.dumps)
    errors = st.builds(ItemError, st.sampled_from(["timeout", "connection_failed"]), _TEXT)
    beside = st.builds(ItemError, st.just("schema_mismatch"), _TEXT)
    closing = st.builds(ItemError, st.sampled_from([*NEVER_RAN_CODES, "invalid_json_line"]), _TEXT)
    sources = st.sampled_from(_SOURCES)
    return st.one_of(
        st.builds(Result, source=sources, status_code=st.just(200), body=bodies, **common),
        st.builds(Result, source=sources, status_code=st.just(200), body=bodies, error=beside, **common),
        st.builds(Result, source=sources, status_code=st.integers(400, 599), body=bodies, **common),
        st.builds(Result, source=st.just("call"), error=errors, **common),
        st.builds(Result, source=st.just("none"), error=closing, **common),
    )


RESULTS = results(st.integers(1, 10**6))
