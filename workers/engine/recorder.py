"""Record results in bulk: at most every 100 ms, 500 results or 8 MB; never lose one, never record two.

Inserting is idempotent by `_id`, so after any failure the same bulk is sent again until MongoDB takes it. What
the server refuses for good ends as the error `unrecordable`, never as another call. While the buffer is over its
bound no new call starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from workers import metrics
from workers.core import faultpoints
from workers.core.messages import ItemError, Result, Usage
from workers.core.tally import Tally
from workers.engine.ports import RecordTarget
from workers.observed import OBSERVED
from workers.store.mongo import MONGO_DOWN, STORE_TROUBLE
from workers.store.results import Record, Results, record
from workers.store.shards import Shards
from workers.store.threads import Threads

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 0.1
FLUSH_RESULTS = 500
FLUSH_BYTES = 8_000_000
# People read them once a second; a write for each bulk cost as much as the bulk.
COUNTS_EVERY_S = 0.5
BUFFER_RESULTS = 5_000
BUFFER_BYTES = 32_000_000
_RETRY_S = 0.5


@dataclass(slots=True)
class _Entry:
    record: Record
    run: RecordTarget
    on_recorded: Callable[[], None] | None
    added_at: float


class Recorder:
    """One per process: `run` it in the loop, `add` from the loop."""

    def __init__(
        self, results: Results, shards: Shards, threads: Threads, tally_of: Callable[[str], Tally | None]
    ) -> None:
        """`tally_of` gives a running shard's counts, to be stored after each flush; None once it has left."""
        self._results, self._shards, self._threads = results, shards, threads
        self._tally_of = tally_of
        self._buffer: list[_Entry] = []
        self._bytes = self._added = self._written = 0
        self._wake = asyncio.Event()
        self._hurried = False
        self._uncounted: set[tuple[str, int]] = set()  # shards (id, fence) whose counts have changed since
        self._counted_at = 0.0
        self._counting = asyncio.Lock()
        self._flushing = asyncio.Lock()

    def add(
        self, run: RecordTarget, result: Result, *, on_recorded: Callable[[], None] | None = None
    ) -> None:
        """Take one result."""
        held = run.held
        rec = record(held.batch_id, held.tenant, held.shard_id, held.fence, result)
        entry = _Entry(rec, run, on_recorded, time.monotonic())
        self._buffer.append(entry)
        self._bytes += entry.record.line_bytes
        self._added += 1
        if len(self._buffer) == 1 or self._is_large():
            self._wake.set()

    def hurry(self) -> None:
        """Somebody waits for nothing but what is here: record it now."""
        if self._buffer:
            self._hurried = True
            self._wake.set()

    def has_room(self) -> bool:
        """Whether new calls may start."""
        return len(self._buffer) < BUFFER_RESULTS and self._bytes < BUFFER_BYTES

    @property
    def waiting(self) -> int:
        """Results that wait for the database."""
        return len(self._buffer)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the results that wait or are being written."""
        return self._bytes

    def oldest_s(self, now: float) -> float:
        """How long the first of them has waited, in seconds; `now` is monotonic."""
        return now - self._buffer[0].added_at if self._buffer else 0.0

    async def flush(self) -> None:
        """Record everything that was added before this call, however much comes in meanwhile, and the counts."""
        await self._record_all()
        await self._store_tallies()

    async def run(self) -> None:
        """Flush by time and size, for ever; cancel to stop, after a last `flush`."""
        while True:
            await self._woken(COUNTS_EVERY_S if self._uncounted else None)
            if self._buffer and not self._hurried and not self._is_large():
                await self._woken(FLUSH_EVERY_S)  # when the time is up, what there is goes
            self._hurried = False
            await self._record_all()
            if time.monotonic() - self._counted_at >= COUNTS_EVERY_S:
                await self._store_tallies()

    async def _woken(self, within_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wake.wait()
        self._wake.clear()

    def _is_large(self) -> bool:
        return len(self._buffer) >= FLUSH_RESULTS or self._bytes >= FLUSH_BYTES

    async def _record_all(self) -> None:
        target = self._added
        while self._written < target:
            async with self._flushing:
                if self._written < target:
                    await self._flush_once()

    async def _flush_once(self) -> None:
        entries, began = self._take(), time.monotonic()
        try:
            stored = await self._insert([entry.record for entry in entries])
        except BaseException:
            self._buffer[:0] = entries  # nothing may be lost by a cancelled or broken flush
            raise
        faultpoints.passes(faultpoints.RECORDED)
        flushed_bytes = sum(entry.record.line_bytes for entry in entries)
        OBSERVED.time(metrics.RECORD_SECONDS, seconds=time.monotonic() - began)
        OBSERVED.count(metrics.RECORD_FLUSHED, by=len(entries))
        OBSERVED.count(metrics.RECORD_FLUSHED_BYTES, by=flushed_bytes)
        self._bytes -= flushed_bytes
        for entry, rec in zip(entries, stored, strict=True):
            entry.run.on_recorded(rec.result, rec.line_bytes)
            if entry.on_recorded:
                entry.on_recorded()
        self._uncounted |= {(entry.run.held.shard_id, entry.run.held.fence) for entry in entries}
        self._written += len(entries)

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
        """Record all of them; gives what stands in the database for each.

        A result that the server refuses is replaced by the small error `unrecordable`. If it refuses that one,
        too, it refuses us and not the body (a quota, a revoked right): then the result is asked for again.
        """
        final, waiting = {rec.id: rec for rec in records}, records
        while waiting:
            try:
                refused = await self._threads.call(self._results.insert, waiting)
                if not refused:
                    break
                small = {bad.id: _unrecordable(bad) for bad in refused}
                twice = {
                    bad.id for bad in await self._threads.call(self._results.insert, list(small.values()))
                }
                final |= {rec_id: rec for rec_id, rec in small.items() if rec_id not in twice}
                waiting = [bad for bad in refused if bad.id in twice]
                why = "it refuses even an empty error"
            except MONGO_DOWN as error:
                why = type(error).__name__
            if waiting:
                log.warning("MongoDB does not take %d results, trying again: %s", len(waiting), why)
                await asyncio.sleep(_RETRY_S)  # the only sensible thing is to ask again until it is back
        return [final[rec.id] for rec in records]

    async def _store_tallies(self) -> None:
        """Who waits for a flush gives its shard back next, and the counts are only taken from who holds it."""
        async with self._counting:  # whoever finds nothing to do waits for those who are at it
            held, self._uncounted, self._counted_at = self._uncounted, set(), time.monotonic()
            known = {(shard_id, fence): self._tally_of(shard_id) for shard_id, fence in held}
            tallies = {key: tally for key, tally in known.items() if tally is not None}
            if not tallies:
                return
            try:
                await self._threads.call(self._shards.save_tallies, tallies)
            except STORE_TROUBLE as error:
                self._uncounted |= held
                log.warning("counts not stored, the next flush will: %s", type(error).__name__)


def _unrecordable(bad: Record) -> Record:
    """What is recorded instead: only what no database refuses."""
    error = ItemError("unrecordable", "the answer came, but the database refused to store it")
    small = replace(
        bad.result, status_code=None, body=None, request_id=None, model="", usage=Usage(), error=error
    )
    return record(bad.batch_id, bad.tenant, bad.shard_id, bad.fence, small)
