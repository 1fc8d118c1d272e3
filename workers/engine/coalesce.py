"""Decide, for a shard's items, who makes a call: we, another item of this process, or another process.

    ours?  -> local map (sharing.py) -> flight in Redis -> the cache once more -> the call is ours
                   | taken                 | taken, or recorded
                   v                       v
                 wait for its result     wait for its end, or take the recorded answer

Whoever waits holds no call slot. A wait ends with a result to share, or with a new try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from workers import metrics
from workers.core.messages import Result
from workers.engine import pipeline
from workers.engine.ports import Link
from workers.engine.sharing import Sharing, Waiter, may_share, shared_copy
from workers.engine.shelf import Shelf
from workers.engine.work import Held, Work
from workers.observed import OBSERVED
from workers.store import keys
from workers.store.flights import Ticket


class Coalescing:
    """One running shard's flights: those it owns and those it waits for."""

    def __init__(
        self,
        held: Held,
        shelf: Shelf,
        sharing: Sharing,
        link: Link,
        *,
        record: Callable[[Result], None],
        try_again: Callable[[Work], None],
    ) -> None:
        """`record` takes a shared result, `try_again` an item whose wait ended without one."""
        self._held, self._shelf, self._sharing, self._link = held, shelf, sharing, link
        self._record, self._try_again = record, try_again
        self._waiting: dict[Work, tuple[str, Waiter]] = {}

    @property
    def waiting(self) -> Iterable[Work]:
        """Items that wait for somebody else's answer."""
        return self._waiting.keys()

    def waits_beyond(self, works: Iterable[Work]) -> bool:
        """Whether anything here waits for a call that is none of these items'."""
        own = {self._key(work) for work in works if work.owns_flight}
        return any(key not in own for key, _ in self._waiting.values())

    async def own(self, works: list[Work]) -> list[Work]:
        """Those whose call is ours to make; the others wait for the one whose it is, or have their answer."""
        mine, asked = [], []
        for work in works:
            if not work.fingerprint or work.owns_flight:
                mine.append(work)
            elif self._sharing.try_own(self._key(work)):
                work.owns_flight = True
                asked.append(work)
            else:
                self._wait(work, self._sharing.wait_local)
        tickets = [self.ticket(work) for work in asked]
        owned = []
        with self._sharing.asking(ticket.key for ticket in tickets):
            verdicts = await self._shelf.take(tickets)
            for verdict, flights in Counter(claimed.verdict for claimed in verdicts).items():
                OBSERVED.count(metrics.FLIGHTS, verdict, by=flights)
            for work, claimed in zip(asked, verdicts, strict=True):
                if claimed.verdict == "own":
                    owned.append(work)
                elif claimed.verdict == "wait":
                    self._not_ours(work, None)
                elif (known := await self._shelf.recorded(claimed.result_id)) is not None:
                    self._not_ours(work, known)
                else:
                    mine.append(work)  # recorded, but unreadable: waiting for it would only pass the time
        return mine + await self._look_behind_owners(owned)

    def answered(self, work: Work, result: Result) -> None:
        """Our call has an answer: those of this process who wait for it have it, too. The flight ends elsewhere."""
        work.owns_flight = False
        self._sharing.answered(self._key(work), _without_own_warnings(work, result))

    def failed(self, work: Work, result: Result) -> None:
        """Our call ended in a final failure: share it where the next one would get the same, else let others try."""
        if not work.fingerprint:
            return
        work.owns_flight = False
        if may_share(result):
            self._sharing.answered(self._key(work), _without_own_warnings(work, result))
        else:
            self._sharing.let_go(self._key(work))
        self._shelf.end_soon(self.ticket(work))

    def look_again(self) -> None:
        """A wake-up may be lost with Redis: who waits for another process tries again."""
        for key, told in list(self._waiting.values()):
            if self._sharing.forget_remote(key, told):
                told(None)

    async def let_go(self, works: Iterable[Work]) -> list[Work]:
        """Give up every flight of these items and every wait, so that one waiter elsewhere goes on at once.

        Gives the items that waited.
        """
        waited = list(self._waiting)
        for key, told in self._waiting.values():
            self._sharing.forget_remote(key, told)
        self._waiting.clear()
        await self.give_up(works)
        return waited

    async def give_up(self, works: Iterable[Work]) -> None:
        """End the flights of these items without an answer: others may try now."""
        owners = [work for work in works if work.owns_flight]
        for work in owners:
            work.owns_flight = False
            self._sharing.let_go(self._key(work))
        await self._shelf.end([self.ticket(work) for work in owners])

    def ticket(self, work: Work) -> Ticket:
        """The item's name at its flight: a later lease of the same item takes over its own flight at once."""
        if work.ticket is None:
            held = self._held
            key = keys.flight(held.tenant, work.fingerprint)
            work.ticket = Ticket(key, f"{held.batch_id}:{work.item.line}", held.fence)
        return work.ticket

    def _not_ours(self, work: Work, known: Result | None) -> None:
        work.owns_flight = False
        if known is not None and may_share(known):
            self._sharing.answered(self._key(work), known)
            self._record(shared_copy(work, known))
        else:
            # Wait before letting go: those who wait for us here must find the other process's flight.
            self._wait(work, self._sharing.wait_remote)
            self._sharing.let_go(self._key(work))

    async def _look_behind_owners(self, owned: list[Work]) -> list[Work]:
        """Look into the cache once more: an owner may have ended between our look-up and our taking its flight.

        Without this look 24 % of the calls were extra ones in a run of 4 processes over the same prompts.
        """
        found = await self._shelf.find(owned, again=True)
        known = [work for work in owned if work.cache_key in found]
        for work in known:
            result = pipeline.cached(work, found[work.cache_key], self._link)
            self.answered(work, result)
            self._record(result)
        await self._shelf.end([self.ticket(work) for work in known])
        return [work for work in owned if work.cache_key not in found]

    def _wait(self, work: Work, where: Callable[[str, Waiter], None]) -> None:
        def told(result: Result | None) -> None:
            if self._waiting.pop(work, None) is None:
                return
            if result is not None and may_share(result):
                self._record(shared_copy(work, result))
            else:
                work.looked_up = False
                self._try_again(work)

        key = self._key(work)
        self._waiting[work] = (key, told)
        where(key, told)

    def _key(self, work: Work) -> str:
        return self.ticket(work).key


def _without_own_warnings(work: Work, result: Result) -> Result:
    return replace(result, warnings=result.warnings[len(work.warnings) :]) if work.warnings else result
