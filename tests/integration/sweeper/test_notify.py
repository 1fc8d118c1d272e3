"""From a batch's end to its receivers: at least once, by an id that stays, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support.receiver import Receiver, Reply, receiving
from tests.support.telling import SECRET, Telling
from workers import notify
from workers.core.webhooks import Answered, Next, secret_from
from workers.notify import PER_LANE

pytestmark = pytest.mark.integration


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


def test_receivers_on_one_host_hold_up_those_of_their_own_tenant_alone(
    telling: Telling, receiver: Receiver
) -> None:
    # given a service that many tenants use as the receiver of a batch, and one of them has it say nothing
    end = threading.Event()
    receiver.replies = [Reply(after=end)]
    own = {"url": receiver.url, "secret": SECRET}
    for _ in range(PER_LANE + 1):
        telling.failed(tenant="a", webhook=own)

    async def while_it_is_silent() -> str:
        notifier = telling.notifier()
        await notifier.round()
        await asyncio.to_thread(receiver.wait_for, PER_LANE)
        # when another one's batch ends
        theirs = telling.failed(tenant="b", webhook=own)
        await notifier.round()
        await asyncio.to_thread(receiver.wait_for, PER_LANE + 1)
        end.set()
        await notifier.settled()
        return theirs

    # then it has slots of its own
    theirs = asyncio.run(while_it_is_silent())
    assert json.loads(receiver.got[-1].body)["data"]["id"] == theirs


def test_a_flood_of_events_is_told_of_while_what_is_due_is_sent(
    telling: Telling, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling.endpoint(receiver.url)
    for _ in range(3):
        telling.failed()
    monkeypatch.setattr(notify, "PAGE", 1)
    monkeypatch.setattr(notify, "PAGES_A_ROUND", 2)
    notifier = telling.notifier()
    telling.round(notifier)
    assert len(receiver.got) == 2 and len(telling.rows()) == 2
    telling.round(notifier)
    assert len(receiver.got) == 3 and len(telling.rows()) == 3
