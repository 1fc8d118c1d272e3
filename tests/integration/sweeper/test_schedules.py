"""Schedules over a real MongoDB: one batch for each due time, whoever looks, whoever dies, whatever was missed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any, cast

import pytest

from config.tree import Disk
from tests.support.batches import CHAT, chat_line
from tests.support.sweeping import Site
from workers import chores, metrics
from workers.chores import Chore
from workers.core.disk import DiskUse
from workers.core.errors import StoreUnavailable
from workers.core.identity import new_id
from workers.core.schedule import LATE_S
from workers.creation import Defaults
from workers.erasure import Erasure
from workers.observed import OBSERVED
from workers.queue import Queue
from workers.retention import Retention
from workers.schedules import TOGETHER, Firing
from workers.store.batches import Batches
from workers.store.files import DELETED
from workers.store.mongo import EPOCH, NOW, Doc
from workers.store.schedules import Schedules, due_of, run_id

pytestmark = pytest.mark.integration
_numbers = count()
EVERY_S = 3600


class Died(BaseException):
    """The process ends here; nobody catches that."""


@pytest.fixture
def firing(site: Site) -> Firing:
    """What fires, over the site's stores; the disk has room."""
    site.stores.tenants.ensure("default")
    queue = cast("Queue", site.queue)
    defaults = Defaults(cache=True, invalid_lines="fail")
    return Firing(site.nouns, queue, defaults, "once", lambda: DiskUse(1, 100), Disk())


def scheduled(site: Site, *, due_ago_s: int = 1, **changes: Any) -> Doc:
    """A schedule of two questions that was due so long ago."""
    now = _now(site)
    form: Doc = {
        "endpoint": CHAT,
        "input_file_id": site.stores.file([chat_line("c1", "a"), chat_line("c2", "b")]),
        "completion_window": "24h",
        "metadata": {"of": "schedule"},
        "output_expires_after": None,
        "batchwright": {
            **dict.fromkeys(("model", "cache", "invalid_lines", "run_key", "max_cost_usd", "webhook")),
            "order": "completion",
            "priority": 0,
        },
    }
    doc: Doc = {
        "_id": new_id("sched_", now * 1000 + next(_numbers)),
        "tenant": "default",
        "name": "nightly",
        "kind": "batch",
        "batch": form,
        "cron": None,
        "timezone": "UTC",
        "every_s": EVERY_S,
        "anchor": now - due_ago_s,
        "missed": None,
        "enabled": True,
        "next_due": now - due_ago_s,
        "created_at": now,
        "last_run": None,
        **changes,
    }
    site.nouns.schedules.insert(doc)
    return doc


def _now(site: Site) -> int:
    return int(site.stores.db.command("hello")["localTime"].timestamp())


def runs(site: Site, schedule: Doc) -> list[Doc]:
    return list(reversed(site.nouns.schedules.runs(schedule["_id"], after=None, limit=200)))


def batches(site: Site) -> list[Doc]:
    return list(site.stores.db["batch_jobs"].find().sort("_id", 1))


def seen(site: Site, schedule: Doc) -> Doc:
    found = site.nouns.schedules.get(schedule["_id"], schedule["tenant"])
    assert found is not None
    return found


def test_what_is_due_becomes_a_batch_by_the_form_it_was_given(site: Site, firing: Firing) -> None:
    schedule, later = scheduled(site), scheduled(site, due_ago_s=-100)
    before = OBSERVED.read()
    firing.round()
    (batch,), (run,) = batches(site), runs(site, schedule)
    assert (run["state"], run["batch_id"], run["due"]) == ("started", batch["_id"], schedule["next_due"])
    assert batch["metadata"] == {"of": "schedule"} and batch["status"] == "validating"
    assert batch["schedule"] == {"id": schedule["_id"], "due": run["due"]} and "warm" not in batch
    assert site.queue.plans == [batch["_id"]], "a worker is told"
    moved = seen(site, schedule)
    assert due_of(moved) == schedule["next_due"] + EVERY_S
    assert moved["last_run"] == {"due": run["due"], "state": "started", "batch_id": batch["_id"]}
    assert not runs(site, later), "it is not due yet"
    counted = OBSERVED.read().since(before).counts
    assert counted == {(metrics.SCHEDULE_RUNS.name, ("started",)): 1.0}
    firing.round()
    assert len(batches(site)) == 1


