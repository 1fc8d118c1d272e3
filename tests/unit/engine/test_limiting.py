"""What a process tells of its calls, and when, over a limiter that writes everything down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from types import SimpleNamespace
from typing import cast

import pytest

from workers.core.errors import (
    BodyTooLarge,
    CallTimeout,
    InternalFault,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    TransportError,
    Untranslatable,
    UnusableReply,
)
from workers.core.lanes import TENANT_LIMITS, Ask, Blocked, Go, NotNow, Owner, Rates, Seen, Verdict
from workers.core.messages import NO_USAGE, Reply, Usage
from workers.engine.limiting import Limiting
from workers.engine.ports import Link
from workers.engine.work import Answered, Failed
from workers.store.limiter import Limiter

pytestmark = pytest.mark.fast
LINK = cast(Link, SimpleNamespace(name="p", rates=Rates()))
RESERVED, USED = 100, Usage(5, 3)


class Written:
    """Grants everything; remembers in which order it was asked and told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.reports: list[Seen] = []
        self.under_way: Mapping[str, int] = {}
        self.asks: list[Ask] = []
        self.owner: Owner | None = None
        self.says: Verdict = Go(0.0)

    async def reserve(
        self,
        provider: str,
        rates: Rates,
        asks: Sequence[Ask],
        *,
        in_flight: Mapping[str, int],
        owner: Owner | None = None,
    ) -> list[Verdict]:
        self.heard.append("asked")
        self.under_way, self.asks, self.owner = dict(in_flight), list(asks), owner
        return [self.says] * len(asks)

    async def report(self, provider: str, rates: Rates, seen: Seen) -> None:
        self.heard.append("told")
        self.reports.append(seen)

    def paused_s(self, provider: str) -> float:
        return 0.0


def limiting() -> tuple[Limiting, Written]:
    written = Written()
    return Limiting(cast(Limiter, written)), written


async def call(limits: Limiting, error: ProviderError | TransportError | None, usage: Usage = USED) -> None:
    await limits.reserve(LINK, [Ask("m", RESERVED)], "t")
    limits.ended(LINK, "m", "t")
    answered = Answered(Reply(body=b"{}", model="m", usage=usage), 1.0, None)
    limits.saw(LINK, "m", Failed(error, 1.0) if error else answered, RESERVED, "t")


