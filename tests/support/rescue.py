"""What a healthy worker does with the batch of a dead one, and what must be true of it in the end.

before = at_death(engine, batch_id, oracle)
batch = rescue(engine, batch_id)
must_be_whole(engine, batch, oracle, before)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.support.engine import RUN_S, Engine
from tests.support.paid_provider import Oracle, answer_to
from workers.core import states
from workers.core.budget import money_of
from workers.core.recorded import added
from workers.core.tally import FIELD_NAMES
from workers.store.mongo import NEVER, NOW, Doc

_ROUNDS = 12
_PAST = {"$subtract": [NOW, 1000]}


@dataclass(frozen=True)
class AtDeath:
    """How things stood when the process had died.

    Attributes:
        in_flight: calls that were paid, or may have been, and have no result in the database.
        started: calls that the process had said it would start, and that have no result there.
    """

    in_flight: int
    started: int


def at_death(engine: Engine, batch_id: str, oracle: Oracle) -> AtDeath:
    """Look before anybody tidies up."""
    by_call = sum(row["source"] == "call" and row["status_code"] == 200 for row in engine.rows(batch_id))
    shards = list(engine.stores.db["batch_shards"].find({"batch_id": batch_id}))
    started = sum(shard["started"] + sum(one["started"] for one in shard["prior"]) for shard in shards)
    repeated = sum(shard["possibly_repeated"] for shard in shards)
    return AtDeath(oracle.paid.total() - by_call, started + repeated)


def rescue(engine: Engine, batch_id: str) -> Doc:
    """Let leases end, sweep, plan and run until the batch has ended; gives it."""
    jobs, shards = engine.stores.db["batch_jobs"], engine.stores.db["batch_shards"]
    for _ in range(_ROUNDS):
        leased = {"batch_id": batch_id, "status": "leased"}
        shards.update_many(leased, [{"$set": {"lease_until": _PAST}}])
        jobs.update_one(
            {"_id": batch_id, "plan.lease_until": {"$exists": True}}, [{"$set": {"plan.lease_until": _PAST}}]
        )
        sent = {"batch_id": batch_id, "status": "dispatched"}
        shards.update_many(sent, [{"$set": {"dispatch.at": {"$subtract": [NOW, 600_000]}}}])
        engine.stores.shards.expire(100)
        engine.stores.batches.end_windows(100)
        engine.runtime.finalizer.advance(batch_id)
        batch = engine.stores.state(batch_id)
        if states.is_terminal(batch["status"]):
            return batch
        engine.runtime.plan(batch_id)
        resting = {"batch_id": batch_id, "status": "queued", "next_at": {"$lt": NEVER}}
        shards.update_many(resting, [{"$set": {"next_at": NOW}}])
        free = {"batch_id": batch_id, "status": {"$in": ["queued", "dispatched"]}, "next_at": {"$lt": NEVER}}
        runs = [engine.begin_run(doc["_id"]) for doc in shards.find(free, {"_id": 1})]
        for run in runs:
            run.result(RUN_S)
    batch = engine.stores.state(batch_id)
    left = [(doc["_id"], doc["status"], doc["reason"]) for doc in shards.find({"batch_id": batch_id})]
    pytest.fail(f"it never ends: {batch['status']}, {batch['ending']}, {left}")


def must_be_whole(
    engine: Engine, batch: Doc, oracle: Oracle, before: AtDeath, prompts: Mapping[str, str] | None = None
) -> None:
    """I1 to I4 of one batch that has ended, its shards, its files and its money.

    Args:
        prompts: what each accepted custom_id asked; None where nothing was accepted.
    """
    batch_id, rows = batch["_id"], engine.rows(batch["_id"])
    if prompts is None:
        assert rows == [] and engine.stores.db["batch_shards"].count_documents({"batch_id": batch_id}) == 0
        return
    assert [row["custom_id"] for row in rows] == list(prompts), "each item has one result"
    for row in rows:
        if row["ok"]:
            assert _text(engine, row) == answer_to(prompts[row["custom_id"]])
    _shards_have_ended(engine, batch_id)
    _counts_are_right(engine, batch, len(prompts))
    _excess_is_told(batch, oracle, before)
    _files_are_there(engine, batch, rows)
    if batch.get("budget"):
        money = money_of(batch["budget"])
        assert batch["budget"]["holds"] == {}, "every hold is closed"
        assert money.spent_usd == pytest.approx(sum(row["cost_usd"] or 0.0 for row in rows))
    _money_is_booked(engine, batch, sum(row["cost_usd"] or 0.0 for row in rows))


def _money_is_booked(engine: Engine, batch: Doc, cost_usd: float) -> None:
    """The ledger has its row, and the month of its tenant lacks nothing of it and holds nothing for it any more."""
    row = engine.stores.db["usage"].find_one({"_id": batch["_id"]})
    assert row is not None and batch["booked"] is True
    assert sum(share["cost_usd"] for share in row["shares"]) == pytest.approx(cost_usd)
    counts, recorded = batch["counts"], added(row["recorded"]).values()
    assert sum(each["calls"] for each in recorded) == counts["calls"]
    assert sum(each["items"] + each["never_ran"] for each in recorded) == counts["recorded"]
    excess = sum(each["excess"] + each["possibly_repeated"] for each in recorded)
    assert excess == counts["excess"] + counts["possibly_repeated"], (
        "what `/metrics` shows is what the batch shows"
    )
    for account in engine.stores.db["accounts"].find({"_id": {"$in": batch.get("accounts", [])}}):
        budget = account["budget"]
        assert not [key for key in budget["holds"] if batch["_id"] in key], "every hold is closed"
        assert budget["spent_usd"] + budget["lost_usd"] >= cost_usd - 1e-9


def _text(engine: Engine, row: Doc) -> str:
    result = engine.stores.results.get(row["_id"])
    assert result is not None and result.body is not None
    return str(json.loads(result.body)["choices"][0]["message"]["content"])


def _shards_have_ended(engine: Engine, batch_id: str) -> None:
    shards = list(engine.stores.db["batch_shards"].find({"batch_id": batch_id}))
    there = {shard["_id"] for shard in shards}
    for shard in shards:
        assert shard["status"] in states.ENDED_SHARD, (shard["_id"], shard["status"])
        assert {part["child_id"] for part in shard["moved"]} <= there, "no child is missing"
        assert "parent" not in shard or shard["parent"] in there
        if shard["status"] == "done":
            assert shard["prior"] == [] and shard["started"] == 0, "every lease is settled"


def _counts_are_right(engine: Engine, batch: Doc, items: int) -> None:
    counts, again = batch["counts"], engine.stores.results.tally(batch["_id"]).as_dict()
    assert batch["total"] == items == counts["recorded"]
    for name in FIELD_NAMES:
        assert counts[name] == pytest.approx(again[name]), name
    summed = engine.stores.shards.summed(batch["_id"])
    for name in FIELD_NAMES:
        assert getattr(summed.total, name) == pytest.approx(again[name]), f"{name} of the shards"
    by_provider = [sum(share[name] for share in counts["by_provider"].values()) for name in FIELD_NAMES]
    assert by_provider[0] <= items


def _excess_is_told(batch: Doc, oracle: Oracle, before: AtDeath) -> None:
    known, lost = batch["counts"]["excess"], batch["counts"]["possibly_repeated"]
    assert oracle.excess <= before.in_flight + known, "nothing is paid twice that was not under way"
    assert oracle.excess <= known + lost, "every repeat is told"
    assert lost <= before.started, "nothing is told that was not under way"
    if batch["status"] == "completed":
        assert oracle.called.total() <= batch["counts"]["calls"] + lost, "every call is told"


def _files_are_there(engine: Engine, batch: Doc, rows: Sequence[Doc]) -> None:
    for which, ok in (("output", True), ("error", False)):
        lines = [line for _, line in engine.stores.results.lines(batch["_id"], ok=ok)]
        assert len(lines) == sum(row["ok"] is ok for row in rows)
        file_id = batch[f"{which}_file_id"]
        assert bool(file_id) == bool(lines)
        if file_id:
            file = engine.stores.files.get(file_id)
            assert file is not None and file["bytes"] == sum(map(len, lines))
