"""A tenant's own limits under a running engine: its shards give their slots back, everybody else's go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers.core.identity import shard_id
from workers.core.lanes import OwnerSeen, Rates, Seen
from workers.core.messages import HttpResponse
from workers.core.tenancy import rules_in
from workers.core.tenant_limits import rates_of

pytestmark = [pytest.mark.integration, pytest.mark.stack]


@pytest.fixture(scope="module")
def engine(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    own = tmp_path_factory.mktemp("tenants")
    with pytest.MonkeyPatch.context() as sooner:
        sooner.setattr("workers.engine.steward.LEARN_LIMITS_EVERY_S", 0.02)
        sooner.setattr("workers.dispatcher.RULES_S", 0.0)
        with open_engine(servers, own, BATCHWRIGHT_SHARD_MAX_ITEMS="8") as opened:
            yield opened


@pytest.fixture(autouse=True)
def unlimited(engine: Engine) -> Iterator[None]:
    engine.play(always_answers)
    yield
    settle(engine)


def settle(engine: Engine, tenant: str = "default", **limits: int) -> None:
    """Set a tenant's limits as an operator does; the engine hears of it by itself."""
    engine.stores.tenants.ensure(tenant)
    engine.stores.db["tenants"].update_one({"_id": tenant}, {"$set": {"limits": limits}})
    wanted = rates_of({tenant: rules_in({"limits": limits})}).get(tenant)
    eventually(lambda: known(engine).get(tenant) == wanted, 5.0)


def known(engine: Engine) -> Mapping[str, Rates]:
    return engine.runtime.limiting._limits_of


def prompts(name: str, count: int) -> list[bytes]:
    return [chat_line(f"c{n}", f"{name} {n}") for n in range(count)]


def why_not(engine: Engine, id_: str) -> tuple[str, str]:
    doc = engine.stores.shard(id_)
    return doc["status"], doc["reason"]


def test_a_shard_whose_tenant_has_used_up_its_minute_gives_its_slot_back_and_others_go_on(
    engine: Engine,
) -> None:
    # given
    settle(engine, requests_per_minute=10)
    batch_id, shard = engine.plan(prompts("limited", 8))
    _, others = plan_for_another(engine, prompts("another's", 8))
    # when
    assert engine.run(shard) == "parked: tenant_requests"
    # then one call was made, and none of it holds up another tenant, or says that the provider had to rest
    assert engine.provider.seen == 1 and engine.slots_in_use == 0
    assert why_not(engine, shard) == ("queued", "tenant_requests")
    assert engine.run(others) == "done" and engine.provider.seen == 9
    assert not engine.stores.dispatches.waits_for_its_limit("sim")
    # and a limit that is lifted holds nothing back any more, without a restart
    settle(engine)
    engine.due_now(shard)
    assert engine.run(shard) == "done"
    assert engine.counts(batch_id)["completed"] == 8


def plan_for_another(engine: Engine, lines: list[bytes]) -> tuple[str, str]:
    engine.stores.tenants.ensure("other")
    file_id = engine.stores.file(lines, tenant="other")
    return engine.plan(lines, tenant="other", input_file_id=file_id)


def test_nothing_of_a_tenant_at_its_limit_is_sent_off_while_others_are(engine: Engine) -> None:
    # given a shard that rests for its tenant's limit, and more of both tenants
    settle(engine, requests_per_minute=10)
    engine.stores.db["batch_shards"].delete_many({})
    _, parked = engine.plan(prompts("parks", 16))
    assert engine.run(parked) == "parked: tenant_requests"
    batch_id, _ = plan_for_another(engine, prompts("another's turn", 16))
    dispatcher, recall = engine.runtime.dispatcher, engine.stores.dispatches.recall
    # when / then
    recall("sim", -60)  # what went out before it had parked
    sent = eventually(lambda: dispatcher.fill_all() and sent_off(engine), 5.0)
    assert sent == {shard_id(batch_id, 1), shard_id(batch_id, 2)}
    used_up = engine.stores.dispatches.at_their_limits(["sim"])
    assert used_up["default"][0] == "tenant_requests" and list(used_up) == ["default"]
    # and one shard of the tenant is enough for what it may call within the next seconds
    engine.due_now(parked)
    eventually(lambda: dispatcher.fill_all() and len(sent_off(engine)) > 2, 5.0)
    theirs = [engine.stores.shard(id_) for id_ in sent_off(engine)]
    assert [doc["tenant"] for doc in theirs].count("default") == 1


