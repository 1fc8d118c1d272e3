"""Batches whose completion window is over, at every point of their way (WIRE.md, 'States')."""

from __future__ import annotations

import pytest

from tests.support.sweeping import BODY, Site
from workers.core.messages import Result
from workers.engine.closing import close_shard
from workers.store.mongo import Doc
from workers.store.results import record

pytestmark = pytest.mark.integration


def times(batch: Doc) -> set[str]:
    """The states it has been shown in."""
    return {name for name in batch if name.endswith("_at") and batch[name] and name not in _OTHERS}


_OTHERS = {"created_at", "expires_at", "counted_at", "paused_at", "expire_at"}


def test_what_finished_stays_and_what_did_not_run_is_expired_and_not_failed(site: Site) -> None:
    # given a shard answered, one under way and one in the queue, when the window ends
    batch_id = site.started(6)
    answered, leased, _ = site.shards(batch_id)
    site.answer(answered)
    held = site.claim(leased)
    site.window_over(batch_id)
    site.sweep()
    # then it shows in_progress, without files, until the leased one has ended as well
    batch = site.stores.state(batch_id)
    assert (batch["status"], batch["ending"], batch["output_file_id"]) == ("in_progress", "expired", None)
    assert site.lines(batch_id, ok=False) == [("c5", "batch_expired"), ("c6", "batch_expired")]
    assert close_shard(site.nouns, held, batch, batch["ending"])
    site.sweep()
    ended = site.stores.state(batch_id)
    counts = ended["counts"]
    assert (ended["status"], times(ended)) == ("expired", {"in_progress_at", "expired_at"})
    assert (counts["completed"], counts["failed"], counts["never_ran"]) == (2, 0, 4)
    # and the files are whole and do not change any more
    assert site.lines(batch_id, ok=True) == [("c1", None), ("c2", None)]
    assert site.lines(batch_id, ok=False) == [(f"c{n}", "batch_expired") for n in range(3, 7)]
    for which in ("output", "error"):
        file = site.stores.files.get(ended[f"{which}_file_id"], "default")
        lines = site.nouns.results.lines(batch_id, ok=which == "output")
        assert file is not None and file["bytes"] == sum(len(line) for _, line in lines)
    site.sweep()
    assert site.stores.state(batch_id) == ended | {"events": []}


def test_a_lease_that_runs_out_after_the_window_is_closed_by_the_sweeper(site: Site) -> None:
    batch_id = site.started(2)
    (leased,) = site.shards(batch_id)
    site.claim(leased)
    site.window_over(batch_id)
    site.lease_over(leased)
    site.sweep()
    batch = site.stores.state(batch_id)
    assert (batch["status"], batch["counts"]["never_ran"]) == ("expired", 2)
    assert batch["output_file_id"] is None and batch["error_file_id"]


def test_what_a_lost_worker_had_under_way_is_counted_also_where_nobody_repeats_it(site: Site) -> None:
    # given two shards, the calls of which are under way, but for one that has ended
    batch_id = site.started(4)
    first, second = site.shards(batch_id)
    held = site.claim(first)
    answer = Result(1, "c1", "call", status_code=200, body=BODY, calls=1)
    site.nouns.results.insert([record(batch_id, held["tenant"], first, held["fence"], answer)])
    site.claim(second)
    for each in (first, second):
        assert site.nouns.shards.set_started(each, 1, 2)
        site.lease_over(each)
    # when their worker dies, one of them is claimed anew, and the window ends
    site.sweep()
    again = site.claim(first)
    site.window_over(batch_id)
    site.sweep()
    batch = site.stores.state(batch_id)
    assert close_shard(site.nouns, again, batch, batch["ending"])
    site.sweep()
    ended = site.stores.state(batch_id)
    assert (ended["status"], ended["counts"]["completed"], ended["counts"]["never_ran"]) == ("expired", 1, 3)
    assert ended["counts"]["possibly_repeated"] == 3


