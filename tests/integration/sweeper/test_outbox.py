"""The event of a batch's end: written with the end itself, carried over once, whatever dies in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.sweeping import Site
from workers.core import faultpoints
from workers.store.mongo import Doc

pytestmark = pytest.mark.integration


class Died(BaseException):
    """The process ends here; nobody catches that."""


def failed(site: Site) -> str:
    batch_id = site.stores.batch()
    assert site.stores.batches.fail(batch_id, [{"code": "empty_file"}])
    return batch_id


def cancelled(site: Site) -> str:
    batch_id = site.started(1)
    assert site.stores.batches.cancel(batch_id)
    assert site.finalizer.advance(batch_id) == "cancelled"
    return batch_id


def expired(site: Site) -> str:
    batch_id = site.started(1)
    site.window_over(batch_id)
    assert site.stores.batches.end_windows(1) == [batch_id]
    assert site.finalizer.advance(batch_id) == "expired"
    return batch_id


def events(site: Site) -> list[Doc]:
    return list(site.stores.db["outbox"].find())


@pytest.mark.parametrize(
    ("kind", "end"),
    [("completed", Site.completed), ("failed", failed), ("expired", expired), ("cancelled", cancelled)],
)
def test_each_end_of_a_batch_is_one_event_in_the_outbox(
    site: Site, kind: str, end: Callable[[Site], str]
) -> None:
    batch_id = end(site)
    site.sweep()
    site.sweep()
    (row,) = events(site)
    batch = site.stores.state(batch_id)
    assert row["event"] == {
        "id": row["_id"],
        "object": "event",
        "created_at": int(batch[f"{kind}_at"]),
        "type": f"batch.{kind}",
        "data": {"id": batch_id},
    }
    assert (row["tenant"], row["batch_id"]) == ("default", batch_id)
    assert row["state"] == "pending"
    assert batch["events"] == []


def test_a_batch_that_goes_on_has_no_event(site: Site) -> None:
    site.started(1)
    site.stores.batch()
    site.sweep()
    assert events(site) == []


def test_a_sweeper_that_dies_between_its_two_writes_doubles_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an event that stands in the outbox, and still in its batch
    batch_id = site.completed()

    def dies(point: str, _: object = None) -> None:
        if point == faultpoints.EVENTS_COPIED:
            raise Died

    with monkeypatch.context() as between:
        between.setattr(faultpoints, "passes", dies)
        with pytest.raises(Died):
            site.sweep()
    assert len(events(site)) == 1 and site.stores.state(batch_id)["events"]
    # and that its receivers have been told meanwhile
    site.nouns.outbox.told_all([row["_id"] for row in events(site)])
    # when the next one sweeps
    site.sweep()
    # then there is one event, as far as it had come
    (row,) = events(site)
    assert row["state"] == "told" and site.stores.state(batch_id)["events"] == []


def test_an_end_that_was_not_written_has_no_event(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = site.started(2)
    site.answer(site.shards(batch_id)[0])

    def dies(*_: object) -> bool:
        raise Died

    with monkeypatch.context() as before:
        before.setattr(site.nouns.batches, "end", dies)
        with pytest.raises(Died):
            site.finalizer.advance(batch_id)
    assert site.stores.state(batch_id)["status"] == "finalizing"
    assert "events" not in site.stores.state(batch_id)
    site.sweep()
    assert [row["event"]["type"] for row in events(site)] == ["batch.completed"]


def test_events_are_carried_in_pages(site: Site) -> None:
    ended = sorted(failed(site) for _ in range(4))
    assert [site.nouns.outbox.collect(3) for _ in range(3)] == [3, 1, 0]
    assert sorted(row["batch_id"] for row in events(site)) == ended