def test_the_batch_of_a_warming_schedule_says_so(site: Site, firing: Firing) -> None:
    scheduled(site, kind="warm")
    firing.round()
    assert batches(site)[0]["warm"] is True


def test_of_many_who_fire_at_once_one_makes_the_batch(site: Site, firing: Firing) -> None:
    schedule, together = scheduled(site), threading.Barrier(8)

    def fire(_: int) -> None:
        together.wait()
        firing.round()

    with ThreadPoolExecutor(8) as several:
        list(several.map(fire, range(8)))
    assert len(batches(site)) == len(runs(site, schedule)) == 1


def _steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], int]:
    """Lets the process die at the n-th write of a firing; gives how many there were until now."""
    left: list[int | None] = [None]
    done = [0]

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            if left[0] == done[0]:
                raise Died
            done[0] += 1
            return write(*args, **options)

        return step

    for owner, name in (
        *((Schedules, name) for name in ("begin_run", "end_run", "miss", "move_on")),
        (Batches, "insert"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))

    def die_at(step: int | None) -> int:
        taken, left[0], done[0] = done[0], step, 0
        return taken

    return die_at


@pytest.mark.parametrize("late", [False, True])
def test_whoever_dies_between_two_writes_the_next_tick_heals_it_and_doubles_nothing(
    site: Site, firing: Firing, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    die_at = _steps(monkeypatch)
    # A due time alone, or four that were missed and a fifth, which runs for all of them.
    due_ago_s, started = (4 * EVERY_S + LATE_S + 5, 1) if late else (1, 1)
    for step in count():
        site.stores.db["batch_jobs"].delete_many({})
        schedule = scheduled(site, due_ago_s=due_ago_s)
        die_at(step)
        try:
            firing.round()
            died = False
        except Died:
            died = True
        die_at(None)
        firing.round()
        found = runs(site, schedule)
        assert [row["state"] for row in found] == (["missed"] if late else []) + ["started"] * started, step
        assert [batch["_id"] for batch in batches(site)] == [
            row["batch_id"] for row in found if row["batch_id"]
        ]
        assert due_of(seen(site, schedule)) > _now(site)
        assert len(seen(site, schedule).get("events", ())) == late, "missed times are told of once"
        if not died:
            assert step == (6 if late else 4), "each of its writes was the last one once"
            return


def test_a_run_that_was_begun_in_time_is_ended_though_its_due_time_is_long_past(
    site: Site, firing: Firing
) -> None:
    schedule = scheduled(site, due_ago_s=2 * EVERY_S - 100, missed="skip")
    begun = site.nouns.schedules.begin_run(
        run_id(schedule["_id"], schedule["next_due"]), schedule, schedule["next_due"], by="clock", kept_s=1e6
    )
    assert begun["state"] == "starting"
    firing.round()
    firing.round()
    first, rest = runs(site, schedule)
    assert first["state"] == "started" and (rest["state"], rest["count"]) == ("missed", 1)


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        ("once", ["missed", "started"]),
        ("all", ["started"] * 4),
        ("skip", ["missed"]),
    ],
)
def test_what_an_outage_has_missed_runs_once_each_time_or_is_only_told(
    site: Site, firing: Firing, policy: str, states: list[str]
) -> None:
    schedule = scheduled(site, due_ago_s=3 * EVERY_S + LATE_S + 5, missed=policy)
    before = OBSERVED.read()
    firing.round()
    found = runs(site, schedule)
    assert [row["state"] for row in found] == states
    assert len(batches(site)) == states.count("started")
    missed = {"once": 3, "all": 0, "skip": 4}[policy]
    assert sum(row.get("count", 0) for row in found) == missed
    counted = OBSERVED.read().since(before).counts.get((metrics.SCHEDULES_MISSED.name, ()), 0)
    assert counted == missed
    site.nouns.outbox.collect(10)
    told = [row["event"] for row in site.nouns.outbox.untold(10)]
    assert [event["data"]["count"] for event in told] == ([missed] if missed else [])
    assert all(event["type"] == "schedule.missed" for event in told)


def test_the_setting_holds_where_a_schedule_says_nothing(site: Site, firing: Firing) -> None:
    schedule = scheduled(site, due_ago_s=3 * EVERY_S + LATE_S + 5)
    replace(firing, missed="skip").round()
    assert [row["state"] for row in runs(site, schedule)] == ["missed"]