def test_a_window_that_ends_while_the_file_is_checked_ends_the_batch_once_it_is(site: Site) -> None:
    batch_id = site.stores.batch([b"no json"], options={"invalid_lines": "skip"})
    good = site.stores.batch(input_file_id=site.stores.file(b'{"bad": 1}\n'))
    site.window_over(batch_id)
    site.window_over(good)
    site.sweep()
    assert site.stores.state(batch_id)["status"] == site.stores.state(good)["status"] == "validating"
    assert site.plan(batch_id) == "1 items" and site.plan(good) == "1 problems"
    site.sweep()
    ended = site.stores.state(batch_id)
    # A line that was refused has its result: it failed, and nothing was left to expire.
    assert (ended["status"], ended["counts"]["failed"]) == ("expired", 1)
    assert site.stores.state(good)["status"] == "failed"


def test_a_batch_whose_window_ended_before_its_first_call_makes_none(site: Site) -> None:
    batch_id = site.stores.batch(input_file_id=site.stores.state(site.started(3))["input_file_id"])
    site.window_over(batch_id)
    assert site.plan(batch_id) == "3 items"
    site.sweep()
    ended = site.stores.state(batch_id)
    assert (ended["status"], ended["total"], ended["counts"]["never_ran"]) == ("expired", 3, 3)
    assert ended["counts"]["calls"] == 0 and times(ended) == {"in_progress_at", "expired_at"}


def test_a_paused_batch_expires_like_any_other(site: Site) -> None:
    batch_id = site.started(2)
    assert site.stores.batches.set_paused(batch_id, "default", paused=True)
    site.stores.shards.hold_back(batch_id)
    site.window_over(batch_id)
    site.sweep()
    assert site.stores.state(batch_id)["status"] == "expired"
    assert site.lines(batch_id, ok=False) == [("c1", "batch_expired"), ("c2", "batch_expired")]


def test_a_window_that_ends_after_the_last_answer_takes_nothing_back(site: Site) -> None:
    batch_id = site.started(2)
    site.answer(site.shards(batch_id)[0])
    assert site.stores.batches.finalize(batch_id)
    site.window_over(batch_id)
    site.sweep()
    ended = site.stores.state(batch_id)
    assert (ended["status"], ended["counts"]["completed"]) == ("completed", 2)
    assert times(ended) == {"in_progress_at", "finalizing_at", "completed_at"}


def test_a_cancel_that_came_first_stays_a_cancel(site: Site) -> None:
    batch_id = site.started(2)
    site.claim(site.shards(batch_id)[0])
    assert site.stores.batches.cancel(batch_id)
    site.window_over(batch_id)
    site.lease_over(site.shards(batch_id)[0])
    site.sweep()
    ended = site.stores.state(batch_id)
    assert (ended["status"], times(ended)) == (
        "cancelled",
        {"in_progress_at", "cancelling_at", "cancelled_at"},
    )
    assert {code for _, code in site.lines(batch_id, ok=False)} == {"batch_cancelled"}


def test_a_batch_ends_although_its_input_file_has_lost_bytes(site: Site) -> None:
    batch_id = site.started(2)
    site.stores.blobs.delete(site.stores.state(batch_id)["input_file_id"])
    assert site.stores.batches.cancel(batch_id)
    site.sweep()
    assert site.stores.state(batch_id)["status"] == "cancelled"
    assert site.lines(batch_id, ok=False) == [(None, "batch_cancelled")] * 2


def test_a_batch_with_more_to_close_than_a_round_has_time_for_is_gone_on_with_sooner(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.finalizer.CLOSE_AT_ONCE", 1)
    monkeypatch.setattr("workers.sweeper.STEP_S", 0.02)
    batch_id = site.started(60, per_shard=1)
    assert site.stores.batches.cancel(batch_id)
    site.sweep()
    assert site.stores.state(batch_id)["status"] == "cancelling" and site.sweeper._behind
    assert site.finalizer.advance(batch_id) == "cancelled"


def test_hundreds_of_shards_are_closed_in_one_go_and_those_claimed_meanwhile_are_left(site: Site) -> None:
    batch_id = site.started(250, per_shard=1)
    claimed = site.shards(batch_id)[7]
    held = site.claim(claimed)
    assert site.stores.batches.cancel(batch_id)
    assert site.finalizer.advance(batch_id) == "cancelling"
    batch = site.stores.state(batch_id)
    assert close_shard(site.nouns, held, batch, batch["ending"])
    assert site.finalizer.advance(batch_id) == "cancelled"
    assert site.stores.state(batch_id)["counts"]["never_ran"] == 250
    assert [name for name, _ in site.lines(batch_id, ok=False)] == [f"c{n}" for n in range(1, 251)]
