"""Pauses of providers and tenants in a real MongoDB: they stand until the right one resumes."""

from __future__ import annotations

import time

import pytest

from tests.support.batches import Stores
from workers.store.pauses import Pauses

pytestmark = pytest.mark.integration


@pytest.fixture
def pauses(stores: Stores) -> Pauses:
    return Pauses(stores.db)


def test_a_pause_stands_for_all_processes_until_it_is_resumed(stores: Stores, pauses: Pauses) -> None:
    pause = pauses.pause("provider", "a:b", by="default")
    assert abs(pause.since - time.time()) < 60
    standing = Pauses(stores.db).standing()
    assert standing.over("a:b", "t1") == pause and standing.over("b", "t1") is None
    assert pauses.resume("provider", "a:b", by="default")
    assert pauses.standing().over("a:b", "t1") is None


def test_pausing_twice_rests_since_the_first_time_and_resuming_twice_is_no_error(pauses: Pauses) -> None:
    first = pauses.pause("tenant", "t1", by="t1")
    assert pauses.pause("tenant", "t1", by="t1") == first
    assert pauses.resume("tenant", "t1", by="t1") and pauses.resume("tenant", "t1", by="t1")


def test_what_the_operator_has_paused_the_tenant_cannot_resume(pauses: Pauses) -> None:
    # given a tenant that had paused itself before
    pauses.pause("tenant", "t1", by="t1")
    assert pauses.pause("tenant", "t1", by="default").by == "default"
    assert pauses.pause("tenant", "t1", by="t1").by == "default"
    # then
    assert not pauses.resume("tenant", "t1", by="t1")
    assert pauses.standing().over("any", "t1") is not None
    assert pauses.resume("tenant", "t1", by="default")