def test_a_full_disk_or_queue_refuses_the_run_and_the_next_due_time_tries_again(
    site: Site, firing: Firing
) -> None:
    full = replace(firing, disk_use=lambda: DiskUse(99, 100))
    schedule = scheduled(site)
    full.round()
    (run,) = runs(site, schedule)
    assert (run["state"], run["error"]["code"]) == ("refused", "insufficient_storage")
    site.stores.db["tenants"].update_one({"_id": "default"}, {"$set": {"limits.max_queued_items": 0}})
    schedule = scheduled(site)
    firing.round()
    (run,) = runs(site, schedule)
    assert (run["state"], run["error"]["code"]) == ("refused", "queued_items_limit")
    assert not batches(site) and due_of(seen(site, schedule)) > _now(site)


def test_one_schedule_that_cannot_be_read_stops_no_other(site: Site, firing: Firing) -> None:
    scheduled(site, cron="no cron", due_ago_s=2)
    good = scheduled(site)
    firing.round()
    assert [row["state"] for row in runs(site, good)] == ["started"]


def test_however_many_are_due_and_whoever_is_in_front_all_run_in_one_round(
    site: Site, firing: Firing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.schedules.AT_ONCE", 2)
    site.stores.tenants.ensure("going")
    for _ in range(3):
        scheduled(site, tenant="going", due_ago_s=40)
        broken = scheduled(site, cron="no cron", due_ago_s=30)
        site.nouns.schedules.begin_run(run_id(broken["_id"], 1), broken, 1, by="clock", kept_s=1e6)
        site.nouns.schedules.begin_run(
            run_id(broken["_id"], 2), broken | {"tenant": "going"}, 2, by="clock", kept_s=1e6
        )
    good = [scheduled(site) for _ in range(5)]
    begun = scheduled(site, due_ago_s=-100)
    site.nouns.schedules.begin_run(run_id(begun["_id"], 3), begun, 3, by="request", kept_s=1e6)
    site.stores.db["schedule_runs"].update_many({}, {"$set": {"begun_at": EPOCH}})
    site.nouns.tenants.begin_erasing("going")
    firing.round()
    assert [[row["state"] for row in runs(site, each)] for each in (*good, begun)] == [["started"]] * 6


def test_a_broker_that_takes_nothing_is_asked_a_few_times_and_every_run_is_made(
    site: Site, firing: Firing
) -> None:
    asked: list[str] = []

    class Away:
        def publish_plan(self, batch_id: str) -> None:
            asked.append(batch_id)
            raise StoreUnavailable("no")

    due = [scheduled(site) for _ in range(3 * TOGETHER)]
    replace(firing, queue=cast("Queue", Away())).round()
    assert len(batches(site)) == len(due) and 1 <= len(asked) <= TOGETHER


def test_a_rhythm_that_is_changed_while_a_run_is_made_says_what_is_due_next(
    site: Site, firing: Firing, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = scheduled(site)
    due, store, end_run = schedule["next_due"], site.nouns.schedules, Schedules.end_run

    def changed_meanwhile(*args: Any, **options: Any) -> bool:
        # By the new rhythm, too, it was due at that moment.
        assert store.change(seen(site, schedule), {"every_s": 600, "anchor": due - 600, "next_due": due})
        return end_run(*args, **options)

    monkeypatch.setattr(Schedules, "end_run", changed_meanwhile)
    firing.round()
    assert due_of(seen(site, schedule)) == due
    firing.round()
    assert due_of(seen(site, schedule)) == due + 600 and len(batches(site)) == 1


def test_a_change_that_was_thought_out_before_another_one_is_not_written(site: Site) -> None:
    before, store = scheduled(site), site.nouns.schedules
    assert store.change(before, {"every_s": 600, "anchor": 5})
    assert store.change(before, {"enabled": False}) is None
    now = store.change(seen(site, before), {"enabled": False, "name": "other"})
    assert now is not None and (now["every_s"], now["enabled"], now["name"]) == (600, False, "other")
    assert store.change(before | {"tenant": "acme"}, {"enabled": True}) is None


def test_its_file_lives_as_long_as_the_schedule_whatever_its_user_and_retention_do(
    site: Site, firing: Firing
) -> None:
    schedule = scheduled(site)
    file_id = schedule["batch"]["input_file_id"]
    assert site.stores.files.hide(file_id, "default")
    firing.round()
    (batch,) = batches(site)
    site.stores.db["batch_jobs"].update_one(
        {"_id": batch["_id"]}, {"$set": {"status": "completed", "expire_at": EPOCH}}
    )
    Retention(site.nouns).round(float("inf"))
    site.sweep()
    file = site.stores.db["files"].find_one({"_id": file_id})
    assert file is not None and file["state"] == DELETED and not batches(site)
    assert site.nouns.schedules.remove(schedule["_id"], "default")
    site.sweep()
    assert site.stores.db["files"].find_one({"_id": file_id}) is None


def test_a_tenant_that_goes_takes_its_schedules_along_and_none_of_them_runs_meanwhile(
    site: Site, firing: Firing
) -> None:
    site.stores.tenants.ensure("gone")
    schedule = scheduled(site, tenant="gone")
    firing.run(schedule, run_id(schedule["_id"], 1), 1)
    site.nouns.tenants.begin_erasing("gone")
    firing.round()
    assert len(batches(site)) == 1, "that from before"
    for _ in range(3):
        Erasure(site.nouns, site.finalizer, lingers_s=0.0).round(float("inf"))
    assert not site.stores.db["schedules"].find_one() and not site.stores.db["schedule_runs"].find_one()


# --- chores


class Worker:
    """What chores see of a worker."""

    def __init__(self, site: Site, owner: str = "w@h:1") -> None:
        self.stores, self.owner, self.done = site.nouns, owner, list[str]()


@pytest.fixture
def worker(site: Site) -> Any:
    return Worker(site)


def _notes(name: str) -> Callable[[Any], None]:
    return lambda worker: worker.done.append(name)


def test_a_chore_is_done_once_for_its_time_by_one_worker_and_a_failing_one_stops_no_other(
    site: Site, worker: Any
) -> None:
    def fails(_: Any) -> None:
        raise ValueError("no")

    table = [Chore("bad", 60.0, fails), Chore("good", 60.0, _notes("good"))]
    assert chores.tick(worker, table) == "good"
    assert (
        chores.tick(worker, table)
        == chores.tick(cast("Any", Worker(site, "other")), table)
        == "nothing is due"
    )
    assert worker.done == ["good"]


def test_a_chore_is_due_again_at_every_tick_it_is_meant_for(site: Site, worker: Any) -> None:
    table = [Chore("often", 5.0, _notes("often"))]
    for _ in range(2):
        chores.tick(worker, table)
        # Five seconds later, less what ticks come early.
        site.stores.db["chores"].update_one(
            {"_id": "often"},
            [
                {
                    "$set": {
                        "next_at": {"$dateSubtract": {"startDate": "$next_at", "unit": "second", "amount": 4}}
                    }
                }
            ],
        )
    assert worker.done == ["often", "often"]


def test_a_chore_whose_worker_died_is_another_ones_once_its_lease_is_over(site: Site) -> None:
    store = site.nouns.chores
    assert store.begin("c", "dead", every_s=0.0, lease_s=60.0)
    assert not store.begin("c", "next", every_s=0.0, lease_s=60.0)
    site.stores.db["chores"].update_one({"_id": "c"}, {"$set": {"until": EPOCH}})
    assert store.begin("c", "next", every_s=0.0, lease_s=60.0)
    store.end("c", "dead")
    assert not store.begin("c", "third", every_s=0.0, lease_s=60.0), "only its owner ends it"


def test_a_clock_that_is_put_back_by_an_hour_stops_no_chore(site: Site) -> None:
    store, chore = site.nouns.chores, {"every_s": 60.0, "lease_s": 120.0}
    assert store.begin("c", "gone", **chore)
    ahead = {"$dateAdd": {"startDate": NOW, "unit": "hour", "amount": 1}}
    site.stores.db["chores"].update_one({"_id": "c"}, [{"$set": {"next_at": ahead, "until": ahead}}])
    assert store.begin("c", "next", **chore) and not store.begin("c", "third", **chore)


def test_a_tick_says_that_beat_lives(site: Site, worker: Any) -> None:
    assert site.nouns.chores.beat_silent_s() is None
    chores.tick(worker, [])
    silent_s = site.nouns.chores.beat_silent_s()
    assert silent_s is not None and 0 <= silent_s < 10
