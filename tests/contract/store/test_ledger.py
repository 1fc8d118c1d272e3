"""What batches have cost is written once for each, outlives them, and is summed the same however often it is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.batches import Stores
from workers.core.savings import SHARE_SUMS
from workers.store.ledger import Ledger
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(stores: Stores) -> Ledger:
    for name in ("usage", "usage_days"):
        stores.db[name].delete_many({})
    return Ledger(stores.db)


def share(provider: str = "sim", model: str = "m", *, first: int = 1, **sums: Any) -> Doc:
    return dict.fromkeys(SHARE_SUMS, 0) | {"provider": provider, "model": model, "first": first} | sums


def booked(stores: Stores, ledger: Ledger, batch_id: str, created: str, ended: str, *shares: Doc) -> None:
    """A row as it was written on another day."""
    ledger.book({"_id": batch_id, "tenant": "default", "created_at": 0.0}, shares)
    days = {"created_day": created, "ended_day": ended}
    stores.db["usage"].update_one({"_id": batch_id}, {"$set": days})


def test_a_row_that_is_written_again_keeps_its_day_and_is_one_row(stores: Stores, ledger: Ledger) -> None:
    batch = {"_id": "batch_1", "tenant": "default", "created_at": 86_400.0 * 3}
    ledger.book(batch, [share(calls=1)])
    first = ledger.get("batch_1")
    for _ in range(2):
        ledger.book(batch, [share(calls=2)])
    again = ledger.get("batch_1")
    assert first is not None and again is not None
    assert again["shares"][0]["calls"] == 2 and stores.db["usage"].count_documents({}) == 1
    assert {**again, "shares": None} == {**first, "shares": None}
    assert again["created_day"] == "1970-01-04" and again["ended_day"] > "2020"


def test_days_that_are_over_are_summed_once_and_others_each_time(stores: Stores, ledger: Ledger) -> None:
    booked(
        stores, ledger, "b1", "2026-11-01", "2026-11-01", share(calls=1), share(model="n", first=0, calls=2)
    )
    booked(stores, ledger, "b2", "2026-11-01", "2026-11-02", share("acme", calls=4))
    booked(stores, ledger, "b3", "2026-11-02", "2026-11-03", share(calls=8))
    booked(stores, ledger, "b4", "2026-10-31", "2026-11-01", share(calls=1000))

    def ask(**options: Any) -> list[tuple[str, str, str, int]]:
        rows = ledger.sums("default", "2026-11-01", open_since="2026-11-03", **options)
        return sorted((row["created_day"], row["provider"], row["model"], row["calls"]) for row in rows)

    expected = [
        ("2026-11-01", "acme", "m", 4),
        ("2026-11-01", "sim", "m", 1),
        ("2026-11-01", "sim", "n", 2),
        ("2026-11-02", "sim", "m", 8),
    ]
    assert ask() == ask() == expected
    assert {doc["ended_day"] for doc in stores.db["usage_days"].find()} == {"2026-11-01", "2026-11-02"}
    booked(stores, ledger, "b5", "2026-11-03", "2026-11-03", share(calls=16))
    assert ask() == [*expected, ("2026-11-03", "sim", "m", 16)]
    assert ask(without=["b5"]) == expected, "it is counted where it runs"
    stores.db["usage"].delete_many({"ended_day": "2026-11-01"})
    assert ask()[:4] == expected, "the kept sums of that day stand"


def test_another_tenant_has_rows_of_its_own(stores: Stores, ledger: Ledger) -> None:
    booked(stores, ledger, "b1", "2026-11-01", "2026-11-01", share(calls=1))
    assert ledger.sums("other", "2026-11-01", open_since="2026-11-03") == []
    assert len(ledger.sums("default", "2026-11-01", open_since="2026-11-03")) == 1


def test_a_batch_counts_by_its_own_document_until_its_last_move_says_that_it_is_booked(
    stores: Stores, ledger: Ledger
) -> None:
    batch_id, since_s = stores.batch(tenant="booking"), 0.0
    assert [doc["_id"] for doc in ledger.unbooked("booking", since_s)] == [batch_id]
    assert stores.batches.fail(batch_id, [])
    assert ledger.unbooked("booking", since_s) == [], "it never ran, and has no row either"
