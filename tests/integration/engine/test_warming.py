"""A warmed prompt answers from the cache after its schedule fired, and its refresh before expiry costs one call."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from redis import Redis

from tests.support.batches import CHAT, chat_line
from tests.support.engine import RUN_S, Engine, always_answers, open_engine, reply
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from workers import metrics
from workers.core.identity import new_id, shard_id
from workers.core.messages import HttpResponse
from workers.core.warming import Asked
from workers.engine.work import Work
from workers.observed import OBSERVED
from workers.store import keys
from workers.store.cache_entry import Codec, Warmed
from workers.store.minutes import Minutes
from workers.store.most_asked import STRIDE
from workers.warming import RUN_KEY, _Refresh, refresh_most_asked

pytestmark = [pytest.mark.integration, pytest.mark.stack]
HOUR_S, DAY_S = 3_600.0, 86_400.0
WEEK_MS = 7 * 86_400_000


@pytest.fixture(scope="module")
def shared(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("warming")
    with open_engine(servers, directory, BATCHWRIGHT_WARMING_REFRESH="true") as opened:
        assert opened.runtime.warmth.most_asked is not None
        opened.runtime.warmth.most_asked._draw = lambda _: 0  # the sample begins with the first
        yield opened


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """Its cache is empty, its provider answers, and it has refreshed nothing."""
    shared.play(always_answers)
    shared.begin(shared.runtime.warmth.flush()).result(RUN_S)
    with cache_redis(shared) as redis:
        redis.flushdb()
    shared.stores.db["batch_jobs"].delete_many({"run_key": RUN_KEY})
    return shared


def cache_redis(engine: Engine) -> Redis:
    return Redis.from_url(str(engine.runtime.settings.servers.cache_redis_url))


def answers(redis: Redis) -> list[bytes]:
    found: list[bytes] = list(redis.scan_iter(match="ai:*"))
    return found


def fire(engine: Engine, lines: list[bytes], **changes: Any) -> Counter[str]:
    """What a schedule does when it is due: gives where the answers of its batch came from."""
    batch_id, first = engine.plan(lines, **{"warm": True, **changes})
    assert engine.run(first) == "done"
    return Counter(row["source"] for row in engine.rows(batch_id))


def ask(engine: Engine, *lines: bytes, **changes: Any) -> str:
    """An ordinary batch; gives its id."""
    batch_id, first = engine.plan(lines, **changes)
    assert engine.run(first) == "done"
    return batch_id


def scheduled(engine: Engine, lines: list[bytes]) -> dict[str, Any]:
    """A schedule that warms these every hour, due now."""
    now = int(time.time())
    form: dict[str, Any] = {
        "endpoint": CHAT,
        "input_file_id": engine.stores.file(lines),
        "completion_window": "24h",
        "metadata": None,
        "output_expires_after": None,
        "batchwright": {
            **dict.fromkeys(("model", "cache", "invalid_lines", "run_key", "max_cost_usd", "webhook")),
            "order": "completion",
            "priority": 0,
        },
    }
    doc = {
        "_id": new_id("sched_", now * 1000), "tenant": "default", "name": "hourly", "kind": "warm", "batch": form,
        "cron": None, "timezone": "UTC", "every_s": 3_600, "anchor": now, "missed": None, "enabled": True,
        "next_due": now, "created_at": now, "last_run": None,
    }  # fmt: skip
    engine.runtime.stores.schedules.insert(doc)
    return doc


def fires(engine: Engine, schedule: dict[str, Any]) -> Counter[str]:
    """The schedule is due now: gives where the answers of its batch came from."""
    now = datetime.now(UTC)
    engine.stores.db["schedules"].update_one({"_id": schedule["_id"]}, {"$set": {"next_due": now}})
    engine.runtime.firing.round()
    run = engine.stores.db["schedule_runs"].find_one(
        {"schedule_id": schedule["_id"]}, sort=[("begun_at", -1)]
    )
    assert run is not None and run["state"] == "started", run
    engine.runtime.plan(run["batch_id"])
    assert engine.run(shard_id(run["batch_id"], 1)) == "done"
    engine.stores.db["schedule_runs"].delete_one({"_id": run["_id"]})
    engine.stores.db["batch_jobs"].update_one({"_id": run["batch_id"]}, {"$unset": {"idempotency_key": ""}})
    return Counter(row["source"] for row in engine.rows(run["batch_id"]))


def test_a_warmed_prompt_answers_from_the_cache_after_its_schedule_fired_and_its_refresh_costs_one_call(
    engine: Engine,
) -> None:
    lines = [chat_line(f"c{n}", f"prompt {n}") for n in range(3)]
    schedule = scheduled(engine, lines)
    # when it fires for the first time, all are paid, and then known
    assert fires(engine, schedule) == {"call": 3}
    assert {row["source"] for row in engine.rows(ask(engine, *lines))} == {"cache"}
    # and whoever looks them up near their end renews them
    codec = Codec(compress_over_bytes=10_000, max_body_bytes=10_000)
    with cache_redis(engine) as redis:
        entries = [redis.get(key) for key in answers(redis)]
        assert all(isinstance(codec.unpack(entry or b""), Warmed) for entry in entries) and len(entries) == 3
        # when it fires again, what outlives its next time is not paid again
        assert fires(engine, schedule) == {"cache": 3} and engine.provider.seen == 3
        # and of those that would be cold before, each is paid once, and lives as long as a new answer
        key = answers(redis)[0]
        redis.pexpire(key, 3_500_000)
        assert fires(engine, schedule) == {"cache": 2, "call": 1} and engine.provider.seen == 4
        assert redis.pttl(key) > WEEK_MS - 60_000
    assert {row["source"] for row in engine.rows(ask(engine, *lines))} == {"cache"}


def test_a_refresh_costs_one_call_however_many_workers_and_batches_ask_at_once(engine: Engine) -> None:
    lines = [chat_line(f"c{n}", "hot") for n in range(2)]
    fire(engine, lines[:1], warm_until=time.time() + HOUR_S)
    with cache_redis(engine) as redis:
        redis.pexpire(answers(redis)[0], 1_000_000)
    gate = engine.gate()

    async def slow(_: int) -> HttpResponse:
        await gate.passed()
        return reply(text="newer")

    engine.play(slow)
    # given three batches that refresh it in two workers; even a new answer ends before they fire again
    until_s = time.time() + 30 * DAY_S
    with engine.another_process() as other:
        batches = [engine.plan(lines, warm=True, warm_until=until_s)[0] for _ in range(3)]
        runs = [
            asyncio.run_coroutine_threadsafe(runtime.steward.run_shard(shard_id(batch, 1)), runtime.loop)
            for runtime, batch in zip((engine.runtime, other, other), batches, strict=True)
        ]
        eventually(lambda: engine.provider.seen, RUN_S)
        # while an ordinary batch still has the answer that is there
        assert engine.rows(ask(engine, lines[0]))[0]["source"] == "cache"
        # when the one call is answered
        gate.open()
        assert [run.result(RUN_S) for run in runs] == ["done"] * 3
    # then nobody has called again
    assert engine.provider.seen == 1
    sources = Counter(row["source"] for batch in batches for row in engine.rows(batch))
    assert sources["call"] == 1 and sources.total() == 6


# ---------------------------------------------------------------- what is asked most


def hot(engine: Engine, text: str, *, times: int = 4, ends_in_s: float = 60.0, **changes: Any) -> bytes:
    """A prompt that was found so often, by the sample, and expires soon; gives its key."""
    with cache_redis(engine) as redis:
        before = set(answers(redis))
        ask(engine, chat_line("first", text), **changes)
        (key,) = set(answers(redis)) - before
        copies = [chat_line(f"c{n}", text) for n in range(times * STRIDE)]
        ask(engine, *copies, **changes)
        engine.begin(engine.runtime.warmth.flush()).result(RUN_S)
        redis.pexpire(key, int(ends_in_s * 1000))
    return key


def refreshes(engine: Engine, tenant: str = "default") -> list[dict[str, Any]]:
    """The batches that the chore has made."""
    return list(engine.stores.db["batch_jobs"].find({"run_key": RUN_KEY, "tenant": tenant}).sort("_id"))


def counted(outcome: str) -> float:
    return OBSERVED.read().counts.get((metrics.WARM_REFRESHES.name, (outcome,)), 0.0)


def test_what_is_asked_most_is_asked_again_before_it_expires_for_one_call(engine: Engine) -> None:
    key = hot(engine, "popular", options={"model": "sim-large"})
    hot(engine, "popular and young", ends_in_s=DAY_S)
    hot(engine, "seldom", times=1)
    engine.play(always_answers)
    # when the chore comes, and comes again while its batch has not run
    asked = counted("asked")
    refresh_most_asked(engine.runtime)
    refresh_most_asked(engine.runtime)
    # then there is one small batch, like any other of its tenant, under a ceiling
    (batch,) = refreshes(engine)
    assert (batch["tenant"], batch["warm"], batch["budget"]["limit_usd"]) == ("default", True, 1.0)
    assert engine.runtime.plan(batch["_id"]) == "1 items" and counted("asked") == asked + 1
    assert engine.run(shard_id(batch["_id"], 1)) == "done"
    assert [asked["model"] for asked in engine.provider.asked] == ["sim-large"], "as it was asked"
    with cache_redis(engine) as redis:
        assert redis.pttl(key) > WEEK_MS - 60_000
    assert engine.rows(ask(engine, chat_line("later", "popular", model="sim-large")))[0]["source"] == "cache"
    # and it has ended, so the next look comes to nothing: nothing expires soon any more
    refresh_most_asked(engine.runtime)
    assert len(refreshes(engine)) == 1 and engine.provider.seen == 1


def test_of_two_workers_that_counted_the_same_money_one_spends_it_however_late_the_other_comes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot(engine, "paid once")
    slept, works, begun = count(), _Refresh._works, datetime.now(UTC)
    monkeypatch.setattr(Minutes, "now", lambda _: begun + timedelta(minutes=5 * next(slept)))

    def stopped(one: _Refresh, chosen: Sequence[Asked]) -> list[Work]:
        monkeypatch.setattr(_Refresh, "_works", works)
        # meanwhile its lease is over, another worker refreshes, and that batch has ended, too
        refresh_most_asked(engine.runtime)
        engine.stores.db["batch_jobs"].update_one({"run_key": RUN_KEY}, {"$set": {"status": "completed"}})
        return works(one, chosen)

    monkeypatch.setattr(_Refresh, "_works", stopped)
    refresh_most_asked(engine.runtime)
    assert len(refreshes(engine)) == 1
    # and the next one comes behind it, whatever their clocks made of their order
    refresh_most_asked(engine.runtime)
    assert len(refreshes(engine)) == 2


def test_what_warms_counts_as_nobodys_asking(engine: Engine) -> None:
    lines = [chat_line(f"c{n}", "warm only") for n in range(4 * STRIDE)]
    fire(engine, lines[:1])
    fire(engine, lines)
    engine.begin(engine.runtime.warmth.flush()).result(RUN_S)
    with cache_redis(engine) as redis:
        assert not redis.exists(keys.asked("default"))


def test_a_request_that_cannot_be_read_again_or_has_another_key_now_is_left_alone(engine: Engine) -> None:
    hot(engine, "file gone")
    engine.stores.db["files"].update_many({"filename": "x.jsonl"}, {"$set": {"state": "abandoned"}})
    lost = counted("unreadable")
    refresh_most_asked(engine.runtime)
    assert not refreshes(engine) and counted("unreadable") == lost + 1
    # and after the cache was cleared, which gives every request another key
    with cache_redis(engine) as redis:
        redis.flushdb()
    hot(engine, "cleared")
    engine.stores.tenants.raise_generation("default")
    refresh_most_asked(engine.runtime)
    assert not refreshes(engine) and counted("unreadable") == lost + 2


def test_each_tenant_has_its_own_table_and_a_budget_of_its_own(engine: Engine) -> None:
    for name in ("acme", "globex"):
        engine.stores.tenants.ensure(name)
    lines = [chat_line(f"c{n}", "the same words") for n in range(4 * STRIDE)]
    file_id = engine.stores.file(lines, tenant="acme")
    with cache_redis(engine) as redis:
        for _ in range(2):
            ask_as_acme(engine, file_id)
        engine.begin(engine.runtime.warmth.flush()).result(RUN_S)
        for key in answers(redis):
            redis.pexpire(key, 60_000)
        assert redis.exists(keys.asked("acme")) and not redis.exists(keys.asked("globex"))
    refresh_most_asked(engine.runtime)
    assert [len(refreshes(engine, name)) for name in ("acme", "globex", "default")] == [1, 0, 0]
    # and when the tenant goes, its table goes
    engine.stores.tenants.begin_erasing("acme")
    refresh_most_asked(engine.runtime)
    with cache_redis(engine) as redis:
        assert not redis.exists(keys.asked("acme"), keys.asked_at("acme"), keys.asked_halved("acme"))
    engine.stores.db["tenants"].delete_one({"_id": "acme"})
    engine.stores.db["tenants"].delete_one({"_id": "globex"})


def ask_as_acme(engine: Engine, file_id: str) -> None:
    batch_id = engine.stores.batch(tenant="acme", input_file_id=file_id)
    engine.runtime.plan(batch_id)
    assert engine.run(shard_id(batch_id, 1)) == "done"