def sent_off(engine: Engine) -> set[str]:
    return {row["_id"] for row in engine.stores.db["batch_shards"].find({"status": "dispatched"}, {"_id": 1})}


def test_a_changed_weight_counts_from_the_next_choice_on(engine: Engine) -> None:
    engine.stores.tenants.ensure("heavy")
    weights = engine.stores.db["tenants"]
    for weight in (5.0, 1.0):
        weights.update_one({"_id": "heavy"}, {"$set": {"weight": weight}})
        engine.runtime.dispatcher._without((), ())
        assert engine.runtime.dispatcher._rules["heavy"].weight == weight


def test_calls_at_once_of_a_tenant_stay_within_its_limit_and_all_are_made(engine: Engine) -> None:
    most = under_way = 0

    async def watched(_: int) -> HttpResponse:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await engine.runtime.threads.call(int)  # other calls may come meanwhile
        under_way -= 1
        return reply()

    settle(engine, max_concurrency=2)
    engine.play(watched)
    batch_id, first = engine.plan(prompts("crowd", 16))
    runs = [engine.begin_run(id_) for id_ in (first, shard_id(batch_id, 2))]
    ends = [run.result(10.0) for run in runs]
    assert "done" in ends and set(ends) <= {"done", "parked: tenant_concurrency"}
    assert most == 2


def test_who_finds_all_places_of_its_tenant_taken_leaves_its_slot_after_a_while(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given another process that has the only place, for a call that lasts
    monkeypatch.setattr("workers.core.rate.PARK_AFTER_S", 0.3)
    settle(engine, max_concurrency=1)
    told = Seen(owners={"default": OwnerSeen(Rates(concurrency=1), in_flight=1)})
    limiter = engine.runtime.limiter
    engine.begin(limiter.report("elsewhere", Rates(), told)).result(5.0)
    # when / then
    _, shard = engine.plan(prompts("no place", 1))
    assert engine.run(shard) == "parked: tenant_concurrency" and engine.provider.seen == 0
    # and once it is free
    engine.begin(limiter.report("elsewhere", Rates(), gone())).result(5.0)
    engine.due_now(shard)
    assert engine.run(shard) == "done"


def gone() -> Seen:
    return Seen(owners={"default": OwnerSeen(Rates(concurrency=1))})


def test_a_call_that_is_not_made_costs_its_tenant_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a limit of which a burst of six is left
    settle(engine, requests_per_minute=60)
    fields: Any = {"requests:60": 0}

    async def full() -> None:
        await engine.runtime._control.hset("tenant_limit:default", mapping=fields)

    engine.begin(full()).result(5.0)
    # when the shard is lost between the grant and the calls
    _, shard = engine.plan(prompts("never made", 6))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(engine.runtime.stores.shards, "set_started", lambda *_: False)
        assert engine.run(shard) == "lease lost"
    assert engine.provider.seen == 0
    engine.begin(engine.runtime.limiting.flush()).result(5.0)
    # then its next lease calls all six
    engine.take_lease_away(shard)
    assert engine.run(shard) == "done" and engine.provider.seen == 6


def test_a_batch_beyond_its_tenants_queue_fails_with_the_numbers_and_what_helps(engine: Engine) -> None:
    # given
    settle(engine, max_queued_items=5)
    ended = engine.stores.db["batch_jobs"]
    ended.update_many({"status": "in_progress"}, {"$set": {"status": "cancelled"}})
    engine.plan(prompts("accepted", 3))
    # when / then
    refused = engine.stores.batch(prompts("too many", 3))
    assert engine.runtime.plan(refused) == "1 problems"
    batch = engine.stores.state(refused)
    (error,) = batch["errors"]
    assert (batch["status"], error["code"]) == ("failed", "queued_items_limit")
    assert (
        "3 requests, and 3 of your other batches" in error["message"] and "the 5 you may" in error["message"]
    )
    engine.plan(prompts("fits", 2))


def test_of_two_batches_that_fit_alone_only_one_is_accepted(engine: Engine) -> None:
    settle(engine, max_queued_items=5)
    engine.stores.db["batch_jobs"].update_many({"status": "in_progress"}, {"$set": {"status": "cancelled"}})
    ids = [engine.stores.batch(prompts(f"at once {n}", 3)) for n in range(4)]
    with ThreadPoolExecutor(len(ids)) as planners:
        said = sorted(planners.map(engine.runtime.plan, ids))
    assert said == ["1 problems"] * 3 + ["3 items"]
