"""Whose shard goes next: least tokens out by weight, then priority, then age."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.fairness import (
    AHEAD_S,
    Out,
    Sent,
    Waiting,
    choose,
    enough,
    for_newcomers,
    idlers,
    leavers,
    shares,
    windows,
)
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


WANTED = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 40))


@given(WANTED, st.integers(0, 32))
def test_providers_share_the_slots_and_none_has_more_than_it_wants(
    wanted: dict[str, int], slots: int
) -> None:
    given_out = shares(wanted, slots)
    busy = [name for name, count in wanted.items() if count]
    assert given_out.keys() == wanted.keys()
    assert all(given_out[name] <= wanted[name] for name in wanted)
    assert all(given_out[name] >= 1 for name in busy), "who wants any gets one, if there are slots or not"
    assert sum(given_out.values()) <= max(slots, len(busy))
    assert sum(given_out.values()) >= min(slots, sum(wanted.values())), (
        "no slot stays free while one is wanted"
    )


@given(WANTED, st.integers(8, 32))
def test_who_gets_less_than_it_wants_has_as_much_as_anybody(wanted: dict[str, int], slots: int) -> None:
    given_out = shares(wanted, slots)
    most = max(given_out.values(), default=0)
    assert all(given_out[name] >= most - 1 for name in wanted if given_out[name] < wanted[name])


def test_a_provider_that_is_alone_has_all_slots_and_a_second_one_gets_half() -> None:
    assert shares({"a": 100}, 16) == {"a": 16}
    assert shares({"a": 100, "b": 100}, 16) == {"a": 8, "b": 8}
    assert shares({"a": 100, "b": 3}, 16) == {"a": 13, "b": 3}


def test_a_provider_that_keeps_all_threads_leaves_an_equal_part_to_the_one_that_waits() -> None:
    seated = {"stalled": [f"s{n}" for n in range(8)]}
    assert leavers(seated, {"healthy": 1}, room=8) == ["s0"]
    assert leavers(seated, {"healthy": 20}, room=8) == ["s0", "s1", "s2", "s3"]
    assert leavers(seated, {"healthy": 20}, room=1) == ["s0"]


def test_who_waits_behind_itself_or_has_its_part_makes_nobody_leave() -> None:
    assert leavers({"a": ["a0", "a1"]}, {"a": 9}, room=8) == []
    assert leavers({"a": ["a0", "a1"], "b": ["b0", "b1"]}, {"b": 9}, room=8) == []
    assert leavers({}, {"b": 9}, room=8) == []


SEATED = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 8), max_size=4)


@given(SEATED, st.dictionaries(st.sampled_from("cdefgh"), st.integers(1, 9)), st.integers(0, 8))
def test_no_more_leave_than_are_waited_for_and_nobody_falls_below_its_part(
    counts: dict[str, int], waiting: dict[str, int], room: int
) -> None:
    # given
    seated = {name: [f"{name}{n}" for n in range(count)] for name, count in counts.items()}
    part = sum(counts.values()) / max(1, len(seated.keys() | waiting.keys()))
    # when
    leaving = leavers(seated, waiting, room)
    # then
    assert len(leaving) == len(set(leaving)) <= min(room, sum(waiting.values()))
    for sitting in seated.values():
        gone = [one for one in sitting if one in leaving]
        assert gone == sitting[: len(gone)], "the longest-seated first"
        assert not gone or len(sitting) - len(gone) >= int(part)


def test_idle_shards_leave_their_threads_to_whoever_waits_and_keep_them_from_their_own() -> None:
    seated = {"stalled": ["s0", "s1"], "healthy": ["h0", "h1"]}
    idle = {"s0", "s1", "h0"}
    assert leavers(seated, {"healthy": 9}, room=8, idle=idle) == ["s0", "s1"]
    assert leavers(seated, {"healthy": 1}, room=8, idle=idle) == ["s0"]
    assert leavers(seated, {"healthy": 9}, room=1, idle=idle) == ["s0"]
    assert leavers(seated, {"healthy": 9, "stalled": 9}, room=8, idle=idle) == []


def test_idle_shards_leave_their_threads_beside_the_work_of_others_wherever_that_is() -> None:
    seated = {"stalled": ["s0", "s1"]}
    assert idlers(seated, {"stalled"}, 8, {"s0", "s1"}) == []
    assert idlers(seated, {"stalled", "healthy"}, 8, {"s1"}) == ["s1"]
    assert idlers(seated, {"stalled", "healthy"}, 1, {"s0", "s1"}) == ["s0"]
    assert idlers(seated, {"stalled", "healthy"}, 8, set()) == []


def test_whoever_holds_most_leaves_a_thread_to_each_batch_that_has_nothing_running() -> None:
    seated = {"a": ["a0", "a1", "a2"], "b": ["b0"]}
    assert for_newcomers(seated, [], 0) == []
    assert for_newcomers(seated, [], 2) == ["a0", "a1"]
    assert for_newcomers(seated, ["a0"], 2) == ["a1"], "one of them is served already"
    assert sorted(for_newcomers(seated, [], 9)) == ["a0", "a1", "a2", "b0"]
    assert for_newcomers({}, [], 1) == []


def test_what_goes_on_without_a_thread_leaves_its_slot_to_the_others() -> None:
    due = {"stalled": 100, "healthy": 100}
    assert windows({"stalled": Sent(16, 16)}, due, 16) == {"stalled": 8, "healthy": 8}
    assert windows({"stalled": Sent(16, 8)}, due, 16)["healthy"] == 8
    assert windows({"stalled": Sent(16, 2)}, due, 16)["healthy"] == 14
    assert windows({"stalled": Sent(6, 0)}, due, 16) == {"stalled": 8, "healthy": 14}


SENT = st.dictionaries(
    st.sampled_from("abcd"),
    st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda two: Sent(max(two), min(two))),
)


@given(SENT, WANTED, st.integers(1, 32))
def test_nobody_has_less_than_its_share_and_what_all_send_off_together_fits_the_slots(
    sent: dict[str, Sent], due: dict[str, int], slots: int
) -> None:
    # given
    names = sent.keys() | due.keys()
    out = {name: sent.get(name, Sent()) for name in names}
    fair = shares({name: out[name].shards + due.get(name, 0) for name in names}, slots)
    # when
    window = windows(sent, due, slots)
    # then
    assert all(window[name] >= fair[name] for name in names)
    for name in names:
        more = min(due.get(name, 0), max(0, window[name] - out[name].shards))
        seated = sum(one.seated for one in out.values())
        assert more <= max(fair[name], slots - seated + out[name].seated), (
            "beyond its share only what nobody holds"
        )
