"""What all batches have done counts once and never falls, whatever is booked, folded or erased while somebody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.batches import Stores
from tests.support.looks import profiled
from workers.core.recorded import SUMS, recorded_rows
from workers.core.tally import Tally
from workers.store.ledger import Ledger
from workers.store.mongo import Doc
from workers.store.recorded_totals import RecordedTotals

pytestmark = pytest.mark.integration
TENANTS = ("ann", "ben")
# Where the others rest and the reader takes its next look.
LOOK = 5


@pytest.fixture
def totals(stores: Stores) -> RecordedTotals:
    for name in ("usage", "usage_totals", "batch_jobs", "batch_shards"):
        stores.db[name].delete_many({})
    return RecordedTotals(stores.db)


def begun(stores: Stores, batch_id: str, tenant: str, **counts: int) -> Doc:
    """A batch that runs, with one shard."""
    head = {"_id": batch_id, "tenant": tenant}
    batch = head | {"status": "in_progress", "in_progress_at": 1, "created_at": 1.0, "booked": None}
    stores.db["batch_jobs"].insert_one(batch)
    shard = {"_id": f"{batch_id}:0", "batch_id": batch_id, "tenant": tenant, "provider": "sim"}
    tally = Tally(**counts)
    stores.db["batch_shards"].insert_one(shard | {"counts": tally.as_dict(), "possibly_repeated": 3})
    return batch


def lived(stores: Stores, batch: Doc, items: int) -> Iterator[None]:
    """The end of a batch, a write at a time: its row, its last move, its retention."""
    counts = {(f"{batch['_id']}:0", "m"): Tally(recorded=items, completed=items, calls=items)}
    rows = recorded_rows(counts, {f"{batch['_id']}:0": "sim"}, {"sim": 3})
    Ledger(stores.db).book(batch, [], rows)
    yield
    stores.db["batch_jobs"].update_one(
        {"_id": batch["_id"]}, {"$set": {"status": "completed", "booked": True}}
    )
    yield
    stores.db["batch_shards"].delete_many({"batch_id": batch["_id"]})
    yield
    stores.db["batch_jobs"].delete_one({"_id": batch["_id"]})


def erased(stores: Stores, totals: RecordedTotals, tenant: str) -> Iterator[None]:
    """The rows of a tenant that has no batch left go, a slice at a time."""
    while not stores.db["batch_jobs"].find_one({"tenant": tenant}) and totals.let_go(tenant, 1):
        yield


def folded(stores: Stores, totals: RecordedTotals) -> Iterator[None]:
    """Parts of whatever there is, a write at a time."""
    while True:
        part = totals._begin(1, None)
        yield
        if part is not None:
            stores.db["usage"].update_many({"_id": {"$in": part["rows"]}}, {"$set": {"folded": part["_id"]}})
            yield
            totals.fold()
            yield


class Interrupted:
    """A collection beside which something happens before each look."""

    def __init__(self, docs: Any, happens: Callable[[], None]) -> None:
        self._docs, self._happens = docs, happens

    def find(self, *args: Any) -> Any:
        self._happens()
        return self._docs.find(*args)

    def aggregate(self, *args: Any) -> Any:
        self._happens()
        return self._docs.aggregate(*args)


@example(order=[LOOK, LOOK, 0, 0, 0, 0, LOOK])
@example(order=[0, 0, 0, 0, LOOK, 2, 2, 2, 3, 3])
@given(order=st.lists(st.integers(0, LOOK), min_size=4, max_size=30))
def test_each_batch_counts_once_whatever_happens_while_somebody_reads(
    stores: Stores, order: list[int]
) -> None:
    for name in ("usage", "usage_totals", "batch_jobs", "batch_shards"):
        stores.db[name].delete_many({})
    totals = RecordedTotals(stores.db)
    sizes = {"b1": 1, "b2": 10}
    batches = [
        begun(stores, batch_id, tenant, recorded=items, completed=items, calls=items)
        for (batch_id, items), tenant in zip(sizes.items(), TENANTS, strict=True)
    ]
    going = [lived(stores, batch, sizes[batch["_id"]]) for batch in batches]
    going += [folded(stores, totals), *(erased(stores, totals, tenant) for tenant in TENANTS)]
    steps = iter(order)

    def happens() -> None:
        while (number := next(steps, LOOK)) != LOOK:
            next(going[number], None)

    reader = RecordedTotals(stores.db)
    for name in ("_rows", "_parts", "_batches", "_shards"):
        setattr(reader, name, Interrupted(getattr(reader, name), happens))
    for _ in range(4):
        sums = reader.read()["sim"]
        assert (sums["items"], sums["calls"], sums["possibly_repeated"]) == (11, 11, 6)


def test_nothing_falls_when_a_tenant_is_erased_and_nothing_that_is_kept_names_it(
    stores: Stores, totals: RecordedTotals
) -> None:
    batch = begun(stores, "batch_of_ann", "ann", recorded=5, completed=5, calls=7)
    before = totals.read()
    for _ in lived(stores, batch, 5):
        pass
    while totals.let_go("ann", 100):
        pass
    assert stores.db["usage"].count_documents({"tenant": "ann"}) == 0
    after = totals.read()
    assert after["sim"]["items"] == before["sim"]["items"] == 5
    kept = str(list(stores.db["usage_totals"].find()))
    assert "ann" not in kept and "batch_of_ann" not in kept


def test_rows_of_a_batch_whose_finalizer_has_not_come_back_are_in_no_part_and_count_by_their_shards(
    stores: Stores, totals: RecordedTotals
) -> None:
    batch = begun(stores, "b1", "ann", recorded=4, completed=4)
    end = lived(stores, batch, 4)
    next(end)
    assert not totals.fold(fewest=1) and totals.read()["sim"]["items"] == 4
    next(end)
    assert totals.fold(fewest=1) and totals.read()["sim"]["items"] == 4


def test_a_part_that_was_broken_off_is_ended_by_the_next_one_and_counts_once_meanwhile(
    stores: Stores, totals: RecordedTotals
) -> None:
    for number in range(3):
        Ledger(stores.db).book(
            {"_id": f"b{number}", "tenant": "ann", "created_at": 0.0}, [], [{"provider": "sim", "items": 1}]
        )
    stores.db["usage_totals"].insert_one({"_id": "p", "made": False, "rows": ["b0", "b1"]})
    stores.db["usage"].update_one({"_id": "b0"}, {"$set": {"folded": "p"}})
    assert totals.read()["sim"]["items"] == 3
    assert totals.fold(fewest=100), "what was broken off is ended, however few there are"
    assert totals.read()["sim"]["items"] == 3 and not totals.fold(fewest=100)


def test_rows_of_an_earlier_version_count_by_their_shares(stores: Stores, totals: RecordedTotals) -> None:
    share = {
        "provider": "sim",
        "model": "m",
        "first": 1,
        "items": 4,
        "failed": 1,
        "calls": 5,
        "cost_usd": 0.5,
    }
    stores.db["usage"].insert_one({"_id": "old", "tenant": "ann", "shares": [share, share], "part": ""})
    sums = totals.read()["sim"]
    assert (sums["items"], sums["failed"], sums["calls"], sums["cost_usd"]) == (8, 2, 10, 1.0)
    assert {
        name: sums[name] for name in ("excess", "never_ran", "reasoning_tokens")
    } == Counter() | dict.fromkeys(("excess", "never_ran", "reasoning_tokens"), 0)
    assert totals.fold(fewest=1) and totals.read()["sim"] == sums and set(sums) == set(SUMS)


def test_no_look_and_no_fold_walks_a_whole_collection(stores: Stores, totals: RecordedTotals) -> None:
    with profiled(stores.db):
        for number, tenant in enumerate(TENANTS):
            batch = begun(stores, f"b{number}", tenant, recorded=1)
            for _ in lived(stores, batch, 1):
                totals.read()
            totals.fold(fewest=1)
        begun(stores, "b9", "ann", recorded=1)
        assert totals.read()["sim"]["items"] == 3 and totals.let_go("ben", 10) == 1
    plans = list(
        stores.db["system.profile"].find({"planSummary": {"$exists": True}}, {"ns": 1, "planSummary": 1})
    )
    stores.db["system.profile"].drop()
    assert plans and not [plan for plan in plans if "COLLSCAN" in plan["planSummary"]]
