"""What the limiter's scripts are told and what they say, in their own words (lua/reserve_calls.lua, report_calls.lua).

store/limiter.py asks and tells; nothing here knows a connection.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import orjson

from workers.core.gcra import AHEAD_MS
from workers.core.lanes import Ask, Blocked, Go, NotNow, Owner, OwnerSeen, Rates, Seen, Verdict
from workers.core.rate import burst_of
from workers.core.rate_headers import allowances

# A process that says nothing for so long is dead, and its calls under way count no more.
HOLDER_MS = 15_000
GO_NOW = Go(0.0)
_WORDS: dict[str, Blocked] = {
    "p": "paused",
    "l": "limit",
    "c": "concurrency",
    "R": "tenant_requests",
    "T": "tenant_tokens",
    "C": "tenant_concurrency",
}
_WORDS_OF_A_LANE: dict[str, Blocked] = {"w": "paused", "g": "limit", "b": "breaker"}
Words = list[str | bytes | float]


def reservation(
    rates: Rates, asks: Sequence[Ask], calls: dict[str, int], outstanding_tokens: int
) -> list[str | bytes | float]:
    """The arguments of a reservation behind its number and holder; `calls`: under way, by model."""
    rpm, tpm = rates.requests_per_minute or 0, rates.tokens_per_minute or 0
    tokens = [ask.tokens for ask in asks]
    number: dict[str, int] = {}
    runs, after = [], calls.copy()
    for model, run in groupby([ask.model for ask in asks]):
        count = len(list(run))
        runs.append(f"{count}:{number.setdefault(model, len(number) + 1)}")
        after[model] = after.get(model, 0) + count
    return [
        rpm,
        burst_of(rpm) if rpm else 0,
        tpm,
        burst_of(tpm) if tpm else 0,
        rates.concurrency or 0,
        AHEAD_MS,
        HOLDER_MS,
        outstanding_tokens,
        orjson.dumps(calls),
        orjson.dumps(after),
        len(asks),
        sum(tokens),
        ",".join(runs),
        str(tokens),  # the script takes the digits; this is the fastest way to write them
        *number,
    ]


def of_owner(owner: Owner, asks: Sequence[Ask], in_flight: int, field: str) -> bytes:
    """What a reservation says of the tenant whose calls these are; `field`: who has `in_flight` of them under way."""
    most = owner.rates.tokens_per_minute or 0
    said = {
        "buckets": list(_buckets(owner.rates)),
        "concurrency": owner.rates.concurrency or 0,
        "field": field,
        "in_flight": in_flight,
        "most_tokens": most,
        "tokens": sum(min(ask.tokens, most) for ask in asks),
    }
    return orjson.dumps(said)


def verdicts(reply: str) -> Iterator[tuple[Verdict, int]]:
    """What a reservation was answered: each verdict with how many asks it holds for, in their order."""
    for run in reply.split(",") if reply else ():
        word, _, count = run.partition("*")
        yield _verdict(word), int(count)


def report(
    rates: Rates, seen: Seen, calls: Mapping[str, int], outstanding_tokens: int, pause_s: float
) -> Words:
    """The arguments of a report behind its number and holder, without the breaker's rules and the tenants."""
    lanes = [(model, lane.answered, lane.throttled, lane.failed) for model, lane in seen.lanes.items()]
    said = [
        (one.kind, one.limit, one.left, one.step_ms, one.fresh_s * 1000)
        for one in allowances(seen.headers, now_s=time.time())
    ]
    return [
        rates.tokens_per_minute or 0,
        seen.used_tokens - seen.reserved_tokens,
        math.ceil(pause_s * 1000),
        HOLDER_MS,
        outstanding_tokens,
        orjson.dumps(dict(calls)),
        orjson.dumps(lanes),
        orjson.dumps(said),
    ]


def of_owners(seen: Mapping[str, OwnerSeen], in_flight: Mapping[str, int], field: str) -> bytes:
    """What a report says of tenants, in their order."""
    told = [(field, in_flight[tenant], list(_shifts(one))) for tenant, one in seen.items()]
    return orjson.dumps(told)


def _buckets(rates: Rates) -> Iterator[tuple[str, bool, int, int]]:
    for kind, per_minute in (("requests", rates.requests_per_minute), ("tokens", rates.tokens_per_minute)):
        if per_minute:
            yield f"{kind}:{per_minute}", kind == "tokens", per_minute, burst_of(per_minute)


def _shifts(seen: OwnerSeen) -> Iterator[tuple[str, float]]:
    """By how many milliseconds each bucket is full again later; less than nothing for what was given back."""
    for bucket, counts_tokens, per_minute, _ in _buckets(seen.rates):
        step_ms = 60_000 / per_minute
        if counts_tokens:
            by_ms = step_ms * (seen.used_tokens - seen.reserved_tokens)
        else:
            # As core/gcra.py's Bucket.give_back, and for its reason.
            by_ms = -max(0.0, step_ms * seen.unmade - seen.unmade_age_s * 1000)
        if by_ms:
            yield bucket, by_ms


def _verdict(word: str) -> Verdict:
    if word == "0":
        return GO_NOW
    if word[0] in _WORDS:
        return NotNow(_WORDS[word[0]], int(word[1:]) / 1000)
    if word[0] in _WORDS_OF_A_LANE:
        return NotNow(_WORDS_OF_A_LANE[word[0]], int(word[1:]) / 1000, lane=True)
    return Go(int(word) / 1000)
