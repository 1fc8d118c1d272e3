"""Tell the world: carry events to the outbox, make a delivery for whoever wants to know, and send what is due.

In every API process, beside its server. Each step is bounded and may be broken off between any two writes: events are
carried under derived ids, deliveries are made under derived ids, and what is being sent is held by a lease
(store/deliveries.py), so two processes share the work, and one that dies loses nothing. A receiver is told at least
once, by an id that stays. No more is under way at once than `AT_ONCE`, of one tenant than `PER_TENANT`, to one endpoint
than `PER_LANE`: who is slow holds up itself. Nothing here touches a batch.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from workers import metrics
from workers.core.identity import new_id
from workers.core.webhooks import (
    MOST_ATTEMPTS,
    TEST_EVENT,
    Answered,
    Next,
    after_attempt,
    body_of,
    signed_headers,
    signing,
    subject_of_test,
)
from workers.observed import OBSERVED
from workers.store.deliveries import age_s, deliveries_of
from workers.store.mongo import STORE_TROUBLE, Doc
from workers.store.stores import Stores
from workers.store.threads import Threads
from workers.store.webhooks import GONE_REASON, wanting

log = logging.getLogger(__name__)
K = TypeVar("K")

AT_ONCE, PER_TENANT, PER_LANE = 64, 8, 4
TESTS_PER_TENANT = 4
PAGE, PAGES_A_ROUND = 200, 10
# From a batch's end to the first attempt it is this long at most, where there is room.
LOOK_EVERY_S = 1.0
# How `/metrics` calls what follows an attempt.
_OUTCOMES = {"delivered": "delivered", "pending": "failed", "dead": "given_up"}
# Beyond an attempt's own time, to write down what came of it.
_TO_SETTLE_S = 5.0


class Sender(Protocol):
    """transport/outward.py: one POST, and what came of it."""

    @property
    def deadline_s(self) -> float:
        """How long it takes at most."""

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answered:
        """Send it once; it raises nothing."""


@dataclass(slots=True)
class Notifier:
    """`run` in a loop; `round` once; `test` sends an event of its own."""

    stores: Stores
    threads: Threads
    sender: Sender
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _tenants: Counter[str] = field(default_factory=Counter)
    # By tenant too: two of them may name receivers of batches on one host.
    _lanes: Counter[tuple[str, str]] = field(default_factory=Counter)
    _after: str = ""
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _tests: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Tell for ever; cancel to stop. What is under way then is sent again by whoever comes after its lease."""
        try:
            while True:
                self._room.clear()
                try:
                    await self.round()
                except STORE_TROUBLE as error:
                    log.warning("cannot tell of events: %s", type(error).__name__)
                except Exception:
                    log.exception("a round of webhooks failed")
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._room.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._tasks:
                task.cancel()

    def nudge(self) -> None:
        """Look again at once: something is due that was not."""
        self._room.set()

    async def round(self) -> None:
        """Carry over, make deliveries, and begin to send what is due and has room."""
        for _ in range(PAGES_A_ROUND):
            if await self.threads.call(self.tell) < PAGE:
                break
        else:
            # Who ends a hundred thousand batches at once must not keep what is due from being sent meanwhile.
            self.nudge()
        due, last = self.stores.deliveries.tenants_due, self._after
        tenants = await self.threads.call(due, last, PAGE)
        if last and len(tenants) < PAGE:
            again = await self.threads.call(due, "", PAGE - len(tenants))
            tenants += [tenant for tenant in again if tenant <= last]
        for tenant in tenants:
            while len(self._tasks) < AT_ONCE and self._tenants[tenant] < PER_TENANT:
                if not await self._begin(tenant):
                    break
                self._after = tenant  # the next round begins behind it: a name's first letter is no privilege

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def tell(self) -> int:
        """Carry events over and make the deliveries of those that nobody was told of; gives of how many. Blocking."""
        self.stores.outbox.collect(PAGE)
        found = self.stores.outbox.untold(PAGE)
        if not found:
            return 0
        endpoints = self.stores.webhooks.who_wants({row["tenant"] for row in found})
        for row in found:
            theirs = wanting(endpoints.get(row["tenant"], ()), row["event"]["type"])
            own = row.get("webhook")
            self.stores.deliveries.insert(deliveries_of(row, theirs, _lane(own["url"]) if own else ""))
        self.stores.outbox.told_all([row["_id"] for row in found])
        return len(found)

    async def test(self, endpoint: Doc, kind: str = TEST_EVENT) -> tuple[str, Answered] | None:
        """Send an endpoint an event of this type now, once; gives the event's id and what came back.

        None, and nothing is sent, while as many tests of its tenant are under way as may be.
        """
        tenant = endpoint["tenant"]
        if self._tests[tenant] >= TESTS_PER_TENANT:
            return None
        now = datetime.now(UTC)
        event_id = new_id("evt_test_", int(now.timestamp() * 1000))
        event = {
            "id": event_id,
            "object": "event",
            "created_at": int(now.timestamp()),
            "type": kind,
            "data": {"id": subject_of_test(kind, endpoint["_id"], tenant)},
        }
        body = body_of(event)
        headers = signed_headers(event_id, now, body, signing(endpoint["secrets"], now))
        self._tests[tenant] += 1
        try:
            return event_id, await self.sender.post(endpoint["url"], headers, body)
        finally:
            _count_down(self._tests, tenant)

    async def _begin(self, tenant: str) -> bool:
        busy = [
            lane for (whose, lane), number in self._lanes.items() if whose == tenant and number >= PER_LANE
        ]
        lease_s = self.sender.deadline_s + _TO_SETTLE_S
        row = await self.threads.call(self.stores.deliveries.claim, tenant, lease_s, busy)
        if row is None:
            return False
        self._tenants[tenant] += 1
        self._lanes[tenant, row["lane"]] += 1
        task = asyncio.create_task(self._deliver(row))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, row))
        return True

    def _ended(self, task: asyncio.Task[None], row: Doc) -> None:
        self._tasks.discard(task)
        _count_down(self._tenants, row["tenant"])
        _count_down(self._lanes, (row["tenant"], row["lane"]))
        self._room.set()
        if not task.cancelled() and task.exception() is not None:
            # It is due again when its lease ends. Words of the error may hold a URL.
            log.warning("%s: %s; it is sent again", row["_id"], type(task.exception()).__name__)

    async def _deliver(self, row: Doc) -> None:
        url, secrets, refusal = await self._receiver(row)
        if refusal:
            answered, following = Answered(0, error=refusal), Next("dead")
        else:
            answered = await self._attempt(row, url, secrets)
            following = after_attempt(answered, row["attempts"], age_s(row), random.random())  # noqa: S311
        if not refusal:
            OBSERVED.time(metrics.WEBHOOK_SECONDS, seconds=answered.took_ms / 1000)
        OBSERVED.count(metrics.WEBHOOK_ATTEMPTS, _OUTCOMES[following.state])
        if not await self.threads.call(self.stores.deliveries.settle, row, answered, following):
            return
        if following.disable and row["endpoint"]:
            await self.threads.call(self.stores.webhooks.disable, row["endpoint"], url, GONE_REASON)
        if following.state != "delivered":
            log.info(
                "%s (%s): attempt %d failed, %s", row["_id"], row["type"], row["attempts"], following.state
            )

    async def _attempt(self, row: Doc, url: str, secrets: list[str]) -> Answered:
        try:
            headers = signed_headers(row["event_id"], row["at"], row["body"], secrets)
            return await self.sender.post(url, headers, row["body"])
        except Exception as error:  # noqa: BLE001 - whatever it is, it must have an end: it counts as an attempt
            # Its words may hold the URL.
            log.warning("%s: cannot be sent: %s", row["_id"], type(error).__name__)
            return Answered(0, error="cannot be sent")

    async def _receiver(self, row: Doc) -> tuple[str, list[str], str | None]:
        """Its URL and secrets as they are now, or why it is sent no more."""
        if row["attempts"] > MOST_ATTEMPTS:
            # Each attempt is counted before it is made: whatever ends a process in the middle has an end itself.
            return "", [], "no attempt came to its end"
        if row["endpoint"] is None:
            return row["own"]["url"], [row["own"]["secret"]], None
        endpoint = await self.threads.call(self.stores.webhooks.get, row["endpoint"], row["tenant"])
        if endpoint is None:
            return "", [], "the endpoint was deleted"
        if not endpoint["enabled"]:
            return "", [], "the endpoint is disabled"
        return endpoint["url"], signing(endpoint["secrets"], row["at"]), None


def _count_down(counter: Counter[K], name: K) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _lane(url: str) -> str:
    """A tenant's receivers of batches share their slots by host: each batch may name another path."""
    return f"host:{urlsplit(url).netloc}"
