"""How telling ends: receivers that are gone, three days, retention, other secrets, and what cannot be sent."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from tests.support.receiver import Receiver, Reply
from tests.support.telling import SECRET, Telling
from workers.core.webhooks import MOST_ATTEMPTS, Answered, secret_from
from workers.notify import TESTS_PER_TENANT, Notifier
from workers.store.threads import Threads

pytestmark = pytest.mark.integration


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
    # Whoever has been told 410 by an URL of before says nothing of the one that is there now.
    telling.stores.webhooks.change(gone, "default", {"enabled": True})
    telling.stores.webhooks.disable(gone, receiver.url + "&before", "it answered 410 Gone")
    endpoint = telling.stores.webhooks.get(gone, "default")
    assert endpoint is not None and endpoint["enabled"]
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


def test_a_tenant_has_a_few_tests_under_way_and_no_more(telling: Telling, receiver: Receiver) -> None:
    end = threading.Event()
    receiver.replies = [Reply(after=end)]
    mine, theirs = (
        telling.stores.webhooks.get(telling.endpoint(receiver.url, tenant=name), name) for name in ("a", "b")
    )
    assert mine is not None and theirs is not None

    async def all_at_once() -> list[bool]:
        notifier = telling.notifier()
        sent = [asyncio.create_task(notifier.test(mine)) for _ in range(TESTS_PER_TENANT)]
        await asyncio.to_thread(receiver.wait_for, TESTS_PER_TENANT)
        assert await notifier.test(mine) is None
        sent.append(asyncio.create_task(notifier.test(theirs)))
        await asyncio.to_thread(receiver.wait_for, TESTS_PER_TENANT + 1)
        end.set()
        return [came is not None and came[1].delivered for came in await asyncio.gather(*sent)]

    assert asyncio.run(all_at_once()) == [True] * (TESTS_PER_TENANT + 1)


class Broken:
    """A way out that raises what nobody has thought of."""

    deadline_s = 5.0

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answered:
        raise LookupError(f"{url} {headers} {body!r}")


def test_what_cannot_be_sent_at_all_has_an_end_and_names_no_url(
    telling: Telling, receiver: Receiver, caplog: pytest.LogCaptureFixture, threads: ThreadPoolExecutor
) -> None:
    telling.endpoint(receiver.url)
    telling.failed()
    telling.round(Notifier(telling.stores, Threads(threads), Broken()))
    (row,) = telling.rows()
    assert (row["state"], row["tries"][0]["error"]) == ("pending", "cannot be sent")
    assert "LookupError" in caplog.text and "hidden" not in caplog.text


def test_a_delivery_whose_attempts_all_died_with_their_process_has_an_end(
    telling: Telling, receiver: Receiver
) -> None:
    telling.endpoint(receiver.url)
    telling.failed()
    telling.notifier().tell()
    for _ in range(MOST_ATTEMPTS):  # each claimed, none settled
        assert telling.stores.deliveries.claim("default", 30.0, []) is not None
        telling.due()
    telling.round()
    (row,) = telling.rows()
    assert (row["state"], row["tries"][0]["error"]) == ("dead", "no attempt came to its end")
    assert receiver.got == []
    # A replay begins anew.
    telling.stores.deliveries.replay(row["_id"], "default")
    telling.round()
    assert telling.rows()[0]["state"] == "delivered"
