"""What stands now is what is there, and asking for it walks no collection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.batches import Stores
from tests.support.looks import profiled
from workers.store.mongo import EPOCH, Doc
from workers.store.standing import Standing

pytestmark = pytest.mark.integration
NOW_S = 1_793_664_000.0 + 3_600  # one in the morning


def test_what_waits_runs_and_was_here_today_is_counted_by_indexes_alone(stores: Stores) -> None:
    db, now = stores.db, datetime.now(UTC)
    shard: Doc = {"tenant": "t", "batch_id": "b", "priority": 0, "items": b"", "seq": 0, "reason": None}
    waits: Doc = {"provider": "acme", "status": "queued"}
    later, ago = now + timedelta(hours=1), now - timedelta(seconds=90)
    rows: list[Doc] = [
        waits | {"next_at": ago},
        waits | {"next_at": later},
        waits | {"next_at": EPOCH},
        {"provider": "acme", "status": "leased", "next_at": ago - timedelta(hours=1)},
        {"provider": "acme", "status": "done", "next_at": EPOCH},
    ]
    db["batch_shards"].insert_many([shard | row | {"_id": f"s{number}"} for number, row in enumerate(rows)])
    for number, (status, made_s) in enumerate(
        (("completed", -7_200), ("in_progress", -60), ("completed", -30))
    ):
        db["batch_jobs"].insert_one(
            {"_id": f"batch_{int((NOW_S + made_s) * 1000):012x}{number}", "status": status}
        )
    keys = {"k1": NOW_S - 10, "k2": NOW_S - 20, "k3": NOW_S - 90_000, "k4": None}
    db["api_keys"].insert_many(
        [{"_id": id_, "id": id_, "tenant": "t", "last_used_at": used} for id_, used in keys.items()]
    )
    sent = {"tenant": "t", "batch_id": None, "lane": "l", "next_at": now}
    for id_, state, ago_s in (("d1", "pending", 50), ("d2", "pending", 20), ("d3", "delivered", 500)):
        db["deliveries"].insert_one(sent | {"_id": id_, "state": state, "created_at": NOW_S - ago_s})
    alert = {"open": True, "phase": "firing", "rule": "errors"}
    db["alerts"].insert_many([alert | {"_id": f"a{number}", "key": str(number)} for number in range(2)])

    with profiled(db):
        stands = Standing(db).look(["acme", "idle"], NOW_S)

    assert stands.shards["acme", "queued"] == 3 and stands.shards["acme", "leased"] == 1
    assert stands.shards["acme", "dispatched"] == stands.shards["idle", "queued"] == 0
    assert ("acme", "done") not in stands.shards and stands.oldest_due_s["idle"] == 0.0
    assert 90 <= stands.oldest_due_s["acme"] < 100, "a moved part that was always due says nothing"
    assert stands.batches["completed"] == 2 and stands.batches["in_progress"] == 1
    assert (stands.batches_today, stands.keys_today, stands.tenants_today) == (2, 2, 1)
    assert (stands.deliveries, stands.oldest_delivery_s) == (2, 50.0)
    assert stands.alerts == {"errors": 2} and stands.beat_silent_s is None
    plans = list(db["system.profile"].find({"planSummary": {"$exists": True}}, {"ns": 1, "planSummary": 1}))
    db["system.profile"].drop()
    assert len(plans) > 8 and not [plan for plan in plans if "COLLSCAN" in plan["planSummary"]]
