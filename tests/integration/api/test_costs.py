"""What a tenant's batches have cost, while they run, when they have ended, and when they are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support.api import Api, answered, refused
from tests.support.late import Late
from workers.core import savings, states
from workers.core.budget import account_id, month_of
from workers.core.identity import shard_id
from workers.store.budgets import Budgets
from workers.store.ledger import Ledger

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration


def book(api: Api, batch_id: str, *, provider: str = "sim") -> None:
    """End a batch as the finalizer does, with its row in the ledger."""
    counts, batch = api.work.results.shares(batch_id), api.work.batches.get(batch_id)
    assert batch is not None
    shards = {shard: provider for shard, _ in counts}
    Ledger(api.work.db).book(batch, savings.shares(counts, shards), [])
    assert api.work.batches.finalize(batch_id)
    assert api.work.batches.end(states.COMPLETE, batch_id, {"booked": True})


def of_tenant(api: Api, by: str, name: str) -> float:
    rows = api.call("GET", f"/v1/costs?days=1&by={by}").json()["data"]
    return float(sum(row["cost_usd"] for row in rows if row[by] == name))


def test_a_batch_shows_what_it_costs_by_model_while_it_runs_and_the_same_after_it(api: Api) -> None:
    batch_id = api.batch()
    api.work.start(batch_id, 3)
    other = replace(answered(2, cost_usd=0.5), model="sim-large")
    saved = replace(answered(3, saved_usd=0.125), source="cache", calls=0)
    api.work.record(batch_id, [answered(1, cost_usd=0.25), other, saved])
    running = api.call("GET", f"/v1/batches/{batch_id}/costs").json()
    assert (running["object"], running["final"]) == ("batch.costs", False)
    assert (running["cost_usd"], running["saved_usd"], running["items"]) == (0.75, 0.125, 3)
    assert [(row["model"], row["calls"], row["cached"], row["cost_usd"]) for row in running["data"]] == [
        ("sim-large", 1, 0, 0.5),
        ("sim-small", 1, 1, 0.25),
    ]
    assert api.call("GET", f"/v1/batches/{batch_id}").json()["batchwright"]["saved_usd"] == 0.125
    book(api, batch_id)
    ended = api.call("GET", f"/v1/batches/{batch_id}/costs").json()
    assert ended["final"] is True and ended["data"] == running["data"]
    theirs = {"authorization": f"Bearer {api.other_key}"}
    assert api.call("GET", f"/v1/batches/{batch_id}/costs", headers=theirs).status_code == 404


def test_a_batch_counts_once_while_it_runs_when_it_has_ended_and_when_it_is_gone(api: Api) -> None:
    # Names of its own: other tests' batches of this tenant have prices that nobody knows, whose sum is null.
    model, provider = "model-of-this-test", "provider-of-this-test"
    batch_id = api.batch()
    batch = api.work.start(batch_id, 1, provider)
    api.work.db["batch_jobs"].update_one({"_id": batch["_id"]}, {"$set": {"model": model}})
    api.work.record(batch_id, [replace(answered(1, cost_usd=0.5), model=model)])
    assert of_tenant(api, "model", model) == 0.5
    Ledger(api.work.db).book(batch, [], [])
    assert of_tenant(api, "model", model) == 0.5, "its row is there, and it has not ended"
    book(api, batch_id, provider=provider)
    assert of_tenant(api, "model", model) == 0.5
    api.work.db["batch_jobs"].delete_one({"_id": batch_id})
    assert of_tenant(api, "model", model) == 0.5
    assert of_tenant(api, "provider", provider) == 0.5
    assert api.call("GET", "/v1/costs?by=colour").status_code == 400


def test_a_refused_call_of_unknown_price_makes_the_sum_unknown(api: Api) -> None:
    batch_id = api.batch()
    api.work.complete(batch_id, [replace(refused(1), cost_usd=None), answered(2, cost_usd=0.5)])
    found = api.call("GET", f"/v1/batches/{batch_id}/costs").json()
    assert found["cost_usd"] is None and found["saved_usd"] == 0 and found["failed"] == 1


def test_a_batch_at_its_tenants_ceiling_cannot_be_resumed_until_that_is_raised(api: Api) -> None:
    batch_id, tenants = api.batch(), api.work.db["tenants"]
    created_at = api.work.start(batch_id, 1)["created_at"]
    account = account_id("default", month_of(created_at))
    assert Budgets(api.work.db).pause_for_tenant(batch_id, account, limit_usd=5.0)
    tenants.update_one({"_id": "default"}, {"$set": {"max_cost_usd_per_month": 5.0}})
    try:
        with pytest.raises(openai.ConflictError) as refusal:
            api.sdk_of(api.key, max_retries=2).post(f"/batches/{batch_id}/resume", cast_to=object, body={})
        assert refusal.value.code == "tenant_max_cost_reached"
        assert "max_cost_usd_per_month" in refusal.value.message and "$5 " in refusal.value.message
        assert refusal.value.response.headers["x-should-retry"] == "false"
        why = api.call("GET", f"/v1/batches/{batch_id}/why").json()["waiting_for"]
        assert [reason["kind"] for reason in why] != ["tenant_budget"], (
            "a shard in the queue still waits there"
        )
        api.work.shards.hold_back(batch_id)
        (reason,) = api.call("GET", f"/v1/batches/{batch_id}/why").json()["waiting_for"]
        assert reason["kind"] == "tenant_budget" and month_of(created_at) in reason["text"]
        tenants.update_one({"_id": "default"}, {"$set": {"max_cost_usd_per_month": 6.0}})
        resumed = api.call("POST", f"/v1/batches/{batch_id}/resume", json={})
        assert resumed.status_code == 200 and resumed.json()["batchwright"]["paused"] is False
        assert api.work.shards.claim(shard_id(batch_id, 0), "test", 60.0) is not None
    finally:
        tenants.update_one({"_id": "default"}, {"$set": {"max_cost_usd_per_month": None}})
