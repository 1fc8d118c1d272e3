"""An erased tenant goes with all it had, piece by piece, whatever breaks off, and nobody else loses anything."""

from __future__ import annotations

import time

import pytest

from tests.support.batches import chat_line
from tests.support.sweeping import Site
from workers.core import faultpoints
from workers.erasure import Erasure
from workers.store.mongo import EPOCH

pytestmark = pytest.mark.integration


class Died(BaseException):
    """The process ends here; nobody catches that."""


def in_a_minute() -> float:
    return time.monotonic() + 60.0


def erasure_of(site: Site, *, lingers_s: float = 0.0) -> Erasure:
    return Erasure(site.nouns, site.finalizer, lingers_s=lingers_s)


def furnished(site: Site, tenant: str) -> None:
    """A tenant with everything: a batch that ended, one that runs, one that nobody plans, a key, a pause."""
    site.stores.tenants.ensure(tenant)
    lines = [chat_line("a", "q")]
    for step in ("complete", "start", "leave"):
        file_id = site.stores.file(lines, tenant=tenant)
        batch_id = site.stores.batch(tenant=tenant, input_file_id=file_id)
        if step != "leave":
            site.plan(batch_id)
        if step == "complete":
            for shard_id in site.shards(batch_id):
                site.answer(shard_id, body=b'{"text": "' + b"x" * 1_100_000 + b'"}')
            assert site.finalizer.advance(batch_id) == "completed"
    site.nouns.outbox.collect(9)
    site.nouns.api_keys.add(tenant, f"key of {tenant}", name="k")
    site.nouns.pauses.pause("tenant", tenant, by="default")


def of(site: Site, tenant: str) -> dict[str, int]:
    """How many documents tell of the tenant."""
    db = site.stores.db
    counts = {name: sum(tenant in str(doc) for doc in db[name].find()) for name in db.list_collection_names()}
    return {name: count for name, count in counts.items() if count}


def test_everything_of_a_tenant_goes_and_nothing_of_another_one(site: Site) -> None:
    furnished(site, "t-kept")
    kept, left = of(site, "t-kept"), site.left()
    furnished(site, "t-gone")
    assert of(site, "t-gone").keys() >= {
        "batch_jobs",
        "batch_shards",
        "files",
        "outbox",
        "api_keys",
        "pauses",
    }
    assert site.left()["files.chunks"] > left["files.chunks"]
    site.stores.tenants.begin_erasing("t-gone")
    erasure = erasure_of(site)
    while not erasure.round(in_a_minute()) or site.stores.tenants.erasing():
        pass
    assert of(site, "t-gone") == {}
    assert (of(site, "t-kept"), site.left()) == (kept, left)
    with pytest.raises(LookupError):
        site.stores.tenants.get("t-gone")


def test_an_erasure_that_is_broken_off_anywhere_is_gone_on_with(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnished(site, "t-gone")
    site.stores.tenants.begin_erasing("t-gone")
    deaths = 0

    def die(point: str, _: object = None) -> None:
        nonlocal deaths
        if point == faultpoints.PART_REMOVED:
            deaths += 1
            raise Died

    for _ in range(20):
        with monkeypatch.context() as dying:
            dying.setattr(faultpoints, "passes", die)
            try:
                erasure_of(site).round(in_a_minute())
            except Died:
                continue
        break
    assert deaths > 3
    while site.stores.tenants.erasing():
        erasure_of(site).round(in_a_minute())
    assert of(site, "t-gone") == {}


def test_a_round_ends_when_its_time_is_over_and_says_that_more_is_left(site: Site) -> None:
    furnished(site, "t-gone")
    site.stores.tenants.begin_erasing("t-gone")
    assert not erasure_of(site).round(time.monotonic() - 1)
    assert list(site.stores.tenants.erasing()) == ["t-gone"]


def test_what_a_request_under_way_brings_forth_after_the_mark_goes_too(site: Site) -> None:
    site.stores.tenants.ensure("t-gone")
    site.stores.tenants.begin_erasing("t-gone")
    lingering = erasure_of(site, lingers_s=60.0)
    assert lingering.round(in_a_minute())
    late = site.stores.file([chat_line("a", "q")], tenant="t-gone")
    assert lingering.round(in_a_minute())
    assert site.stores.files.get(late) is None and list(site.stores.tenants.erasing()) == ["t-gone"]


def test_a_batch_that_a_worker_holds_is_waited_for(site: Site) -> None:
    site.stores.tenants.ensure("t-gone")
    file_id = site.stores.file([chat_line("a", "q")], tenant="t-gone")
    batch_id = site.stores.batch(tenant="t-gone", input_file_id=file_id)
    site.plan(batch_id)
    (shard_id,) = site.shards(batch_id)
    site.claim(shard_id)
    site.stores.tenants.begin_erasing("t-gone")
    assert erasure_of(site).round(in_a_minute())
    assert site.stores.state(batch_id)["status"] == "cancelling"
    site.lease_over(shard_id)
    site.stores.shards.expire(9)
    while site.stores.tenants.erasing():
        erasure_of(site).round(in_a_minute())
    assert of(site, "t-gone") == {} and site.stores.batches.get(batch_id) is None


def test_the_sweeper_erases(site: Site) -> None:
    furnished(site, "t-gone")
    site.stores.tenants.begin_erasing("t-gone")
    site.stores.db["tenants"].update_one({"_id": "t-gone"}, {"$set": {"erasing_since": EPOCH}})
    for _ in range(3):
        site.sweep()
    assert of(site, "t-gone") == {}
