"""What operators and users stop: cancel, pauses of providers and tenants, a revoke. And what stops by itself: a run
that breaks, a shard whose thread others wait for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.errors import TransportError
from workers.core.fairness import Sent
from workers.core.identity import shard_id
from workers.core.lanes import Ask, Go, Verdict
from workers.core.messages import HttpResponse
from workers.dispatcher import Dispatcher
from workers.engine.ports import Link
from workers.engine.steward import READ_FLAGS_EVERY_S
from workers.store.mongo import EPOCH, NOW, Doc

pytestmark = [pytest.mark.integration, pytest.mark.stack]
THREADS = 2


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    own = tmp_path_factory.mktemp("stops")
    with (
        pytest.MonkeyPatch.context() as sooner,
        open_engine(
            servers, own, BATCHWRIGHT_WORKER_THREADS=str(THREADS), BATCHWRIGHT_SHARD_MAX_ITEMS="45"
        ) as opened,
    ):
        sooner.setattr("workers.engine.steward.READ_FLAGS_EVERY_S", 0.02)
        sooner.setattr("workers.dispatcher.LOOK_FOR_ROOM_S", 0.02)
        yield opened


@pytest.fixture(autouse=True)
def alone(engine: Engine) -> None:
    """What a test before it has left must not take threads and slots from a test: it would fail with that one."""
    engine.stores.db["batch_shards"].delete_many({})


def prompts(name: str, count: int, **body: Any) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}", **body) for n in range(count)]


def not_before(engine: Engine, id_: str) -> bool:
    """Whether a shard rests."""
    found = engine.stores.db["batch_shards"].find_one({"_id": id_, "$expr": {"$gt": ["$next_at", NOW]}})
    return found is not None


# --- pauses of providers and tenants


@pytest.mark.parametrize(("kind", "name"), [("provider", "sim"), ("tenant", "default")])
def test_a_pause_stops_running_shards_and_those_that_are_claimed_after_it(
    engine: Engine, kind: Any, name: str
) -> None:
    # given a shard with one call under way and others that may not start yet, and one in the queue
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stuck)
    (_, running_id), (batch_id, queued_id) = (
        engine.plan(prompts(f"pause {kind} running", 2)),
        engine.plan(prompts(f"pause {kind} queued", 2)),
    )
    running = engine.begin_run(running_id)
    eventually(lambda: engine.provider.seen == 2, 5.0)
    # when
    pauses = engine.runtime.stores.pauses
    pauses.pause(kind, name, by="default")
    try:
        eventually(lambda: engine.runtime.steward.active[running_id].stop == "held", 2.0)
        gate.open()
        # then what is under way ends, and nothing new begins
        assert running.result(5.0) == "released: held"
        assert engine.run(queued_id) == "released: held"
        assert engine.provider.seen == 2
        doc = engine.stores.shard(queued_id)
        assert (doc["status"], doc["reason"]) == ("queued", "held") and not not_before(engine, queued_id)
        # and the dispatcher leaves it where it is
        engine.runtime.stores.processes.beat("w@here:1", providers=["sim"], slots=4)
        assert engine.runtime.dispatcher.fill_all()
        assert engine.stores.shard(queued_id)["status"] == "queued"
    finally:
        pauses.resume(kind, name, by="default")
    # and all goes on by itself afterwards
    engine.runtime.dispatcher.fill_all()
    assert engine.stores.shard(queued_id)["status"] == "dispatched"
    engine.runtime.stores.processes.leave("w@here:1")
    assert [engine.run(queued_id), engine.run(running_id)] == ["done", "done"]
    counts = engine.counts(batch_id)
    assert counts["completed"] == 2 and counts["excess"] == counts["possibly_repeated"] == 0


def test_a_cancel_of_what_a_pause_holds_needs_no_resume(engine: Engine) -> None:
    engine.play(always_answers)
    batch_id, shard = engine.plan(prompts("held and cancelled", 2))
    engine.runtime.stores.pauses.pause("provider", "sim", by="default")
    try:
        assert engine.stores.batches.cancel(batch_id)
        assert engine.run(shard) == "closed"
    finally:
        engine.runtime.stores.pauses.resume("provider", "sim", by="default")
    assert engine.stores.state(batch_id)["status"] == "cancelled" and engine.provider.seen == 0


# --- cancel


def test_no_call_starts_a_second_after_its_batch_was_cancelled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given calls that keep starting for seconds: granted ones that wait for their time, tries that rest, an item
    # that waits for another's answer, and a shard that is claimed only after the cancel
    started: list[float] = []
    gate = engine.gate()

    async def busy(call: int) -> HttpResponse:
        started.append(time.monotonic())
        if call == 1:
            await gate.passed()
            return reply()
        return reply(503)

    async def later(link: Link, asks: list[Ask], tenant: str) -> list[Verdict]:
        return [Go(0.04 * number) for number, _ in enumerate(await reserve(link, asks, tenant))]

    reserve = engine.runtime.limiting.reserve
    monkeypatch.setattr(engine.runtime.limiting, "reserve", later)
    monkeypatch.setattr("workers.engine.steward.READ_FLAGS_EVERY_S", READ_FLAGS_EVERY_S)
    engine.play(busy)
    batch_id, shard = engine.plan([chat_line("twin", "cancelled 0"), *prompts("cancelled", 50)])
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen >= 5, 5.0)
    # when
    cancelled_at = time.monotonic()
    assert engine.stores.batches.cancel(batch_id)
    eventually(lambda: engine.runtime.steward.active[shard].stop == "ending", 2.0)
    stopped_at = time.monotonic()
    # then what waits for its time or rests is dropped as soon as the run knows, and that is within a second
    assert stopped_at - cancelled_at < 1.0
    gate.open()
    assert running.result(5.0) == "closed"
    assert started[-1] - cancelled_at < 1.0
    codes = {row["error"]["code"] for row in engine.rows(batch_id) if not row["ok"] and row.get("error")}
    assert "batch_cancelled" in codes
    called = engine.provider.seen
    assert engine.run(shard_id(batch_id, 2)) in ("closed", "not ours") and engine.provider.seen == called
    assert engine.stores.state(batch_id)["status"] == "cancelled"


def test_who_ends_one_shard_of_a_large_cancelled_batch_does_not_close_all_the_others_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each of its shards here would do so, on all the threads by which leases are renewed.
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    monkeypatch.setattr("workers.runtime.CLOSE_S", -1.0)
    engine.play(stuck)
    batch_id, shard = engine.plan(prompts("large and cancelled", 90))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 45, 5.0)
    assert engine.stores.batches.cancel(batch_id)
    eventually(lambda: engine.runtime.steward.active[shard].stop == "ending", 5.0)
    gate.open()
    assert running.result(5.0) == "closed"
    assert len(engine.stores.shards.to_close(batch_id, 10)) == 1, "the sweeper's"
    assert engine.runtime.finalizer.advance(batch_id) == "cancelled"


def test_a_call_that_was_repeated_before_a_cancel_is_counted_after_it(engine: Engine) -> None:
    # given an item whose first call was lost, and whose repeat is refused when its batch ends
    gate = engine.gate()

    async def lost_then_refused(call: int) -> HttpResponse:
        if call == 1:
            raise TransportError("reset", bytes_sent=True)
        await gate.passed()
        return reply(503)

    engine.play(lost_then_refused)
    batch_id, shard = engine.plan(prompts("repeated and cancelled", 1))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 2, 5.0)
    assert engine.stores.batches.cancel(batch_id)
    eventually(lambda: engine.runtime.steward.active[shard].stop == "ending", 5.0)
    gate.open()
    assert running.result(5.0) == "closed"
    # then
    counts = engine.stores.state(batch_id)["counts"]
    assert (counts["never_ran"], counts["excess"] + counts["possibly_repeated"]) == (1, 1)


# --- revoke


def test_a_revoked_shard_is_given_back_at_once_and_its_calls_count_as_unknown(engine: Engine) -> None:
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stuck)
    batch_id, shard = engine.plan(prompts("revoked", 3))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 3, 5.0)
    engine.runtime.loop.call_soon_threadsafe(engine.runtime.steward.revoke, shard)
    assert running.result(5.0) == "released: revoked"
    doc = engine.stores.shard(shard)
    assert (doc["reason"], doc["possibly_repeated"]) == ("revoked", 3) and not_before(engine, shard)
    # a later look finds nothing of it here
    assert not engine.runtime.steward.revoke(shard)
    engine.due_now(shard)
    engine.play(always_answers)
    assert engine.run(shard) == "done"
    assert engine.counts(batch_id)["possibly_repeated"] == 3 and engine.slots_in_use == 0


# --- runs that break


def test_a_run_that_breaks_is_given_back_and_counted_against_the_shard(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a fault of ours while calls are under way
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stuck)
    batch_id, shard = engine.plan(prompts("broken run", 3))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 3, 5.0)
    run = engine.runtime.steward.active[shard].run
    assert run is not None

    def broken() -> bool:
        raise ZeroDivisionError("a bug")

    # when
    monkeypatch.setattr(run, "_wake_rested", broken)
    engine.runtime.loop.call_soon_threadsafe(run._running.changed.set)
    # then
    assert running.result(5.0) == "released: engine_error"
    doc = engine.stores.shard(shard)
    assert (doc["status"], doc["reason"], doc["takeovers"]) == ("queued", "engine_error", 1)
    assert not_before(engine, shard) and engine.slots_in_use == 0
    engine.due_now(shard)
    engine.play(always_answers)
    assert engine.run(shard) == "done"
    counts = engine.counts(batch_id)
    assert (counts["completed"], counts["possibly_repeated"]) == (3, 3)


def test_lines_that_cannot_be_read_are_condemned_in_the_end_and_their_neighbours_are_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a shard of which one line breaks whatever reads it
    from workers.engine import pipeline

    prepare = pipeline.prepare

    def breaks(raw: bytes, *args: Any, **kwargs: Any) -> Any:
        if b"poisoned 2" in raw:
            raise ZeroDivisionError("a bug")
        return prepare(raw, *args, **kwargs)

    monkeypatch.setattr(pipeline, "prepare", breaks)
    engine.play(always_answers)
    batch_id, _ = engine.plan(prompts("poisoned", 4))
    # when whoever is free runs what is there
    for _ in range(40):
        left = [doc["_id"] for doc in open_shards(engine, batch_id)]
        if not left:
            break
        for id_ in left:
            engine.due_now(id_)
            engine.run(id_)
    # then
    counts = engine.counts(batch_id)
    assert (counts["completed"], counts["failed"]) == (3, 1)
    (bad,) = [row for row in engine.rows(batch_id) if not row["ok"]]
    assert (bad["custom_id"], bad["error"]["code"]) == ("c2", "worker_crash")


def open_shards(engine: Engine, batch_id: str) -> list[Doc]:
    """Those that somebody may run; the dispatcher may have sent some off in between."""
    waiting = {"batch_id": batch_id, "status": {"$in": ["queued", "dispatched"]}}
    return list(engine.stores.db["batch_shards"].find(waiting).sort("_id"))


def test_a_message_without_a_shard_id_reaches_no_database(engine: Engine) -> None:
    forged: Any = {"$ne": None}
    assert engine.begin_run(forged).result(5.0) == "no shard id"


# --- threads


def test_a_stalled_provider_leaves_a_thread_to_a_healthy_one_and_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a provider whose calls hang in all threads of the process
    monkeypatch.setattr("workers.dispatcher.OVERDUE_S", 0.0)
    monkeypatch.setattr("workers.dispatcher.IDLE_S", 60.0)  # on a slow machine both would leave for this
    gate = engine.gate()

    async def stalled(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stalled, openai=always_answers)
    hung = [engine.plan(prompts(f"hung {n}", 2)) for n in range(THREADS)]
    runs = [engine.begin_run(shard) for _, shard in hung]
    eventually(lambda: engine.provider.seen == 2 * THREADS, 5.0)
    healthy, shard = engine.plan(prompts("healthy", 2, model="gpt-4o-mini"))
    assert engine.stores.shard(shard)["provider"] == "openai"
    # when the other one's shard lies in the queue
    engine.runtime.stores.dispatches.dispatch([shard], "t")
    # then the one that has hung longest gives up its thread, and goes on without it
    eventually(lambda: any(run.done() for run in runs), 5.0)
    eventually(lambda: engine.runtime.stores.dispatches.sent()["sim"] == Sent(THREADS, THREADS - 1), 5.0)
    assert runs[0].result(0) == "goes on without its thread" and not runs[1].done()
    assert engine.run(shard) == "done" and engine.counts(healthy)["completed"] == 2
    assert len(engine.runtime.steward.active) == THREADS
    gate.open()
    assert runs[1].result(5.0) == "done"
    eventually(lambda: engine.stores.shard(hung[0][1])["status"] == "done", 5.0)
    eventually(lambda: engine.stores.state(hung[0][0])["status"] == "completed", 5.0)
    assert engine.counts(hung[0][0])["possibly_repeated"] == 0


def test_no_thread_is_left_to_messages_of_a_provider_that_this_process_does_not_serve(engine: Engine) -> None:
    dispatches = engine.runtime.stores.dispatches
    ours, theirs = engine.stores.queued("batch_o", 1), engine.stores.queued("batch_t", 1, provider="theirs")
    try:
        dispatches.dispatch([*ours, *theirs], "t")
        assert set(dispatches.overdue(-1.0, ["sim", "theirs"])) == {"sim", "theirs"}
        assert engine.runtime.dispatcher.overdue(-1.0) == ({"sim": 1}, 1)
    finally:
        engine.stores.db["batch_shards"].delete_many({"_id": {"$in": [*ours, *theirs]}})


def test_a_tick_that_waits_asks_for_a_thread_and_a_silent_beat_asks_for_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher, chores = engine.runtime.dispatcher, engine.stores.db["chores"]
    chores.insert_one({"_id": "beat", "seen_at": EPOCH})
    try:
        assert dispatcher.overdue(0.0) == ({}, 0)
        monkeypatch.setattr(dispatcher.queue, "depth", lambda _: 1)
        assert dispatcher.overdue(0.0) == ({"schedules": 1}, 0)
        engine.runtime.stores.chores.hear_beat()
        assert dispatcher.overdue(0.0) == ({}, 0)
    finally:
        chores.delete_many({})


def test_a_new_batch_gets_a_thread_beside_shards_of_another_one_that_last_long(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a batch whose slow calls keep all threads, with more of it in the queue
    monkeypatch.setattr("workers.dispatcher.OVERDUE_S", 0.0)
    gate, dispatcher = engine.gate(), taken_over(engine, monkeypatch)

    async def slow(call: int) -> HttpResponse:
        if call <= 45 * THREADS:
            await gate.passed()
        return reply()

    engine.play(slow)
    large, first = engine.plan(prompts("lasts long", 45 * THREADS + 1))
    runs = [engine.begin_run(shard_id(large, number)) for number in range(1, THREADS + 1)]
    eventually(lambda: engine.provider.seen == 45 * THREADS, 5.0)
    dispatcher.admit()
    last = shard_id(large, THREADS + 1)
    assert engine.stores.shard(last)["status"] == "queued", "its batch has its threads"
    # when another one comes
    small, shard = engine.plan(prompts("small", 1))
    dispatcher.admit()
    assert engine.stores.shard(shard)["status"] == "dispatched"
    # then it gets a thread, whose shard goes on without it
    eventually(lambda: any(run.done() for run in runs), 5.0)
    assert runs[0].result(0) == "goes on without its thread" and not runs[1].done()
    assert engine.run(shard) == "done" and engine.counts(small)["completed"] == 1
    gate.open()
    assert runs[1].result(5.0) == "done"
    eventually(lambda: engine.stores.shard(first)["status"] == "done", 5.0)
    assert engine.run(last) == "done" and engine.counts(large)["possibly_repeated"] == 0


def test_a_drain_waits_for_a_shard_that_goes_on_without_its_thread(engine: Engine) -> None:
    gate = engine.gate()

    async def stuck(_: int) -> HttpResponse:
        await gate.passed()
        return reply()

    engine.play(stuck)
    _, shard = engine.plan(prompts("detached and drained", 2))
    running = engine.begin_run(shard)
    eventually(lambda: engine.provider.seen == 2, 5.0)
    steward = engine.runtime.steward
    engine.runtime.loop.call_soon_threadsafe(steward.seats.leave, [shard])
    assert running.result(5.0) == "goes on without its thread"
    engine.begin(steward.drain()).result(5.0)
    steward.draining = False
    doc = engine.stores.shard(shard)
    assert (doc["status"], doc["reason"], doc["possibly_repeated"]) == ("queued", "drain", 2)


# --- shares of slots


def test_two_providers_share_the_slots_and_one_alone_has_them_all(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    stores, dispatcher = engine.runtime.stores, taken_over(engine, monkeypatch)
    engine.stores.db["batch_shards"].delete_many({})
    monkeypatch.setattr(engine.runtime.beats, "slots", 0)
    stores.processes.leave(engine.runtime.owner)
    stores.processes.beat("w@here:1", providers=["sim", "openai"], slots=4)
    one, other = "batch_shares1", "batch_shares2"
    engine.stores.queued(one, *[1] * 9)
    try:
        dispatcher.fill_all()
        assert out(engine) == {"sim": 4}
        # when the other one has work, too
        engine.stores.queued(other, *[1] * 9, provider="openai")
        dispatcher.fill_all()
        # then it gets its half, whatever the first one has out, which gets no more until it is below its own
        assert out(engine) == {"sim": 4, "openai": 2}
        for number in range(1, 4):
            finished(engine, shard_id(one, number))
        dispatcher.fill_all()
        assert out(engine) == {"sim": 2, "openai": 2}
    finally:
        stores.processes.leave("w@here:1")
        engine.stores.db["batch_shards"].delete_many({})


class Hand(Protocol):
    """What a test does itself that the runtime does once a second."""

    def fill_all(self) -> bool: ...

    def admit(self) -> object: ...


def taken_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Hand:
    """The runtime's dispatcher, which from now on looks when the test says so, and not by itself as well."""
    looks: list[str] = []
    by_hand: Hand = SimpleNamespace(
        **{
            name: partial(getattr(Dispatcher, name), engine.runtime.dispatcher)
            for name in ("fill_all", "admit")
        }
    )

    def no_more(_: Dispatcher) -> bool:
        looks.append("nothing to do")
        return True

    monkeypatch.setattr(Dispatcher, "fill_all", no_more)
    monkeypatch.setattr(Dispatcher, "admit", no_more)
    # The look that was under way has ended once the next one has begun.
    engine.runtime.loop.call_soon_threadsafe(engine.runtime.dispatcher.nudge)
    eventually(lambda: looks, 5.0)
    return by_hand


def out(engine: Engine) -> dict[str, int]:
    """Shards that are sent off or running, by provider."""
    return {name: sent.shards for name, sent in engine.runtime.stores.dispatches.sent().items()}


def finished(engine: Engine, id_: str) -> None:
    engine.stores.db["batch_shards"].update_one({"_id": id_}, {"$set": {"status": "done"}})
