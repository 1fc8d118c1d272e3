"""What a tenant's own limits let through: queue, storage, and which of its shards are sent off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.fairness import AHEAD_S, Out, Waiting, choose, within_limits
from workers.core.gcra import AHEAD_MS, Bucket
from workers.core.lanes import TENANT_LIMITS, Rates
from workers.core.progress_texts import REST
from workers.core.rate import burst_of
from workers.core.tenancy import LIMIT_NAMES, TenantLimits, TenantRules
from workers.core.tenant_limits import beyond_queue, beyond_storage, queue_is_full, rates_of

pytestmark = pytest.mark.fast
COUNTS = st.integers(0, 10**7)


@given(COUNTS, COUNTS, st.none() | COUNTS)
def test_a_batch_is_accepted_exactly_while_the_queue_stays_within_its_limit(
    queued: int, wanted: int, most: int | None
) -> None:
    problem = beyond_queue(queued, wanted, most)
    assert (problem is None) == (most is None or queued + wanted <= most)
    if problem is not None:
        assert problem.code == "queued_items_limit"
        assert all(f"{number:,}" in problem.message for number in (queued, wanted, most))
        assert ("create this one again" in problem.message) == (wanted <= (most or 0)), "or it never fits"


@given(COUNTS, COUNTS)
def test_no_batch_is_made_while_the_queue_is_full(queued: int, most: int) -> None:
    assert (queue_is_full(queued, most) is None) == (queued < most)


@given(COUNTS, COUNTS, COUNTS)
def test_a_file_is_kept_exactly_while_the_storage_stays_within_its_limit(
    stored: int, size: int, most: int
) -> None:
    assert (beyond_storage(stored, size, most) is None) == (stored + size <= most)


def test_only_tenants_whose_calls_are_limited_have_rates() -> None:
    rules = {
        "free": TenantRules(weight=2.0),
        "stored": TenantRules(limits=TenantLimits(max_queued_items=1, max_storage_bytes=1)),
        "limited": TenantRules(limits=TenantLimits(tokens_per_minute=7, max_concurrency=2)),
    }
    assert rates_of(rules) == {"limited": Rates(None, 7, 2)}


@pytest.mark.parametrize("reason", TENANT_LIMITS)
def test_every_reason_is_explained_by_the_name_of_a_limit_that_can_be_set(reason: str) -> None:
    assert sum(f"({name})" in REST[reason] for name in LIMIT_NAMES) == 1


# --- what is sent off


def shards(tenant: str, count: int, items: int = 10) -> list[Waiting]:
    return [
        Waiting(f"{tenant}-{n:04d}", tenant, f"batch_{tenant}", items * 100, 0, items) for n in range(count)
    ]


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 30)),
    st.dictionaries(
        st.sampled_from("abc"),
        st.builds(
            Rates,
            st.none() | st.integers(1, 600),
            st.none() | st.integers(1, 60_000),
            st.none() | st.integers(1, 9),
        ),
    ),
    st.integers(0, 20),
)
def test_of_a_limited_tenant_so_much_is_sent_off_as_it_can_call_soon_and_all_of_the_others(
    queued: dict[str, int], limits: dict[str, Rates], out: int
) -> None:
    waiting = [shard for tenant, count in queued.items() for shard in shards(tenant, count)]
    theirs = Out(shards=out, unstarted_items=out * 10, unstarted_tokens=out * 1000)
    kept = within_limits(waiting, Out(of_tenant={"a": theirs}), limits)
    for tenant, count in queued.items():
        sent = [shard for shard in kept if shard.tenant == tenant]
        rates, before = limits.get(tenant, Rates()), theirs if tenant == "a" else Out()
        assert sent == shards(tenant, count)[: len(sent)], "the oldest of a batch first"
        if not rates.limited:
            assert len(sent) == count
        if rates.concurrency is not None:
            assert len(sent) + before.shards <= max(rates.concurrency, before.shards)
        if rates.requests_per_minute is not None and sent:
            ahead = before.unstarted_items + sum(shard.items for shard in sent[:-1])
            assert ahead < rates.requests_per_minute / 60 * AHEAD_S
    if queued and not limits:
        assert kept == waiting


def test_what_a_limited_tenant_cannot_use_goes_to_the_others() -> None:
    # given: who has least out comes first, and that is the one whose limit is used up
    out = Out(tokens={"large": 10_000}, of_tenant={"small": Out(1, {}, 10, 1000)})
    waiting = [*shards("small", 8), *shards("large", 8)]
    kept = within_limits(waiting, out, {"small": Rates(60)})
    assert [shard.tenant for shard in choose(kept, out.tokens, {}, 4)] == ["large"] * 4


# --- what is given back


@given(
    st.integers(5, 1000),
    st.lists(
        st.tuples(st.floats(0, 20_000), st.integers(0, 40), st.integers(0, 40), st.floats(0, AHEAD_MS)),
        min_size=1,
        max_size=30,
    ),
)
def test_what_is_given_back_lets_no_more_through_than_if_it_had_never_been_taken(
    per_minute: int, steps: list[tuple[float, int, int, float]]
) -> None:
    """One bucket that sees calls which are never made, and one that never hears of them."""
    step_ms, burst = 60_000 / per_minute, burst_of(per_minute)
    seen, without = Bucket(step_ms, burst, 0.0), Bucket(step_ms, burst, 0.0)
    now = 0.0
    for wait_ms, made, unmade, age_ms in steps:
        now += wait_ms
        for _ in range(unmade):
            seen.take(now, 1)
        granted_ms, now = now, now + age_ms
        for _ in range(made):
            seen.take(now, 1)
            without.take(now, 1)
        seen.give_back(unmade, now - granted_ms)
        assert max(seen.tat_ms, now) >= max(without.tat_ms, now) - 1e-6


@given(st.integers(1, 100), st.floats(0, 10_000))
def test_what_is_given_back_at_once_was_never_taken(count: int, tat_ms: float) -> None:
    bucket = Bucket(100.0, 6, tat_ms)
    bucket.take(0.0, count)
    bucket.give_back(count, 0.0)
    assert bucket.tat_ms == pytest.approx(max(tat_ms, 0.0))
