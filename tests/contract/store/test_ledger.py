"""What batches have cost is written once for each, outlives them, and is summed the same however often it is asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.batches import Stores
from workers.core.savings import SHARE_SUMS
from workers.store.ledger import Ledger
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration
FIRST_S = 1_793_491_200.0  # 2026-11-01


@pytest.fixture
def ledger(stores: Stores) -> Ledger:
    for name in ("usage", "usage_parts"):
        stores.db[name].delete_many({})
    return Ledger(stores.db)


def share(provider: str = "sim", model: str = "m", *, first: int = 1, **sums: Any) -> Doc:
    return dict.fromkeys(SHARE_SUMS, 0) | {"provider": provider, "model": model, "first": first} | sums


def booked(stores: Stores, ledger: Ledger, batch_id: str, created: str, ended: str, *shares: Doc) -> None:
    """A row as it was written on another day."""
    ledger.book({"_id": batch_id, "tenant": "default", "created_at": 0.0}, shares, [])
    days = {"created_day": created, "ended_day": ended}
    stores.db["usage"].update_one({"_id": batch_id}, {"$set": days})


def test_a_row_that_is_written_again_keeps_its_day_and_is_one_row(stores: Stores, ledger: Ledger) -> None:
    batch = {"_id": "batch_1", "tenant": "default", "created_at": 86_400.0 * 3}
    ledger.book(batch, [share(calls=1)], [])
    first = ledger.get("batch_1")
    for _ in range(2):
        ledger.book(batch, [share(calls=2)], [])
    again = ledger.get("batch_1")
    assert first is not None and again is not None
    assert again["shares"][0]["calls"] == 2 and stores.db["usage"].count_documents({}) == 1
    assert {**again, "shares": None} == {**first, "shares": None}
    assert again["created_day"] == "1970-01-04" and again["ended_day"] > "2020"


def asked(ledger: Ledger, tenant: str = "default") -> list[tuple[str, str, str, int]]:
    rows, _ = ledger.look(tenant, FIRST_S)
    sums: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        sums[row["created_day"], row["provider"], row["model"]] += row["calls"]
    return sorted((*names, calls) for names, calls in sums.items())


def test_rows_are_summed_into_parts_and_the_sums_stay_the_same_at_every_step(
    stores: Stores, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.ledger.PART_ROWS", 2)
    two = [share(calls=1), share(model="n", first=0, calls=2)]
    booked(stores, ledger, "b1", "2026-11-01", "2026-11-01", *two)
    booked(stores, ledger, "b2", "2026-11-01", "2026-11-02", share("acme", calls=4))
    booked(stores, ledger, "b3", "2026-11-02", "2026-11-03", share(calls=8))
    booked(stores, ledger, "b4", "2026-10-31", "2026-11-01", share(calls=1000))
    booked(stores, ledger, "b5", "2026-11-02", "2026-11-02", share(calls=16))
    expected = [
        ("2026-11-01", "acme", "m", 4),
        ("2026-11-01", "sim", "m", 1),
        ("2026-11-01", "sim", "n", 2),
        ("2026-11-02", "sim", "m", 24),
    ]
    assert asked(ledger) == expected
    for more in (True, True, False, False):
        assert ledger.sum_up("default") is more
        assert asked(ledger) == expected
    assert [len(part["shares"]) for part in stores.db["usage_parts"].find()] == [3, 2]
    stores.db["usage"].delete_many({"part": {"$ne": ""}})
    assert asked(ledger) == expected, "no row of a part is read again"
    booked(stores, ledger, "b0", "2026-11-02", "2026-11-04", share(calls=32))
    assert asked(ledger)[-1][-1] == 56 and ledger.sum_up("default"), "an older batch that ended late"
    assert asked(ledger)[-1][-1] == 56


def test_a_part_that_was_broken_off_is_ended_by_whoever_comes_next_and_counts_once_meanwhile(
    stores: Stores, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.ledger.PART_ROWS", 4)
    for number in range(4):
        booked(stores, ledger, f"b{number}", "2026-11-01", "2026-11-01", share(calls=10**number))
    expected = [("2026-11-01", "sim", "m", 1111)]
    part = ledger._begin_part("default")
    assert part is not None and asked(ledger) == expected
    stores.db["usage"].update_many({"_id": {"$in": ["b0", "b1"]}}, {"$set": {"part": part["_id"]}})
    assert asked(ledger) == expected
    assert ledger.sum_up("default") and asked(ledger) == expected
    assert not ledger.sum_up("default")
    ledger.book({"_id": "b0", "tenant": "default", "created_at": 0.0}, [share(calls=1)], [])
    assert not ledger.sum_up("default"), "a row that is written again stays in its part"


def test_a_batch_whose_last_move_is_not_made_is_in_no_part(
    stores: Stores, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.store.ledger.PART_ROWS", 2)
    batch = stores.state(stores.batch(tenant="parts"))
    ledger.book(batch, [share(calls=5)], [])
    ledger.book({"_id": "batch_ended", "tenant": "parts", "created_at": 0.0}, [share(calls=7)], [])
    assert ledger.sum_up("parts")
    rows, running = ledger.look("parts", 0.0)
    assert [row["calls"] for row in rows] == [7] and [doc["_id"] for doc in running] == [batch["_id"]]
    stores.db["batch_jobs"].update_one({"_id": batch["_id"]}, {"$set": {"booked": True}})
    rows, running = ledger.look("parts", 0.0)
    assert sorted(row["calls"] for row in rows) == [5, 7] and running == []


def test_another_tenant_has_rows_of_its_own(stores: Stores, ledger: Ledger) -> None:
    booked(stores, ledger, "b1", "2026-11-01", "2026-11-01", share(calls=1))
    assert asked(ledger, "other") == [] and len(asked(ledger)) == 1
    assert ledger.tenants("", 10) == ["default"]


def test_a_batch_counts_by_its_own_document_until_its_last_move_says_that_it_is_booked(
    stores: Stores, ledger: Ledger
) -> None:
    batch_id, since_s = stores.batch(tenant="booking"), 0.0
    assert [doc["_id"] for doc in ledger.unbooked("booking", since_s)] == [batch_id]
    assert stores.batches.fail(batch_id, [])
    assert ledger.unbooked("booking", since_s) == [], "it never ran, and has no row either"
