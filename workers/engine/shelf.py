"""Cache and flights for the shards of one process, and the order in which an answer reaches them.

An answer is first kept in the cache, then its flight ends, then it is recorded. Where the cache did not take it
(gone, or the answer is too large), it is recorded first and the flight then says where. Answers that come within
a few milliseconds go together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from workers.core.errors import MissingBytes
from workers.core.identity import result_id
from workers.core.messages import Reply, Result
from workers.core.warming import Place
from workers.engine.ports import RecordTarget, Sink
from workers.engine.work import Held, Work
from workers.store.cache import Cache
from workers.store.flights import Claimed, Flights, Ticket
from workers.store.mongo import MONGO_DOWN
from workers.store.most_asked import MostAsked
from workers.store.results import Results
from workers.store.threads import Threads

GATHER_S = 0.004


@dataclass(frozen=True, slots=True)
class _Fresh:
    run: RecordTarget
    work: Work
    reply: Reply
    result: Result
    ticket: Ticket


class Shelf:
    """One per process."""

    def __init__(
        self,
        cache: Cache | None,
        flights: Flights,
        results: Results,
        threads: Threads,
        sink: Sink,
        most_asked: MostAsked | None = None,
    ) -> None:
        """`cache` None: every look-up misses and nothing is kept; equal requests in flight are still shared.

        `most_asked` None: nobody counts what is found.
        """
        self._cache, self._flights, self._most_asked = cache, flights, most_asked
        self._results, self._threads, self._sink = results, threads, sink
        self._held: dict[str, Ticket] = {}
        self._fresh: list[_Fresh] = []
        self._ended: list[Ticket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    @property
    def held(self) -> int:
        """Flights that are ours in Redis."""
        return len(self._held)

    # --- looking

    async def find(self, works: Sequence[Work], *, again: bool = False) -> dict[str, Reply]:
        """Known answers to these, of one shard, by cache key. `again`: they were looked for and missed before."""
        wanted = list(dict.fromkeys([work.cache_key for work in works]))
        if self._cache is None or not wanted:
            return {}
        if works[0].lives_until_s:
            lives_until_s = {work.cache_key: work.lives_until_s for work in works}
            return await self._cache.find(wanted, again=again, lives_until_s=lives_until_s)
        return await self._cache.find(wanted, again=again)

    def count_hits(self, held: Held, works: Sequence[Work], found: Mapping[str, Reply]) -> None:
        """Count what was found as asked for, by a sample, where somebody counts; who warms does not ask."""
        if self._most_asked is None or not found or works[0].warms:
            return
        for work in self._most_asked.sample(works):
            if work.cache_key in found:
                item = work.item
                place = Place(held.batch_id, item.line, item.offset, item.length)
                self._most_asked.saw(held.tenant, work.cache_key, place)

    async def take(self, tickets: Sequence[Ticket]) -> list[Claimed]:
        """Ask for flights; owned ones are renewed until they end."""
        verdicts = await self._flights.take(tickets)
        for ticket, claimed in zip(tickets, verdicts, strict=True):
            if claimed.verdict == "own":
                self._held[ticket.key] = ticket
        return verdicts

    async def recorded(self, result_id_: str) -> Result | None:
        """A result that is recorded but not cached."""
        try:
            return await self._threads.call(self._results.get, result_id_)
        except (*MONGO_DOWN, MissingBytes):
            return None

    async def renew(self) -> None:
        """Keep the flights of every call under way."""
        await self._flights.renew(list(self._held.values()))

    # --- ending

    async def end(self, tickets: Sequence[Ticket]) -> None:
        """End flights now."""
        for ticket in tickets:
            self._forget(ticket)
        await self._flights.end(tickets)

    def end_soon(self, ticket: Ticket) -> None:
        """End a flight with the next answers."""
        self._ended.append(ticket)
        self._wake.set()

    def put(self, run: RecordTarget, work: Work, reply: Reply, result: Result, ticket: Ticket) -> None:
        """An answer to keep, tell and record."""
        self._fresh.append(_Fresh(run, work, reply, result, ticket))
        self._wake.set()

    async def run(self) -> None:
        """Carry answers on for ever; cancel to stop, after `flush`."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)  # answers that come together travel together
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Carry on what is here now."""
        fresh, self._fresh = self._fresh, []
        ended, self._ended = self._ended, []
        kept: set[str] = set()
        if self._cache and fresh:
            replies = {one.work.cache_key: one.reply for one in fresh}
            lives_s = {one.work.cache_key: one.work.ttl_s for one in fresh}
            warmed_ms = {one.work.cache_key: one.result.latency_ms for one in fresh if one.work.warms}
            kept = await self._cache.keep(replies, lives_s, warmed_ms=warmed_ms)
        for one in fresh:
            after = None if one.work.cache_key in kept else partial(self._end_by_record, one)
            self._sink.add(one.run, one.result, on_recorded=after)
        await self.end([one.ticket for one in fresh if one.work.cache_key in kept] + ended)

    def _forget(self, ticket: Ticket) -> None:
        if self._held.get(ticket.key) == ticket:
            del self._held[ticket.key]

    def _end_by_record(self, one: _Fresh) -> None:
        self._forget(one.ticket)
        self._spawn(self._flights.end([one.ticket], [result_id(one.run.held.batch_id, one.result.line)]))

    def _spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
