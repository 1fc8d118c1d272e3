"""Ask again for the answers that are found most, before they expire: a chore (chores.py), off by default.

    hits, counted by a sample (store/most_asked.py)
      -> which of them expire soon (core/warming.py) -> their requests, read from the files they came from
      -> a small batch of their tenant's that warms: in its lists, its costs and its limits, under a ceiling of its own

`Warmth` is what a worker process has of all this: the counting, and the loading of models (prewarm.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers import metrics
from workers.core.choose import Chosen
from workers.core.errors import MissingBytes, StoreUnavailable
from workers.core.identity import new_file_id
from workers.core.messages import Item
from workers.core.warming import (
    DAY_S,
    Allowance,
    Asked,
    Place,
    allowance,
    expiring,
    is_near_its_end,
    lines_of,
)
from workers.creation import Defaults, new_batch, refusal_of_queue, write_down
from workers.engine.pipeline import prepare
from workers.engine.work import Work
from workers.observed import OBSERVED
from workers.prewarm import Prewarm
from workers.store.most_asked import MostAsked
from workers.store.redis import REDIS_DOWN
from workers.walk import safely

if TYPE_CHECKING:
    from workers.runtime import Runtime

log = logging.getLogger(__name__)

RUN_KEY = "batchwright:most-asked"
# Less than a chore's lease; the tenants that are left come first in the next round, since the others rest then.
ROUND_S = 60.0
_TENANTS_AT_ONCE = 500
_EARLIER_AT_MOST = 2_000


@dataclass(slots=True)
class Warmth:
    """One per process. `most_asked` None: nobody counts what is found, since nobody refreshes it."""

    most_asked: MostAsked | None
    prewarm: Prewarm

    async def run(self) -> None:
        """Load models and hand counts over for ever; cancel to stop, after `flush`."""
        runs = [self.prewarm.run(), *([self.most_asked.run()] if self.most_asked else [])]
        await asyncio.gather(*runs)

    async def flush(self) -> None:
        """Hand over what is counted."""
        if self.most_asked:
            await self.most_asked.send()


def refresh_most_asked(runtime: Runtime) -> None:
    """Refresh for every tenant what is due, within its budget. Does nothing unless `warming.refresh` is on."""
    most_asked, until, after = runtime.warmth.most_asked, time.monotonic() + ROUND_S, None
    while most_asked is not None and time.monotonic() < until:
        page = runtime.stores.tenants.page(after=after, limit=_TENANTS_AT_ONCE)
        with suppress(*REDIS_DOWN):
            ids = [entry.id for entry in page if entry.erasing_since is None]
            gone = [entry.id for entry in page if entry.erasing_since is not None]
            for tenant in runtime.submit(most_asked.counted(gone)):
                runtime.submit(most_asked.forget(tenant))
            for tenant in runtime.submit(most_asked.counted(ids)):
                if time.monotonic() < until:
                    safely("warming", tenant, lambda one: _Refresh(runtime, most_asked, one).run())
        if len(page) < _TENANTS_AT_ONCE:
            return
        after = page[-1].id


@dataclass(slots=True)
class _Refresh:
    """What one round does for one tenant."""

    runtime: Runtime
    most_asked: MostAsked
    tenant: str

    def run(self) -> None:
        asked = self.runtime.submit(self._asked())
        chosen = expiring(asked, self.runtime.settings.warming)
        if not chosen:
            return
        stores = self.runtime.stores
        found = stores.batches.page(self.tenant, after=None, limit=_EARLIER_AT_MOST, run_key=RUN_KEY)
        earlier = [one for one in found if one.get("budget")]
        # By one clock: to a worker whose own is wrong the money of a day would be there once more.
        now_s = stores.minutes.now().timestamp()
        kept_s = stores.batches.retention_s(self.tenant)
        may = allowance(earlier, self.runtime.settings.warming, now_s, kept_s)
        if may.wait or refusal_of_queue(stores.backlog, self.tenant) is not None:
            self._count("over_budget", len(chosen) if may.wait == "over_budget" else 0)
            return
        works = self._works(chosen)
        self._count("over_budget", len(works) - may.calls)
        self._make_batches(works[: may.calls], may, now_s, earlier)

    async def _asked(self) -> list[Asked]:
        rules = self.runtime.settings.warming
        rows = await self.most_asked.top(self.tenant, least_hits=rules.min_hits, most=rules.top)
        left_s = await self.runtime.cache.left_s([key for key, _, _ in rows])
        return [Asked(key, hits, place, left) for (key, hits, place), left in zip(rows, left_s, strict=True)]

    def _works(self, chosen: Sequence[Asked]) -> list[Work]:
        """Their requests, as they would be asked now; without those that would be kept under another key."""
        tenant = self.runtime.stores.tenants.get(self.tenant)
        batches = self.runtime.stores.batches.get_many([one.place.batch_id for one in chosen], self.tenant)
        works, lost = [], 0
        for one in chosen:
            work = self._work(one, batches.get(one.place.batch_id), tenant.secret, tenant.generation)
            if work is None:
                lost += 1
            elif is_near_its_end(one.left_s or 0.0, work.ttl_s):
                works.append(work)
        self._count("unreadable", lost)
        return works

    def _work(
        self, one: Asked, batch: Mapping[str, Any] | None, secret: bytes, generation: int
    ) -> Work | None:
        link = self.runtime.links.get(one.key.split(":")[2])
        raw = self._line(one.place, batch) if batch is not None and link is not None else None
        if raw is None or batch is None or link is None:
            return None
        place = one.place
        item = Item(place.line, place.offset, place.length)
        work = prepare(raw, item, batch=batch, link=link, secret=secret, generation=generation)
        if not isinstance(work, Work) or work.cache_key != one.key:
            return (
                None  # the cache was cleared, settings have changed, or another provider had to answer then
            )
        asked = work.asked
        goes_to = self.runtime.planning.choose(asked.url, asked.model, asked.body)
        return work if isinstance(goes_to, Chosen) and goes_to.provider == link.name else None

    def _line(self, place: Place, batch: Mapping[str, Any]) -> bytes | None:
        files = self.runtime.stores.files
        file = files.for_batch(batch["input_file_id"], self.tenant)
        if file is None or place.offset + place.length > file["bytes"]:
            return None
        with suppress(MissingBytes):
            return b"".join(files.blobs.ranges(file["_id"], [(place.offset, place.length)]))
        return None

    def _make_batches(
        self, works: Sequence[Work], may: Allowance, now_s: float, earlier: Sequence[Mapping[str, Any]]
    ) -> None:
        """One for each endpoint, which a batch has one of; the money is shared by their requests."""
        key = _next_key(earlier)
        by_endpoint: dict[str, list[Work]] = defaultdict(list)
        for work in works:
            by_endpoint[work.asked.url].append(work)
        for endpoint, of_endpoint in by_endpoint.items():
            usd = may.usd * len(of_endpoint) / len(works)
            batch_id = self._make_batch(endpoint, of_endpoint, usd, now_s, key)
            if batch_id is None:
                return
            self._count("asked", len(of_endpoint))
            key = _key_after(batch_id)

    def _make_batch(
        self, endpoint: str, works: Sequence[Work], usd: float, now_s: float, key: str
    ) -> str | None:
        """Its id; None, and nothing is made, where another worker has made one since the money was counted."""
        stores, horizon_s = self.runtime.stores, self.runtime.settings.warming.horizon_s
        file_id = new_file_id(int(now_s * 1000))
        upload = stores.files.begin(
            file_id, self.tenant, filename="most-asked.jsonl", purpose="batch", expires_at=now_s + DAY_S
        )
        upload.write(lines_of([(work.asked.url, work.asked.model, work.asked.body) for work in works]))
        file = upload.finish()
        doc = new_batch(
            _form(endpoint, file_id, usd),
            tenant=self.tenant,
            now_s=now_s,
            defaults=Defaults(cache=True, invalid_lines="skip"),
            asked_hash="",
            idempotency_key=key,
        )
        doc["warm_until"] = now_s + horizon_s  # what has been renewed meanwhile is not paid again
        if write_down(stores.batches, doc, file) is None:
            stores.files.hide(file_id, self.tenant)
            return None
        with suppress(StoreUnavailable):  # the sweeper asks for the plan
            self.runtime.queue.publish_plan(doc["_id"])
        return str(doc["_id"])

    @staticmethod
    def _count(outcome: str, number: int) -> None:
        if number > 0:
            OBSERVED.count(metrics.WARM_REFRESHES, outcome, by=number)


def _key_after(batch_id: str) -> str:
    return f"{RUN_KEY}:after:{batch_id}"


def _next_key(earlier: Sequence[Mapping[str, Any]]) -> str:
    """The idempotency key of the next one: each is made after one other, so that of two workers, who have counted the
    same money, only the first spends it, however late the other comes."""
    taken = {one.get("idempotency_key") for one in earlier}
    keys = [*(_key_after(one["_id"]) for one in earlier), _key_after("none")]
    return next(key for key in keys if key not in taken)


def _form(endpoint: str, file_id: str, usd: float) -> dict[str, Any]:
    """The body of its create."""
    return {
        "input_file_id": file_id,
        "endpoint": endpoint,
        "completion_window": "1h",
        "metadata": {"made_by": "warming.refresh"},
        "output_expires_after": None,
        "batchwright": {
            "model": None,
            "cache": "warm",
            "order": "completion",
            "invalid_lines": "skip",
            "run_key": RUN_KEY,
            "priority": 0,
            "max_cost_usd": usd,
            "webhook": None,
        },
    }