@pytest.mark.parametrize(
    ("error", "counts", "used"),
    [
        (None, (1, 0, 0), 8),
        (RateLimited("busy", provider="p"), (0, 1, 0), 0),
        (Overloaded("503", provider="p"), (0, 0, 1), 0),
        (CallTimeout("late", bytes_sent=True), (0, 0, 1), RESERVED),
        (TransportError("refused", bytes_sent=False), (0, 0, 1), 0),
        (RequestRefused("no", provider="p"), (1, 0, 0), 0),
        (UnusableReply("half an answer", provider="p"), (0, 0, 1), RESERVED),
        (BodyTooLarge("flood", bytes_sent=True), (1, 0, 0), RESERVED),
        (Untranslatable("no", provider="p", param="x"), (0, 0, 0), 0),
        (InternalFault("bug", provider="p"), (0, 0, 0), RESERVED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_what_a_call_says_of_its_provider(
    error: ProviderError | TransportError | None, counts: tuple[int, int, int], used: int
) -> None:
    limits, written = limiting()
    await call(limits, error)
    await limits.flush()
    (seen,) = written.reports
    lane = seen.lanes["m"]
    assert (lane.answered, lane.throttled, lane.failed) == counts
    assert (seen.reserved_tokens, seen.used_tokens) == (RESERVED, used)


async def test_calls_that_their_connection_took_with_it_are_one_failure() -> None:
    limits, written = limiting()
    await limits.reserve(LINK, [Ask("m", RESERVED)] * 50, "t")
    for _ in range(50):
        limits.saw(LINK, "m", Failed(TransportError("broke", bytes_sent=True), 1.0), RESERVED, "t")
    limits.saw(LINK, "m", Failed(CallTimeout("late", bytes_sent=True), 1.0), RESERVED, "t")
    limits.saw(LINK, "m", Failed(TransportError("refused", bytes_sent=False), 1.0), RESERVED, "t")
    await limits.flush()
    assert written.reports[-1].lanes["m"].failed == 3


async def test_who_asks_after_trouble_is_answered_with_it_in_mind() -> None:
    limits, written = limiting()
    await call(limits, None)
    await call(limits, Overloaded("503", provider="p"))
    await call(limits, None)
    assert written.heard == ["asked", "asked", "told", "asked"], "and answers can wait"
    assert written.reports[0].in_flight == {}
    # and where a pause came with a refusal of another kind, or calls would be granted and not made, again and again
    await call(limits, RequestRefused("not now", provider="p", retry_after_s=2.0))
    await limits.reserve(LINK, [Ask("m", RESERVED)], "t")
    assert written.heard[-2:] == ["told", "asked"]


async def test_a_pause_is_known_here_before_anybody_is_told() -> None:
    limits, written = limiting()
    await call(limits, RateLimited("busy", provider="p", retry_after_s=2.0))
    assert limits.is_paused(LINK) and written.reports == []


async def test_calls_under_way_are_counted_from_their_grant_to_their_end() -> None:
    limits, written = limiting()
    await limits.reserve(LINK, [Ask("m", 1), Ask("m", 1), Ask("n", 1)], "t")
    limits.ended(LINK, "n", "t")
    await limits.reserve(LINK, [Ask("m", 1)], "t")
    assert written.under_way == {"m": 2}
    limits.not_made(LINK, 1, "t", 0.0)
    await limits.flush()
    assert written.reports[-1].in_flight == {"m": 3}
    assert (written.reports[-1].reserved_tokens, written.reports[-1].used_tokens) == (1, 0)


async def test_a_provider_that_counts_no_tokens_is_believed_to_have_used_what_was_estimated() -> None:
    limits, written = limiting()
    await call(limits, None, NO_USAGE)
    await limits.flush()
    assert written.reports[0].used_tokens == RESERVED


async def test_a_call_that_was_cut_off_keeps_what_it_had_reserved() -> None:
    limits, written = limiting()
    await limits.reserve(LINK, [Ask("m", RESERVED)], "t")
    limits.ended(LINK, "m", "t")
    limits.cut_off(LINK, RESERVED, "t")
    await limits.flush()
    assert (written.reports[0].reserved_tokens, written.reports[0].used_tokens) == (RESERVED, RESERVED)


async def test_a_request_reserves_no_more_than_the_tokens_of_a_minute() -> None:
    # given a request that may write more than its provider takes in a minute: a slip of the pen, mostly
    limits, written = limiting()
    small = cast(Link, SimpleNamespace(name="small", rates=Rates(tokens_per_minute=1000)))
    # when / then: else one lost report would close the provider for as long as the slip is large
    await limits.reserve(small, [Ask("m", 10**12), Ask("m", 10)], "t")
    assert [ask.tokens for ask in written.asks] == [1000, 10]
    limits.not_made(small, 10**12, "t", 0.0)
    await limits.flush()
    assert written.reports[0].reserved_tokens == 1000


async def test_a_long_call_is_told_of_again_while_another_provider_is_busy() -> None:
    # given a call that lasts, and another provider that always has something to say
    clock = count()
    written = Written()
    limits = Limiting(cast(Limiter, written), clock=lambda: next(clock))
    slow = cast(Link, SimpleNamespace(name="slow", rates=Rates(concurrency=1)))
    await limits.reserve(slow, [Ask("m", RESERVED)], "t")
    # when / then: told before it would count as dead
    for _ in range(5):
        await call(limits, None)
        await limits.flush()
    assert [said for said in written.reports if said.in_flight == {"m": 1}], "15 s of silence end a call"


async def test_usage_beyond_all_measure_counts_as_a_minute_s() -> None:
    limits, written = limiting()
    small = cast(Link, SimpleNamespace(name="small", rates=Rates(tokens_per_minute=1000)))
    await limits.reserve(small, [Ask("m", 10)], "t")
    limits.ended(small, "m", "t")
    nonsense = Reply(body=b"{}", model="m", usage=Usage(2**63, 2**63))
    limits.saw(small, "m", Answered(nonsense, 1.0, None), 10, "t")
    await limits.flush()
    assert (written.reports[0].reserved_tokens, written.reports[0].used_tokens) == (10, 1000)


# --- tenants with limits of their own

OF_TENANT = Rates(requests_per_minute=60, tokens_per_minute=50, concurrency=3)


async def test_of_a_tenant_without_limits_nothing_more_is_asked_or_told() -> None:
    limits, written = limiting()
    limits.heed({"another": OF_TENANT})
    await call(limits, None)
    await limits.flush()
    assert written.owner is None and written.reports[-1].owners == {}


async def test_a_tenant_with_limits_is_asked_for_and_told_of_what_its_calls_took() -> None:
    limits, written = limiting()
    limits.heed({"t": OF_TENANT})
    # when three calls start, one is answered, one never leaves and one goes on
    await limits.reserve(LINK, [Ask("m", RESERVED)] * 3, "t")
    await limits.reserve(LINK, [Ask("m", RESERVED)], "other")
    limits.ended(LINK, "m", "t")
    limits.saw(LINK, "m", Answered(Reply(body=b"{}", model="m", usage=USED), 1.0, None), RESERVED, "t")
    limits.ended(LINK, "m", "t")
    limits.not_made(LINK, RESERVED, "t", 0.0)
    await limits.flush()
    # then neither estimate counts for more than a minute's tokens
    (told,) = written.reports[-1].owners.values()
    assert (told.rates, told.in_flight, told.unmade) == (OF_TENANT, 1, 1)
    assert (told.reserved_tokens, told.used_tokens) == (100, 8)
    # and at the next question its calls under way are known, here and everywhere
    await limits.reserve(cast(Link, SimpleNamespace(name="q", rates=Rates())), [Ask("m", 1)], "t")
    assert written.owner == Owner("t", OF_TENANT, in_flight=0, everywhere=1)


async def test_the_last_call_of_a_tenant_is_told_to_have_ended() -> None:
    limits, written = limiting()
    limits.heed({"t": OF_TENANT})
    await call(limits, None)
    await limits.flush()
    assert written.reports[-1].owners["t"].in_flight == 0, "or its place would be taken for 15 s"
    await call(limits, None)
    limits.heed({})
    await limits.flush()
    assert written.reports[-1].owners == {}, "its limits have been lifted meanwhile"


async def test_calls_that_began_before_their_tenant_had_limits_count_from_then_on() -> None:
    limits, written = limiting()
    await limits.reserve(LINK, [Ask("m", 1)] * 3, "t")
    limits.heed({"t": OF_TENANT})
    limits.ended(LINK, "m", "t")
    await limits.reserve(LINK, [Ask("m", 1)], "t")
    assert written.owner == Owner("t", OF_TENANT, in_flight=2, everywhere=2)


@pytest.mark.parametrize("why", TENANT_LIMITS)
async def test_what_a_tenants_limit_refuses_is_no_trouble_of_the_provider(why: Blocked) -> None:
    limits, written = limiting()
    limits.heed({"t": OF_TENANT})
    written.says = NotNow(why, 9.0)
    await limits.reserve(LINK, [Ask("m", 1)], "t")
    assert limits._providers["p"].trouble_until == 0.0 and not limits.is_paused(LINK)
    await limits.flush()
    assert written.reports == [], "and nothing is told of calls that were never granted"
