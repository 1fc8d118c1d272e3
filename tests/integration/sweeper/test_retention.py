"""Batches whose retention is over go with all that is theirs, in bounded pieces, and nothing else goes with them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.sweeping import Site
from workers.core import faultpoints
from workers.core.identity import view_file_id
from workers.retention import Retention
from workers.store.mongo import EPOCH

pytestmark = [pytest.mark.integration, pytest.mark.stack]
LARGE = b'{"text": "' + b"x" * 1_100_000 + b'"}'
LONG_S = 60.0


class Died(BaseException):
    """The process ends here; nobody catches that."""


def test_the_end_of_a_batch_says_how_long_it_is_kept_and_its_files_show_it(site: Site) -> None:
    batch_id = site.completed()
    batch, kept = site.stores.state(batch_id), timedelta(days=30)
    assert abs(batch["expire_at"] - datetime.now(UTC) - kept) < timedelta(seconds=20)
    file = site.stores.files.get(batch["output_file_id"], "default")
    assert file is not None
    assert file["expires_at"] == pytest.approx(batch["expire_at"].timestamp(), abs=20)


@pytest.mark.parametrize(
    ("days", "asked_s", "shown_s"),
    [
        (None, 3600, 3600),
        (2.0, None, 2 * 86_400),
        (2.0, 3600, 3600),
        (1.0, 30 * 86_400, 86_400),
        (0.0, None, 3600),
    ],
)
def test_the_tenants_own_days_rule_its_batches_and_the_batch_its_output_files(
    site: Site, days: float | None, asked_s: int | None, shown_s: int
) -> None:
    if days is not None:
        site.stores.tenants.ensure("default")
        site.stores.db["tenants"].update_one({"_id": "default"}, {"$set": {"retention_days": days}})
    asked: dict[str, Any] = {} if asked_s is None else {"output_expires_after_s": asked_s}
    batch = site.stores.state(site.completed(**asked))
    file = site.stores.files.get(batch["output_file_id"])
    assert file is not None and file["expires_at"] - file["created_at"] == pytest.approx(shown_s)
    kept_s = batch["expire_at"].timestamp() - time.time()
    kept_days = 30.0 if days is None else max(days, 1 / 24)
    assert kept_s == pytest.approx(kept_days * 86_400, abs=20)


def test_a_worker_whose_clock_is_wrong_hides_no_output_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as in_1970:
        in_1970.setattr(time, "time", lambda: 60.0)
        batch_id = site.completed()
    file = site.stores.files.get(site.stores.state(batch_id)["output_file_id"], "default")
    assert file is not None and file["created_at"] == pytest.approx(time.time(), abs=20)


def test_an_expired_batch_goes_with_all_that_is_its_own_and_nothing_else_does(site: Site) -> None:
    # given three ended batches of which one is kept no longer, and one that runs
    over, kept, running = site.completed(body=LARGE), site.completed(body=LARGE), site.started(2)
    site.sweep()
    both = site.left()
    site.retention_over(over)
    # then its tenant sees it no more, at once
    assert site.stores.batches.get(over, "default") is None
    listed = site.stores.batches.page("default", after=None, limit=9)
    assert [batch["_id"] for batch in listed] == [running, kept]
    # and a sweep takes it away
    site.sweep()
    assert site.stores.batches.get(over) is None
    left = site.left()
    gone = {name: both[name] - left[name] for name in both if both[name] != left[name]}
    assert gone == {
        "batch_jobs": 1,
        "batch_shards": 1,
        "batch_results": 2,
        "files": 1,
        "files.chunks": 4,
        "outbox": 1,
    }
    # but the input file, which has a life of its own, and what others have
    assert len(site.lines(kept, ok=True)) == 2
    assert site.stores.state(running)["status"] == "in_progress"


def test_an_input_file_goes_with_the_last_batch_that_needs_it(site: Site) -> None:
    first = site.completed()
    file_id = site.stores.state(first)["input_file_id"]
    second = site.stores.batch(input_file_id=file_id)
    assert site.plan(second) == "2 items"
    assert site.stores.files.hide(file_id, "default")
    site.retention_over(first)
    site.sweep()
    assert site.stores.batches.get(first) is None and site.stores.blobs.get(file_id)
    site.answer(site.shards(second)[0])
    site.sweep()
    site.retention_over(second)
    site.sweep()
    assert site.left() == {}


def test_a_round_removes_no_more_than_it_may_and_the_next_ones_do_the_rest(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.retention.SLICE", 2)
    over = [site.completed(5, per_shard=5) for _ in range(2)]
    for batch_id in over:
        site.retention_over(batch_id)
    assert site.nouns.outbox.collect(9) == 2
    retention, left = Retention(site.nouns, documents_a_round=4), list[int]()
    while not retention.round(time.monotonic() + LONG_S):
        left.append(site.left().get("batch_results", 0))
    assert left == [6, 3, 0]
    assert set(site.left()) == {"files", "files.chunks"}


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_sweeper_that_dies_in_the_middle_is_followed_by_one_that_finishes(
    site: Site, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    batch_id, passed = site.completed(1, body=LARGE), list[str]()
    assert site.stores.files.hide(site.stores.state(batch_id)["input_file_id"], "default")
    site.retention_over(batch_id)

    def dies(point: str, _: object = None) -> None:
        if point == faultpoints.PART_REMOVED:
            passed.append(point)
            if len(passed) == nth:
                raise Died

    with monkeypatch.context() as between:
        between.setattr(faultpoints, "passes", dies)
        with pytest.raises(Died):
            site.sweep()
    assert site.stores.state(batch_id)["status"] == "completed", "the document goes last"
    assert site.stores.files.get(view_file_id(batch_id, "output"), "default") is None or nth < 4
    site.sweep()
    assert site.left() == {}


def test_a_batch_that_has_not_ended_never_expires(site: Site) -> None:
    jobs, running, waiting = site.stores.db["batch_jobs"], site.started(1), site.stores.batch()
    assert "expire_at" not in site.stores.state(running) | site.stores.state(waiting)
    # Whatever else may stand there: a date of another making, or none in so many words.
    jobs.update_one({"_id": running}, {"$set": {"created_at": 0.0, "expire_at": EPOCH}})
    jobs.update_one({"_id": waiting}, {"$set": {"created_at": 0.0, "expire_at": None}})
    old = site.completed(1)
    jobs.update_one({"_id": old}, {"$set": {"expire_at": None}})
    for _ in range(2):
        site.sweep()
    assert site.left()["batch_jobs"] == 3
    site.stores.batches.remove(old)
    assert site.stores.state(old)["status"] == "completed"


def test_a_batch_is_not_removed_before_its_event_has_been_carried_over(site: Site) -> None:
    batch_id = site.completed()
    site.retention_over(batch_id)
    Retention(site.nouns).round(time.monotonic() + LONG_S)
    assert site.stores.state(batch_id)["events"][0]["type"] == "batch.completed"
    site.sweep()
    assert site.stores.batches.get(batch_id) is None


def test_a_batch_that_ended_before_there_was_retention_is_kept_from_now_on_and_then_goes(site: Site) -> None:
    site.stores.tenants.ensure("other")
    site.stores.db["tenants"].update_one({"_id": "other"}, {"$set": {"retention_days": 2.0}})
    old, theirs = site.completed(), site.completed()
    site.stores.db["batch_jobs"].update_one({"_id": theirs}, {"$set": {"tenant": "other"}})
    undated = {"$unset": {"expire_at": "", "events": ""}, "$set": {"created_at": 0.0, "completed_at": 1.0}}
    site.stores.db["batch_jobs"].update_many({}, undated)
    site.sweep()
    for batch_id, days in ((old, 30), (theirs, 2)):
        kept = site.stores.state(batch_id)["expire_at"] - datetime.now(UTC)
        assert abs(kept - timedelta(days=days)) < timedelta(seconds=20)
        site.retention_over(batch_id)
    site.sweep()
    assert "batch_jobs" not in site.left()


def test_who_reads_when_a_batch_expires_reads_to_the_end(site: Site) -> None:
    batch_id = site.completed()
    site.stores.db["batch_jobs"].update_one({"_id": batch_id}, [{"$set": {"expire_at": "$$NOW"}}])
    site.sweep()
    assert site.stores.batches.get(batch_id, "default") is None
    assert len(site.lines(batch_id, ok=True)) == 2


def test_an_event_that_nobody_was_told_of_outlives_a_batch_with_a_short_retention(site: Site) -> None:
    batch_id, outbox = site.completed(), site.stores.db["outbox"]
    site.stores.db["batch_jobs"].update_one({"_id": batch_id}, {"$set": {"expire_at": EPOCH}})
    site.sweep()
    assert site.stores.batches.get(batch_id) is None
    assert outbox.distinct("batch_id") == [batch_id]
    outbox.update_one({}, {"$set": {"state": "delivered"}})
    site.sweep()
    assert outbox.count_documents({}) == 0


def test_an_expired_batch_gives_its_idempotency_key_back(site: Site) -> None:
    batch_id, batches = site.completed(idempotency_key="k"), site.stores.batches
    kept = batches.by_idempotency_key("default", "k")
    assert kept is not None and kept["_id"] == batch_id
    site.retention_over(batch_id)
    assert batches.by_idempotency_key("default", "k") is None
    assert site.stores.batch(idempotency_key="k") != batch_id


def test_an_expired_file_is_gone_for_its_reader_and_feeds_the_batches_that_were_made_from_it(
    site: Site,
) -> None:
    batch_id = site.stores.batch([b"{}"])
    file_id = site.stores.state(batch_id)["input_file_id"]
    site.stores.db["files"].update_one({"_id": file_id}, {"$set": {"expires_at": time.time() - 1}})
    page = site.stores.files.page("default", after=None, limit=9, newest_first=True, purpose=None)
    assert site.stores.files.get(file_id, "default") is None and page == []
    assert not site.stores.files.hide(file_id, "default")
    site.sweep()
    assert site.stores.files.for_batch(file_id, "default") and site.stores.blobs.get(file_id)
    assert site.stores.batches.cancel(batch_id)
    site.sweep()
    site.retention_over(batch_id)
    site.sweep()
    assert site.left() == {}
