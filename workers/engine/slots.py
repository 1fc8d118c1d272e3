"""Call slots: how many requests one process has under way at one provider, shared fairly by its shards."""

from __future__ import annotations

from collections.abc import Callable


class CallSlots:
    """A counter with shares. Each running shard may hold at most its equal share, so none starves another."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._shards: dict[str, int] = {}
        self._wake: dict[str, Callable[[], None]] = {}

    def join(self, shard_id: str, wake: Callable[[], None]) -> None:
        """A shard starts to use slots; `wake` is called when some may be free again."""
        self._shards[shard_id], self._wake[shard_id] = 0, wake

    def leave(self, shard_id: str) -> None:
        """A shard is done; whatever it still held is free."""
        self._free += self._shards.pop(shard_id, 0)
        self._wake.pop(shard_id, None)
        self._tell()

    def available(self, shard_id: str) -> int:
        """How many this shard could take now."""
        share = max(1, self.total // max(1, len(self._shards)))
        return max(0, min(self._free, share - self._shards[shard_id]))

    def take(self, shard_id: str, wanted: int) -> int:
        """Take up to `wanted`; gives how many."""
        taken = min(wanted, self.available(shard_id))
        self._free -= taken
        self._shards[shard_id] += taken
        return taken

    def give_back(self, shard_id: str, count: int = 1) -> None:
        """Return slots; the shards hear of it."""
        if shard_id in self._shards:
            self._shards[shard_id] -= count
            self._free += count
        self._tell()

    def _tell(self) -> None:
        for wake in self._wake.values():
            wake()
