"""Whose shard goes next: least tokens out by weight, then priority, then age."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.fairness import AHEAD_S, Out, Waiting, choose, enough
from workers.core.lanes import Rates


def shards(
    tenant: str, count: int, *, tokens: int = 100, priority: int = 0, batch: str = ""
) -> list[Waiting]:
    batch = batch or f"{tenant}{priority}"
    return [Waiting(f"{batch}-{n:05d}", tenant, batch, tokens, priority) for n in range(count)]


def chosen_ids(
    waiting: list[Waiting], out: dict[str, int], weights: dict[str, float], slots: int
) -> list[str]:
    return [shard.shard_id for shard in choose(waiting, out, weights, slots)]


WAITING = st.lists(
    st.builds(
        Waiting,
        shard_id=st.uuids().map(str),
        tenant=st.sampled_from("abc"),
        batch_id=st.sampled_from(["batch_1", "batch_2"]),
        est_tokens=st.integers(0, 1000),
        priority=st.integers(-2, 2),
    ),
    max_size=40,
)


@given(WAITING, st.integers(0, 50))
def test_it_chooses_each_at_most_once_and_as_many_as_there_are_slots(
    waiting: list[Waiting], slots: int
) -> None:
    chosen = chosen_ids(waiting, {}, {}, slots)
    assert len(chosen) == len(set(chosen)) == min(slots, len(waiting))
    assert set(chosen) <= {shard.shard_id for shard in waiting}


@given(WAITING)
def test_a_batch_goes_by_age(waiting: list[Waiting]) -> None:
    by_id = {w.shard_id: w for w in waiting}
    order: dict[tuple[str, str], list[str]] = {}
    for shard_id in chosen_ids(waiting, {}, {}, len(waiting)):
        order.setdefault((by_id[shard_id].tenant, by_id[shard_id].batch_id), []).append(shard_id)
    assert all(ids == sorted(ids) for ids in order.values())


def test_the_higher_priority_of_a_tenant_goes_before_all_its_others() -> None:
    waiting = [*shards("a", 3, priority=1), *shards("a", 3, priority=9), *shards("a", 3, priority=5)]
    order = [shard_id[1] for shard_id in chosen_ids(waiting, {}, {}, 9)]
    assert order == list("999555111")


def test_a_small_batch_is_not_stuck_behind_a_large_one_of_its_own_tenant() -> None:
    waiting = [*shards("a", 2000, batch="batch_1"), *shards("a", 1, batch="batch_2")]
    assert chosen_ids(waiting, {"a": 800, "batch_1": 800}, {}, 1) == ["batch_2-00000"]


def test_batches_of_one_tenant_share_its_slots() -> None:
    waiting = [*shards("a", 20, batch="batch_1"), *shards("a", 20, batch="batch_2")]
    chosen = Counter(shard_id.partition("-")[0] for shard_id in chosen_ids(waiting, {}, {}, 10))
    assert chosen == {"batch_1": 5, "batch_2": 5}


def test_a_small_tenant_beside_a_large_one_goes_first() -> None:
    waiting = [*shards("large", 2000), *shards("small", 1)]
    assert chosen_ids(waiting, {"large": 800, "small": 0}, {}, 1) == ["small0-00000"]


def test_equal_tenants_share_the_slots_equally_however_much_waits() -> None:
    waiting = [*shards("large", 2000), *shards("small", 20)]
    chosen = chosen_ids(waiting, {}, {}, 20)
    assert Counter(shard_id[:5] for shard_id in chosen) == {"large": 10, "small": 10}


def test_twice_the_weight_is_twice_the_tokens() -> None:
    waiting = [*shards("heavy", 100), *shards("light", 100)]
    chosen = chosen_ids(waiting, {}, {"heavy": 2.0, "light": 1.0}, 30)
    assert Counter(shard_id[:5] for shard_id in chosen) == {"heavy": 20, "light": 10}


def test_shares_are_of_tokens_and_not_of_shards() -> None:
    waiting = [*shards("big", 50, tokens=1000), *shards("tiny", 50, tokens=100)]
    chosen = Counter(shard_id[:3] for shard_id in chosen_ids(waiting, {}, {}, 22))
    assert chosen["tin"] == 10 * chosen["big"]


def test_nobody_starves_while_slots_come_free_one_by_one() -> None:
    """A dispatcher that always asks for one slot: each tenant's turn comes within a round."""
    waiting = [*shards("a", 60), *shards("b", 60), *shards("c", 3)]
    out: Counter[str] = Counter()
    order = []
    by_id = {w.shard_id: w for w in waiting}
    for _ in range(9):
        (shard_id,) = chosen_ids(list(by_id.values()), out, {}, 1)
        shard = by_id.pop(shard_id)
        out[shard.tenant] += shard.est_tokens
        order.append(shard.tenant)
    assert Counter(order) == {"a": 3, "b": 3, "c": 3}


def test_priority_goes_before_age_inside_a_tenant() -> None:
    waiting = [*shards("a", 2), *shards("a", 2, priority=5)]
    assert chosen_ids(waiting, {}, {}, 4) == ["a5-00000", "a5-00001", "a0-00000", "a0-00001"]


def test_a_weight_of_zero_breaks_nothing() -> None:
    assert len(chosen_ids(shards("a", 3), {}, {"a": 0.0}, 5)) == 3


def test_a_limited_provider_is_sent_what_it_can_start_in_the_next_seconds() -> None:
    waiting = [Waiting(f"s{n}", "a", "b", 100, 0, items=20) for n in range(50)]
    tenth = Rates(requests_per_minute=600)
    assert len(enough(waiting, Out(), tenth)) == 10 * AHEAD_S / 20
    assert enough(waiting, Out(unstarted_items=int(10 * AHEAD_S)), tenth) == []
    assert len(enough(waiting, Out(), Rates(tokens_per_minute=6000))) == 100 * AHEAD_S / 100


@given(WAITING, st.integers(0, 10**6))
def test_an_unlimited_provider_is_sent_whatever_is_fair(waiting: list[Waiting], unstarted: int) -> None:
    assert enough(waiting, Out(unstarted_items=unstarted), Rates(concurrency=1)) == waiting


@given(WAITING, st.integers(1, 10**6))
def test_a_limited_provider_without_work_is_always_sent_some(waiting: list[Waiting], rpm: int) -> None:
    assert enough(waiting, Out(), Rates(requests_per_minute=rpm))[:1] == waiting[:1]


@pytest.mark.parametrize("names", [("large", "small"), ("small", "large")])
@pytest.mark.parametrize("what", ["tenants", "batches"])
def test_those_who_share_a_slow_limit_take_turns_though_nothing_is_out_between_them(
    names: tuple[str, str], what: str
) -> None:
    # given a limit that one shard uses up: it starts a few calls, rests, and all who wait come due together
    slow = Rates(requests_per_minute=60)
    by_id: dict[str, Waiting] = {}
    for name in names:
        tenant, batch = (name, f"batch_{name}") if what == "tenants" else ("a", name)
        by_id |= {one.shard_id: replace(one, items=10) for one in shards(tenant, 20, batch=batch)}
    # when
    turns = []
    for at_s in range(1, 9):
        (shard,) = enough(choose(list(by_id.values()), {}, {}, 32), Out(), slow)
        by_id[shard.shard_id] = replace(shard, sent_s=float(at_s))
        turns.append(shard.batch_id)
    # then
    assert set(Counter(turns).values()) == {4}, turns
