"""Record results in bulk: at most every 100 ms, 500 results or 8 MB; never lose one, never record two.

Inserting is idempotent by `_id`, so after any failure the same bulk is sent again until MongoDB takes it. What
the server refuses for good ends as the error `unrecordable`, never as another call. While the buffer is over its
bound no new call starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from workers.core.messages import ItemError, Result
from workers.core.tally import Tally
from workers.engine.ports import RecordTarget
from workers.store.mongo import MONGO_DOWN
from workers.store.results import Record, Results, record
from workers.store.shards import Shards
from workers.store.threads import Threads

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.1
FLUSH_RESULTS = 500
FLUSH_BYTES = 8_000_000
BUFFER_RESULTS = 5_000
BUFFER_BYTES = 32_000_000
_RETRY_S = 0.5


@dataclass(slots=True)
class _Entry:
    record: Record
    run: RecordTarget
    on_recorded: Callable[[], None] | None


class Recorder:
    """One per process: `run` it in the loop, `add` from the loop."""

    def __init__(
        self, results: Results, shards: Shards, threads: Threads, tally_of: Callable[[str], Tally]
    ) -> None:
        """`tally_of` gives a running shard's counts, to be stored after each flush."""
        self._results, self._shards, self._threads = results, shards, threads
        self._tally_of = tally_of
        self._buffer: list[_Entry] = []
        self._bytes = 0
        self._wake = asyncio.Event()
        self._flushing = asyncio.Lock()

    def add(
        self, run: RecordTarget, result: Result, *, on_recorded: Callable[[], None] | None = None
    ) -> None:
        """Take one result."""
        held = run.held
        rec = record(held.batch_id, held.tenant, held.shard_id, held.fence, result)
        entry = _Entry(rec, run, on_recorded)
        self._buffer.append(entry)
        self._bytes += entry.record.line_bytes
        if len(self._buffer) == 1 or len(self._buffer) >= FLUSH_RESULTS or self._bytes >= FLUSH_BYTES:
            self._wake.set()

    def has_room(self) -> bool:
        """Whether new calls may start."""
        return len(self._buffer) < BUFFER_RESULTS and self._bytes < BUFFER_BYTES

    async def flush(self) -> None:
        """Record everything that was added before this call."""
        async with self._flushing:
            while self._buffer:
                await self._flush_once()

    async def run(self) -> None:
        """Flush by time and size, for ever; cancel to stop, after a last `flush`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if len(self._buffer) < FLUSH_RESULTS and self._bytes < FLUSH_BYTES:
                try:
                    async with asyncio.timeout(FLUSH_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass  # the time is up: what there is goes now
            await self.flush()

    async def _flush_once(self) -> None:
        entries = self._take()
        records = [entry.record for entry in entries]
        refused = await self._insert(records)
        for bad in refused:
            await self._insert([_unrecordable(bad)])
        self._bytes -= sum(rec.line_bytes for rec in records)
        lost = {rec.id for rec in refused}
        for entry in entries:
            rec = _unrecordable(entry.record) if entry.record.id in lost else entry.record
            entry.run.on_recorded(rec.result, rec.line_bytes)
            if entry.on_recorded:
                entry.on_recorded()
        await self._store_tallies({(entry.run.held.shard_id, entry.run.held.fence) for entry in entries})

    def _take(self) -> list[_Entry]:
        size, count = 0, 0
        for entry in self._buffer[:FLUSH_RESULTS]:
            size += entry.record.line_bytes
            count += 1
            if size >= FLUSH_BYTES:
                break
        entries = self._buffer[:count]
        del self._buffer[:count]
        return entries

    async def _insert(self, records: list[Record]) -> list[Record]:
        while True:
            try:
                return await self._threads.call(self._results.insert, records)
            except MONGO_DOWN as error:
                log.warning(
                    "MongoDB does not take %d results, trying again: %s", len(records), type(error).__name__
                )
                await asyncio.sleep(_RETRY_S)  # the only sensible thing is to ask again until it is back

    async def _store_tallies(self, held: set[tuple[str, int]]) -> None:
        tallies = {(shard_id, fence): self._tally_of(shard_id) for shard_id, fence in held}
        try:
            await self._threads.call(self._shards.save_tallies, tallies)
        except MONGO_DOWN as error:
            log.warning("counts not stored, the next flush will: %s", type(error).__name__)


def _unrecordable(bad: Record) -> Record:
    text = "the answer came, but the database refused to store it"
    old = bad.result
    result = Result(
        line=old.line,
        custom_id=old.custom_id,
        source=old.source,
        error=ItemError("unrecordable", text),
        model=old.model,
        usage=old.usage,
        calls=old.calls,
        excess=old.excess,
        cost_usd=old.cost_usd,
        latency_ms=old.latency_ms,
    )
    return record(bad.batch_id, bad.tenant, bad.shard_id, bad.fence, result)
