"""Leases that run out and drains, in the middle of calls: one run a shard, and every call is accounted for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest
from pymongo.errors import OperationFailure

from tests.support.batches import chat_line
from tests.support.engine import Engine, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.errors import TransportError
from workers.core.history import History
from workers.core.lanes import LimitState
from workers.core.messages import HttpResponse
from workers.engine.heartbeat import Heartbeat, Lease
from workers.store.mongo import Doc

pytestmark = [pytest.mark.integration, pytest.mark.stack]


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(servers, tmp_path_factory.mktemp("leases")) as opened:
        yield opened


def prompts(name: str, count: int) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}") for n in range(count)]


def test_a_process_whose_lease_ran_out_does_not_claim_the_shard_again_while_its_run_stands(
    engine: Engine,
) -> None:
    # given a run whose calls take longer than its lease
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stuck)
    batch_id, shard = engine.plan(prompts("slept", 20))
    first = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 20, 5.0)
    engine.take_lease_away(shard)
    # when the same process is asked for the shard again
    again = engine.run(shard)
    # then it leaves the shard alone, and its run ends as lost with the heartbeat's next turn
    assert again == "still running here" and not first.done()
    assert engine.stores.shard(shard)["fence"] == 1
    engine.renew_leases()
    assert first.result(5.0) == "lease lost"
    # and only then it may have it again
    engine.play(always_answers)
    assert engine.run(shard) == "done"
    batch = engine.stores.state(batch_id)
    assert (batch["status"], batch["counts"]["completed"]) == ("completed", 20)
    assert batch["counts"]["possibly_repeated"] == 20, "all that was under way, and nothing else"
    assert engine.slots_in_use == 0


def test_a_lease_that_was_not_renewed_in_time_starts_no_call_until_it_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a shard whose last renewal is 55 of its 60 seconds old, as after a sleep of the process
    engine.play(always_answers)
    (_, late), (_, other) = engine.plan(prompts("too late", 5)), engine.plan(prompts("in time", 5))
    hold = Heartbeat.hold

    def hold_since(
        beat: Heartbeat, shard_id: str, fence: int, at: float, on_lost: Callable[[], None]
    ) -> Lease:
        return hold(beat, shard_id, fence, at - 55.0 * (shard_id == late), on_lost)

    monkeypatch.setattr(Heartbeat, "hold", hold_since)
    monkeypatch.setattr("workers.engine.shard.LOOK_AGAIN_S", 0.05)
    run = engine.begin_run(late)
    eventually(lambda: engine.stores.shard(late)["status"] == "leased", 5.0)
    # when others work beside it
    assert engine.run(other) == "done"
    # then it waits
    assert engine.provider.seen == 5 and not run.done()
    # and goes on as soon as the lease is renewed.
    engine.renew_leases()
    assert run.result(5.0) == "done"
    assert engine.provider.seen == 10


@pytest.mark.parametrize("answers_get_lost", [True, False], ids=["answers get lost", "calls are cut off"])
def test_what_the_provider_saw_before_a_drain_is_reported_after_it(
    engine: Engine, answers_get_lost: bool
) -> None:
    # given calls that end without an answer while the process drains, or do not end in time
    gate = engine.gate()

    async def lost_at_first(call: int) -> HttpResponse:
        if call <= 20:
            await gate.passed()
            raise TransportError("reset", bytes_sent=True)
        return reply()

    engine.play(lost_at_first)
    batch_id, shard = engine.plan(prompts(f"drained {answers_get_lost}", 20))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 20, 5.0)
    steward = engine.runtime.steward
    draining = engine.begin(steward.drain())
    eventually(lambda: steward.draining, 5.0)
    if answers_get_lost:
        gate.open()
    assert running.result(5.0) == "released: drain"
    draining.result(5.0)
    # when the shard runs to its end
    steward.draining = False
    assert engine.run(shard) == "done"
    # then no call is missing from the count, and no repeat
    counts = engine.stores.state(batch_id)["counts"]
    assert engine.provider.seen == 40 <= counts["calls"]
    assert engine.provider.seen - 20 <= counts["excess"] + counts["possibly_repeated"] <= 20


def test_answered_retries_are_not_counted_as_possibly_repeated_after_a_crash(engine: Engine) -> None:
    # given ten calls that were all refused, and ten retries of which seven are recorded and three under way
    gate = engine.gate()

    async def busy_at_first(call: int) -> HttpResponse:
        if call <= 10:
            return reply(503)
        if call > 17:
            await gate.passed()
        return reply()

    engine.play(busy_at_first)
    batch_id, shard = engine.plan(prompts("crashed", 10))
    first = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 20 and len(engine.rows(batch_id)) == 7, 5.0)
    # when the process is taken for dead
    engine.take_lease_away(shard)
    engine.renew_leases()
    assert first.result(5.0) == "lease lost"
    gate.open()
    assert engine.run(shard) == "done"
    # then the calls under way may be repeated, those with a known outcome are not
    counts = engine.stores.state(batch_id)["counts"]
    assert (counts["completed"], counts["excess"], counts["possibly_repeated"]) == (10, 0, 3)


def test_an_answer_shared_with_a_retried_item_hides_no_call_that_a_crash_cut_off(engine: Engine) -> None:
    # given an item that was called before its shard was parked, and is answered from the cache now,
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(always_answers)
    shared = chat_line("c0", "hides nothing 0")
    assert engine.run(engine.plan([shared])[1]) == "done"
    batch_id, shard = engine.plan([shared, chat_line("c1", "hides nothing 1")])
    called_before = {"1": History(attempt=1, calls=1).to_doc()}
    engine.stores.db["batch_shards"].update_one({"_id": shard}, {"$set": {"attempts": called_before}})
    # beside one whose call is under way
    engine.play(stuck)
    first = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 1 and len(engine.rows(batch_id)) == 1, 5.0)
    # when the process is taken for dead
    engine.take_lease_away(shard)
    engine.renew_leases()
    assert first.result(5.0) == "lease lost"
    gate.open()
    assert engine.run(shard) == "done"
    # then the call that was made twice is counted
    counts = engine.counts(batch_id)
    assert (engine.provider.seen, counts["cached"], counts["possibly_repeated"]) == (2, 1, 1)


def test_a_drain_that_comes_while_a_claim_is_under_way_starts_no_call(engine: Engine) -> None:
    engine.play(always_answers)
    batch_id, shard = engine.plan(prompts("claiming", 20))
    steward = engine.runtime.steward

    async def claim_and_drain() -> tuple[str, int]:
        # `gather` starts them in this order: the claim is asked for when the drain begins.
        became, _ = await asyncio.gather(steward.run_shard(shard), steward.drain())
        return became, len(steward.active)

    assert engine.begin(claim_and_drain()).result(5.0) == ("released: drain", 0)
    assert engine.provider.seen == 0
    steward.draining = False
    assert engine.run(shard) == "done" and engine.provider.seen == 20
    assert engine.stores.state(batch_id)["counts"]["possibly_repeated"] == 0


def test_a_shard_of_a_new_batch_runs_on_when_the_look_at_older_batches_began_before_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a look at the states of running batches that takes its time
    gate, asked, go_on = engine.gate(), threading.Semaphore(0), threading.Event()
    flags = engine.runtime.stores.batches.flags

    def slow_flags(batch_ids: Iterable[str]) -> dict[str, Doc]:
        found = flags(batch_ids)
        asked.release()
        go_on.wait(5.0)
        return found

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stuck)
    monkeypatch.setattr(engine.runtime.stores.batches, "flags", slow_flags)
    (_, old), (_, new) = engine.plan(prompts("old", 2)), engine.plan(prompts("new", 2))
    runs = [engine.begin_run(old)]
    assert asked.acquire(timeout=5.0)
    # when a shard of another batch is claimed meanwhile
    runs.append(engine.begin_run(new))
    eventually(lambda: engine.provider.seen == 4, 5.0)
    go_on.set()
    assert asked.acquire(timeout=5.0), "the first look is over when the next one begins"
    gate.open()
    # then it is not taken for one of a batch that is gone
    assert [run.result(5.0) for run in runs] == ["done", "done"]


def test_a_run_that_ends_by_an_error_of_the_database_leaves_nothing_behind_in_its_process(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a database whose disk is full at the moment when calls are about to start
    batch_id, shard = engine.plan(prompts("full disk", 3))
    engine.play(always_answers)

    def full(*_: object) -> bool:
        raise OperationFailure("no space left on device", 14031)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(engine.runtime.stores.shards, "set_started", full)
        assert engine.run(shard) == "lease left to expire"
    # then no call counts as under way, and no item as asked for
    assert engine.runtime.sharing.owned == 0 and engine.slots_in_use == 0
    state = engine.begin(limits_of(engine)).result(5.0)
    assert state.in_flight == 0
    # and the same process can answer it
    engine.take_lease_away(shard)
    assert engine.run(shard) == "done"
    assert engine.counts(batch_id)["completed"] == 3


async def limits_of(engine: Engine) -> LimitState:
    limiting = engine.runtime.limiting
    await limiting.flush()
    link = engine.runtime.links["sim"]
    return await limiting._limiter.state(link.name, link.rates)


def test_a_worker_without_the_provider_forgets_nothing_of_what_its_items_have_been_through(
    engine: Engine,
) -> None:
    _, shard = engine.plan(prompts("no such provider", 1))
    history = {"1": History(attempt=2, calls=2, spent_usd=0.5).to_doc()}
    engine.stores.db["batch_shards"].update_one({"_id": shard}, {"$set": {"attempts": history}})
    link = engine.runtime.links.pop("sim")
    try:
        assert engine.run(shard) == "no such provider here"
    finally:
        engine.runtime.links["sim"] = link
    assert engine.stores.shard(shard)["attempts"] == history


def test_a_shard_that_was_taken_away_before_it_could_be_given_back_says_so(engine: Engine) -> None:
    _, shard = engine.plan(prompts("taken away", 1))

    async def taken(_: int) -> HttpResponse:
        engine.take_lease_away(shard)
        return reply(429, retry_after="60")

    engine.play(taken)
    assert engine.run(shard) == "lease lost"
