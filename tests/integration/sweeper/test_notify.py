"""From a batch's end to its receivers: at least once, by an id that stays, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support.receiver import Receiver, Reply, receiving
from tests.support.sweeping import Site
from workers.core.addresses import Rules, networks
from workers.core.webhooks import Answered, Next, secret_from
from workers.notify import PER_LANE, Notifier
from workers.store.mongo import EPOCH, Doc
from workers.store.threads import Threads
from workers.transport.outward import Names, Outward

pytestmark = pytest.mark.integration
SECRET = secret_from(b"k" * 32)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


class Telling:
    """A notifier of its own process, so to say, and what stands in the database."""

    def __init__(self, site: Site, pool: ThreadPoolExecutor) -> None:
        self.site, self.stores, self._pool = site, site.nouns, pool

    def notifier(self, *, deadline_s: float = 5.0) -> Notifier:
        rules = Rules(http=True, private=networks("127.0.0.1"))
        way = Outward(rules, deadline_s=deadline_s, lookup=Names())
        return Notifier(self.stores, Threads(self._pool), way)

    def round(self, *notifiers: Notifier) -> None:
        """One round of each at once, and the end of what it began."""

        async def all_of_them() -> None:
            each = notifiers or (self.notifier(),)
            await asyncio.gather(*(one.round() for one in each))
            await asyncio.gather(*(one.settled() for one in each))

        asyncio.run(all_of_them())

    def endpoint(self, url: str, *, events: tuple[str, ...] = ("batch.*",), tenant: str = "default") -> str:
        made = self.stores.webhooks.create(tenant, url, events, SECRET, enabled=True, now_s=1.7e9)
        assert made is not None
        return str(made["_id"])

    def failed(self, **changes: Any) -> str:
        """A batch that has ended."""
        batch_id = self.site.stores.batch(**changes)
        assert self.site.stores.batches.fail(batch_id, [])
        return batch_id

    def rows(self) -> list[Doc]:
        return list(self.site.stores.db["deliveries"].find().sort("_id", 1))

    def due(self) -> None:
        """Every wait and every lease is over."""
        self.site.stores.db["deliveries"].update_many({}, {"$set": {"next_at": EPOCH}})


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def telling(site: Site, threads: ThreadPoolExecutor) -> Telling:
    return Telling(site, threads)


def test_endpoints_that_want_it_and_the_batchs_own_receiver_are_told_once(
    telling: Telling, receiver: Receiver
) -> None:
    # given one endpoint for it, one for other events, one of another tenant, one that is disabled
    mine = telling.endpoint(receiver.url)
    telling.endpoint(receiver.url, events=("tenant.*", "batch.completed"))
    telling.endpoint(receiver.url, tenant="other")
    telling.stores.webhooks.change(telling.endpoint(receiver.url), "default", {"enabled": False})
    own = {"url": receiver.url + "&own", "secret": secret_from(b"o" * 24)}
    # when a batch ends
    batch_id = telling.failed(webhook=own)
    telling.round()
    telling.round()
    # then two are told, each with a signature of its own secret, in the very same bytes
    assert {got.path for got in receiver.got} == {"/hook?token=hidden", "/hook?token=hidden&own"}
    assert len(receiver.got) == 2 and len({got.body for got in receiver.got}) == 1
    for got in receiver.got:
        secret = own["secret"] if got.path.endswith("own") else SECRET
        event = Webhook(str(secret)).verify(got.body, got.headers)
        assert (event["type"], event["data"]) == ("batch.failed", {"id": batch_id})
        assert got.headers["webhook-id"] == event["id"]
    assert [row["state"] for row in telling.rows()] == ["delivered"] * 2
    assert {row["endpoint"] for row in telling.rows()} == {mine, None}
    (event_row,) = telling.site.stores.db["outbox"].find()
    assert event_row["state"] == "told" and "webhook" not in event_row


def test_a_failure_is_told_again_later_by_the_same_id(telling: Telling, receiver: Receiver) -> None:
    telling.endpoint(receiver.url)
    receiver.replies = [Reply(500, b"no\r\n\x1b[31m"), Reply(200)]
    telling.failed()
    telling.round()
    telling.round()  # it is not due yet
    (row,) = telling.rows()
    assert (row["state"], len(receiver.got)) == ("pending", 1)
    assert 4 < (row["next_at"] - row["at"]).total_seconds() < 8
    telling.due()
    telling.round()
    (row,) = telling.rows()
    assert row["state"] == "delivered"
    assert [(one["status"], one["error"]) for one in row["tries"]] == [(500, "status 500"), (200, None)]
    assert row["tries"][0]["answer"] == "no\\r\\n\\x1b[31m"
    first, second = receiver.got
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])


def test_two_processes_send_each_delivery_once(telling: Telling, receiver: Receiver) -> None:
    telling.endpoint(receiver.url)
    batches = {telling.failed() for _ in range(6)}
    pair = telling.notifier(), telling.notifier()
    while any(row["state"] == "pending" for row in telling.rows()) or not telling.rows():
        telling.round(*pair)
    assert sorted(json.loads(got.body)["data"]["id"] for got in receiver.got) == sorted(batches)


class Died(BaseException):
    """The process ends here; nobody catches that."""


@pytest.mark.parametrize("noun", ["deliveries.insert", "outbox.told_all", "deliveries.settle"])
@pytest.mark.parametrize("written", [True, False], ids=["after", "before"])
def test_a_process_that_dies_beside_a_write_loses_nothing(
    telling: Telling, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, noun: str, written: bool
) -> None:
    telling.endpoint(receiver.url)
    telling.failed()
    store, _, method = noun.partition(".")
    real: Callable[..., Any] = getattr(getattr(telling.stores, store), method)

    def dies(*given: Any) -> None:
        if written:
            real(*given)
        raise asyncio.CancelledError if method == "settle" else Died

    with monkeypatch.context() as between:
        between.setattr(getattr(telling.stores, store), method, dies)
        if method == "settle":
            telling.round()
        else:
            with pytest.raises(Died):
                telling.notifier().tell()
    telling.round()
    telling.due()  # the lease of the dead is over
    telling.round()
    (row,) = telling.rows()
    assert row["state"] == "delivered"
    # Sent and not written down: that is told twice, under one id.
    assert len(receiver.got) == (2 if method == "settle" and not written else 1)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


def test_one_who_comes_back_after_its_lease_decides_nothing(telling: Telling, receiver: Receiver) -> None:
    telling.endpoint(receiver.url)
    telling.failed()
    assert telling.notifier().tell() == 1
    late = telling.stores.deliveries.claim("default", 30.0, [])
    assert late is not None and telling.stores.deliveries.claim("default", 30.0, []) is None
    telling.due()
    telling.round()
    assert not telling.stores.deliveries.settle(late, Answered(1, status=410), Next("dead", disable=True))
    assert telling.rows()[0]["state"] == "delivered"


def test_slow_receivers_hold_up_themselves_alone(telling: Telling, receiver: Receiver) -> None:
    # given more events for one who does not answer than may be under way for it
    end = threading.Event()
    with receiving() as slow:
        slow.replies = [Reply(after=end)]
        telling.endpoint(slow.url, tenant="a")
        telling.endpoint(receiver.url, tenant="a")
        telling.endpoint(receiver.url, tenant="b")
        for _ in range(PER_LANE + 1):
            telling.failed(tenant="a")
        telling.failed(tenant="b")

        async def while_it_is_silent() -> None:
            notifier = telling.notifier()
            running = asyncio.create_task(notifier.run())
            # then the tenant's other endpoint and the other tenant get theirs meanwhile
            await asyncio.to_thread(receiver.wait_for, PER_LANE + 2)
            await asyncio.to_thread(slow.wait_for, PER_LANE)
            assert len(slow.got) == PER_LANE
            end.set()
            await asyncio.to_thread(slow.wait_for, PER_LANE + 1)
            running.cancel()
            await notifier.settled()

        asyncio.run(while_it_is_silent())


def test_one_that_is_gone_is_told_nothing_more(telling: Telling, receiver: Receiver) -> None:
    gone = telling.endpoint(receiver.url)
    receiver.replies = [Reply(410)]
    telling.failed()
    telling.round()
    endpoint = telling.stores.webhooks.get(gone, "default")
    assert endpoint is not None
    assert (endpoint["enabled"], endpoint["disabled_reason"]) == (False, "it answered 410 Gone")
    telling.failed()
    telling.round()
    (row,) = telling.rows()
    assert (row["state"], len(receiver.got)) == ("dead", 1)
    # Enabled again, the dead one can be sent.
    receiver.replies = [Reply(200)]
    changed = telling.stores.webhooks.change(gone, "default", {"enabled": True})
    assert changed is not None and changed["disabled_reason"] is None
    assert telling.stores.deliveries.replay(row["_id"], "other") is None
    assert telling.stores.deliveries.replay(row["_id"], "default") is not None
    telling.round()
    (row,) = telling.rows()
    assert (row["state"], row["attempts"], len(row["tries"])) == ("delivered", 1, 2)


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_what_waits_for_one_that_is_no_more_dies(telling: Telling, receiver: Receiver, how: str) -> None:
    endpoint = telling.endpoint(receiver.url)
    telling.failed()
    telling.notifier().tell()
    if how == "removed":
        assert telling.stores.webhooks.remove(endpoint, "default")
    else:
        telling.stores.webhooks.change(endpoint, "default", {"enabled": False})
    telling.round()
    (row,) = telling.rows()
    assert (row["state"], receiver.got) == ("dead", [])
    assert "endpoint" in row["tries"][0]["error"]


def test_after_three_days_it_is_dead(telling: Telling, receiver: Receiver) -> None:
    telling.endpoint(receiver.url)
    receiver.replies = [Reply(500)]
    telling.failed()
    telling.notifier().tell()
    long_ago = datetime.now(UTC) - timedelta(days=3)
    telling.site.stores.db["deliveries"].update_one({}, {"$set": {"since": long_ago, "attempts": 20}})
    telling.round()
    assert [row["state"] for row in telling.rows()] == ["dead"]


def test_deliveries_go_with_their_batch_and_those_under_way_stay(
    telling: Telling, receiver: Receiver
) -> None:
    telling.endpoint(receiver.url)
    receiver.replies = [Reply(200), Reply(500)]
    told, waiting = telling.failed(), ""
    telling.round()
    waiting = telling.failed()
    telling.round()
    assert telling.stores.outbox.forget([told, waiting]) == 1
    assert [row["batch_id"] for row in telling.rows()] == [waiting]
    telling.site.stores.db["deliveries"].update_many({}, {"$set": {"created_at": 0}})
    telling.site.stores.db["outbox"].update_many({}, {"$set": {"event.created_at": 0}})
    assert telling.stores.outbox.forget([told, waiting]) == 1
    assert telling.rows() == []


def test_an_event_of_a_tenant_has_no_batch_and_an_end(telling: Telling, receiver: Receiver) -> None:
    telling.endpoint(receiver.url, events=("tenant.*",))
    event = {"id": "evt_t1", "object": "event", "created_at": 1_700_000_000, "type": "tenant.budget_reached"}
    event |= {"data": {"id": "default"}}
    telling.site.stores.db["accounts"].insert_one({"_id": "a", "tenant": "default", "events": [event]})
    telling.round()
    assert json.loads(receiver.got[0].body) == event
    (row,) = telling.rows()
    assert row["batch_id"] is None and (row["expire_at"] - row["at"]) < timedelta(days=30)
    assert telling.site.stores.db["accounts"].find_one({"_id": "a"}) == {
        "_id": "a",
        "tenant": "default",
        "events": [],
    }


def test_a_rotated_secret_signs_beside_the_old_one_for_a_while(telling: Telling, receiver: Receiver) -> None:
    endpoint, new = telling.endpoint(receiver.url), secret_from(b"n" * 32)
    for _ in range(2):  # sent twice, it rotates once
        telling.stores.webhooks.rotate(endpoint, "default", new, 3600.0)
    telling.failed()
    telling.round()
    telling.stores.webhooks.rotate(endpoint, "default", secret_from(b"l" * 32), 0.0)
    telling.failed()
    telling.round()
    both, last = (got.headers["webhook-signature"].split(" ") for got in receiver.got)
    assert (len(both), len(last)) == (2, 1)
    for secret in (SECRET, new):
        Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)
