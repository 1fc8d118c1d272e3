"""A dependency that is away for a time, and what shows that workers take messages again.

with outage(arena, "control Redis killed", kill, start_again, leases=3):
    ...what people do meanwhile...
consuming_again(arena)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tests.chaos.arena import Arena, Hit
from tests.support.eventually import eventually

# The times of a broker's connection (15 s without an answer) are not scaled: fault 11 gives it a minute.
CONSUMING_WITHIN_S = 60.0
_ITEMS_A_TRY = 100


@contextmanager
def outage(
    arena: Arena, name: str, breaks: Callable[[], object], heals: Callable[[], object], *, leases: float
) -> Iterator[Hit]:
    """Break something for so many leases, and for as long as the block takes; then heal it.

    `heals` returns once it works again: from then on the time back to work is counted.
    """
    hit = arena.hit(name, breaks)
    yield hit
    arena.last(max(0.0, hit.at + leases * arena.rules.lease_s - time.time()))
    heals()
    hit.healed_at = time.time()


def consuming_again(arena: Arena, since: float) -> float:
    """Give work until every worker has taken a shard that was submitted from now on.

    Gives the seconds from `since` (Unix) to the last of them; fails after a minute.
    """
    tenant = next(iter(arena.tenants.values()))
    processes = {f"worker-{number}" for number in range(1, arena.rules.workers + 1)}
    until = since + CONSUMING_WITHIN_S
    while processes:
        batch = tenant.submit(_ITEMS_A_TRY)
        shards = {"batch_id": batch.id, "owner": {"$exists": True}}
        ended = {"_id": batch.id, "status": "completed"}
        left_s = max(1.0, until - time.time())
        eventually(partial(arena.db["batch_jobs"].find_one, ended), left_s, what=arena.how_it_stands)
        owners = arena.db["batch_shards"].distinct("owner", shards)
        processes -= {str(owner).partition("@")[0] for owner in owners}
        assert time.time() < until, f"{sorted(processes)} take nothing"
    return time.time() - since


def logged(arena: Arena, name: str) -> str:
    """What a process of ours has written to its log so far."""
    return (arena.directory / "logs" / f"{name}.log").read_text(errors="replace")
