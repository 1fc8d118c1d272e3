"""A notifier over a test's stores and receivers in its own process: a test says when it looks.

A conftest imports the fixtures: `receiver`, and `telling` over its `site`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.receiver import Receiver, receiving
from tests.support.sweeping import Site
from workers.core.addresses import Rules, networks
from workers.core.webhooks import secret_from
from workers.notify import Notifier
from workers.store.mongo import EPOCH, Doc
from workers.store.threads import Threads
from workers.transport.outward import Names, Outward

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


@pytest.fixture(scope="session")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def telling(site: Site, threads: ThreadPoolExecutor) -> Telling:
    return Telling(site, threads)
