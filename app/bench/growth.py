"""One batch after another, each ten times as large: what stays flat, and what an item leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.bench.figures import Growth
from app.bench.ours import Ours
from app.bench.peers.meters import forget_peak, memory_bytes
from app.bench.prompts import Prompts
from app.bench.site import WORKER, Site
from app.bench.telling import Telling

# What has to stay small whatever the batch; the provider is none of ours.
_PROCESSES = (WORKER, "api")


def grow(site: Site, sizes: Sequence[int], tell: Telling) -> list[Growth]:
    """A batch of new prompts for each size, smallest first. Raises Broken."""
    found = []
    for size in sorted(sizes):
        tell.step(f"growth: {size:,} items")
        found.append(_one(site, size))
        tell.note(f"growth: {size:,} items at {found[-1].items_per_s:,.0f} items/s")
    return found


def _one(site: Site, size: int) -> Growth:
    pids = {name: site.state.pids[name] for name in _PROCESSES}
    for pid in pids.values():
        forget_peak(pid)
    results_before = _results(site)
    cache_before = _used_bytes(site.state.cache_redis_url)
    lap = Ours(site).miss(Prompts(f"growth{size}"), size)
    memory = {name: memory_bytes(pid) for name, pid in pids.items()}
    results = _results(site)
    cache = _used_bytes(site.state.cache_redis_url)
    return Growth(
        items=size,
        items_per_s=lap.items_per_s,
        cpu_ms=lap.cpu_ms,
        memory={name: {"peak_bytes": peak, "final_bytes": now} for name, (now, peak) in memory.items()},
        control_redis_bytes=_used_bytes(site.state.redis_url),
        cache_redis_bytes=cache,
        cache_redis_bytes_per_item=max(0, cache - cache_before) / size,
        mongodb_bytes_per_item=_grown(results, results_before, "storageSize") / size,
        mongodb_data_bytes_per_item=_grown(results, results_before, "size") / size,
    )


def _results(site: Site) -> dict[str, Any]:
    """The sizes of the collection of results, once what was written lies on disk."""
    site.db.client.admin.command("fsync")
    found: dict[str, Any] = site.db.command("collStats", "batch_results")
    return found


def _grown(after: dict[str, Any], before: dict[str, Any], name: str) -> int:
    return max(0, int(after.get(name, 0)) - int(before.get(name, 0)))


def _used_bytes(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        info: Any = client.info("memory")
        return int(info["used_memory"])
