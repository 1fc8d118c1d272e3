"""Call slots: how many requests one process has under way at one provider, shared fairly by its batches.

Shards of one batch are not kept equal: whoever asks first gets what is free, so slots that come free together are
filled by one shard, with one set of look-ups. In eight equal shares the look-ups of an answer cost as much as its call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Holder:
    batch_id: str
    wake: Callable[[], None]
    held: int = 0


class CallSlots:
    """A counter with shares. Each running batch may hold at most its equal share, so none starves another."""

    def __init__(self, total: int, room: Callable[[], int] | None = None) -> None:
        """`room`: how many the connections take at once; a call beyond that would only wait for one."""
        self.total, self._room = total, room
        self._free = total
        self._shards: dict[str, _Holder] = {}
        self._short: dict[str, Callable[[], None]] = {}  # who found fewer than it could use
        self._gatherer: dict[str, str] = {}  # by batch, the shard for which free slots are gathered now
        self._behind: dict[str, Callable[[], None]] = {}  # who found another one gathering
        self._held_by: Counter[str] = Counter()
        self._running: Counter[str] = Counter()

    def join(self, shard_id: str, batch_id: str, wake: Callable[[], None]) -> None:
        """A shard of a batch starts to use slots; `wake` is called when some may be free again."""
        self._shards[shard_id] = _Holder(batch_id, wake)
        self._running[batch_id] += 1

    def leave(self, shard_id: str) -> None:
        """A shard is done; whatever it still held is free."""
        holder = self._shards.pop(shard_id, None)
        if holder is None:
            return
        self._short.pop(shard_id, None)
        self._behind.pop(shard_id, None)
        self._free += holder.held
        self._held_by[holder.batch_id] -= holder.held
        self._running[holder.batch_id] -= 1
        if not self._running[holder.batch_id]:
            del self._running[holder.batch_id], self._held_by[holder.batch_id]
        self._tell()

    @property
    def in_use(self) -> int:
        """How many are held now."""
        return self.total - self._free

    def available(self, shard_id: str) -> int:
        """How many this shard could take now. It is woken once more are free."""
        holder = self._shards[shard_id]
        if self._gatherer.get(holder.batch_id, shard_id) != shard_id:
            self._behind[shard_id] = holder.wake
            return 0
        self._short[shard_id] = holder.wake
        total = self.total if self._room is None else min(self.total, self._room())
        share = max(1, total // max(1, len(self._running)))
        return max(0, min(total - self.in_use, share - self._held_by[holder.batch_id]))

    @contextmanager
    def gathering(self, shard_id: str) -> Iterator[bool]:
        """Let free slots of a batch come together for this shard. False if another one of its batch is at it.

        Otherwise each of eight shards would fill an eighth of them, with a set of look-ups of its own.
        """
        batch_id = self._shards[shard_id].batch_id
        if batch_id in self._gatherer:
            yield False
            return
        self._gatherer[batch_id] = shard_id
        try:
            yield True
        finally:
            del self._gatherer[batch_id]
            behind, self._behind = self._behind, {}
            for wake in behind.values():
                wake()

    def take(self, shard_id: str, wanted: int) -> int:
        """Take up to `wanted`; gives how many."""
        holder, taken = self._shards[shard_id], min(wanted, self.available(shard_id))
        self._free -= taken
        holder.held += taken
        self._held_by[holder.batch_id] += taken
        return taken

    def give_back(self, shard_id: str, count: int = 1) -> None:
        """Return slots; the shards hear of it."""
        holder = self._shards.get(shard_id)
        if holder is not None:
            holder.held -= count
            self._held_by[holder.batch_id] -= count
            self._free += count
        self._tell()

    def _tell(self) -> None:
        # One wake-up for each look: who has looked and not come back yet need not be woken by every call that ends.
        if self._short:
            short, self._short = self._short, {}
            for wake in short.values():
                wake()
