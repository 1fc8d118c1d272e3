"""Whose shard goes next. Pure: the dispatcher supplies what is queued and what is already out.

The tenant with the least estimated tokens out (dispatched and leased), by weight; of its batches those of the
highest priority, among these the one with the least out, then the oldest. So a small batch is not stuck behind a
large one, its owner's or another's. Where as little is out of one as of the other, who was sent off last comes last:
a slow limit has all its shards back in the queue between two choices. Nothing is remembered but what the shards say,
so nothing can be lost.

Providers share the slots of the worker processes (`windows`), and the threads of each single one (`leavers`), which
batches that have nothing running get also from those of their own provider (`for_newcomers`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from workers.core.lanes import Rates

# What is claimed within this time is worth sending now: a shard takes part of a second from the queue to its calls.
AHEAD_S = 4.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A shard that could go; ids of one batch sort by age, and so do batch ids.

    `sent_s`: when it was sent off last, in Unix seconds; 0 if it never was.
    """

    shard_id: str
    tenant: str
    batch_id: str
    est_tokens: int
    priority: int
    items: int = 1
    sent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Out:
    """A provider's shards that are dispatched or leased.

    Attributes:
        tokens: estimated, by tenant and by batch: ids of both kinds are keys.
        unstarted_items, unstarted_tokens: what of them has not been called yet, as far as the database knows.
        of_tenant: the same of one tenant's shards alone; whoever is not in it has none.
    """

    shards: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    unstarted_items: int = 0
    unstarted_tokens: int = 0
    of_tenant: Mapping[str, Out] = field(default_factory=dict)


def enough(waiting: Sequence[Waiting], out: Out, rates: Rates) -> list[Waiting]:
    """Of shards in their order, those that keep a limited provider busy for the next seconds; all without a limit.

    More than that would be claimed, refused by the limit and given back, again and again: at 600 requests a minute
    four processes spent 80 % of a core on it.
    """
    items, tokens = out.unstarted_items, out.unstarted_tokens
    most_items = _ahead(rates.requests_per_minute)
    most_tokens = _ahead(rates.tokens_per_minute)
    chosen = []
    for shard in waiting:
        if items >= most_items or tokens >= most_tokens:
            break
        chosen.append(shard)
        items += shard.items
        tokens += shard.est_tokens
    return chosen


def within_limits(waiting: Sequence[Waiting], out: Out, limits_of: Mapping[str, Rates]) -> list[Waiting]:
    """Shards without those of which their tenant's own limits have enough out already.

    Asked before anybody chooses: what a tenant could not use would take the slots of others, since who has least out
    comes first. A tenant of so many calls at once needs no more shards than that.
    """
    by_tenant: dict[str, list[Waiting]] = {}
    for shard in waiting:
        if shard.tenant in limits_of:
            by_tenant.setdefault(shard.tenant, []).append(shard)
    kept = [shard for shard in waiting if shard.tenant not in limits_of]
    for tenant, theirs in by_tenant.items():
        rates, of_tenant = limits_of[tenant], out.of_tenant.get(tenant, Out())
        places = len(theirs) if rates.concurrency is None else rates.concurrency - of_tenant.shards
        fair = choose(theirs, out.tokens, {}, max(0, places))
        kept += enough(fair, of_tenant, rates)
    return kept


def _ahead(per_minute: int | None) -> float:
    return float("inf") if per_minute is None else per_minute / 60.0 * AHEAD_S


def choose(
    waiting: Sequence[Waiting],
    tokens_out: Mapping[str, int],
    weights: Mapping[str, float],
    slots: int,
) -> list[Waiting]:
    """At most `slots` shards to dispatch, in order.

    Args:
        waiting: candidates, any order.
        tokens_out: estimated tokens of each batch's shards that are dispatched or leased, and of each tenant's:
            ids of both kinds are keys.
        weights: each tenant's share; one of weight 2 gets twice the tokens of one of weight 1.
    """
    queues: dict[str, dict[str, list[Waiting]]] = {}
    last_s: dict[str, float] = {}
    for shard in waiting:
        for name in (shard.tenant, shard.batch_id):
            last_s[name] = max(shard.sent_s, last_s.get(name, 0.0))
    for shard in sorted(waiting, key=lambda one: one.shard_id, reverse=True):
        queues.setdefault(shard.tenant, {}).setdefault(shard.batch_id, []).append(shard)
    out = {name: float(tokens) for name, tokens in tokens_out.items()}
    chosen: list[Waiting] = []
    while queues and len(chosen) < slots:
        tenant = min(
            queues,
            key=lambda name: (out.get(name, 0.0) / max(weights.get(name, 1.0), 1e-9), last_s[name], name),
        )
        batches = queues[tenant]
        batch_id = min(
            batches, key=lambda name: (-batches[name][-1].priority, out.get(name, 0.0), last_s[name], name)
        )
        shard = batches[batch_id].pop()
        chosen.append(shard)
        for name in (tenant, batch_id):
            out[name] = out.get(name, 0.0) + max(1, shard.est_tokens)
        if not batches[batch_id]:
            del batches[batch_id]
        if not batches:
            del queues[tenant]
    return chosen


def shares(wanted: Mapping[str, int], slots: int) -> dict[str, int]:
    """How many of `slots` each provider may have out: equal parts, and what one has no use for goes to the others.

    Max-min fairness. Who wants any gets at least one, so with more providers than slots they take turns in the queue.

    Args:
        wanted: shards that each has out or could send off.
    """
    waiting = {name: count for name, count in wanted.items() if count > 0}
    given, left = dict.fromkeys(wanted, 0), slots
    while waiting:
        part = left // len(waiting)
        modest = [name for name, count in waiting.items() if count <= part]
        if not modest:
            break
        for name in modest:
            given[name] = waiting.pop(name)
            left -= given[name]
    for place, name in enumerate(sorted(waiting)):
        given[name] = max(1, left // len(waiting) + (place < left % len(waiting)))
    return given


@dataclass(frozen=True, slots=True)
class Sent:
    """A provider's shards that are dispatched or leased; `seated` of them hold a thread, or will need one."""

    shards: int = 0
    seated: int = 0


def windows(sent: Mapping[str, Sent], due: Mapping[str, int], slots: int) -> dict[str, int]:
    """How many shards each provider may have out: its share, or what the others leave of the slots.

    A shard that goes on without its thread counts in its own provider's window, which bounds what is in the
    processes' hands, and takes no slot from the others.

    Args:
        due: shards that could be sent off now.
    """
    names = sent.keys() | due.keys()
    out = {name: sent.get(name, Sent()) for name in names}
    fair = shares({name: out[name].shards + due.get(name, 0) for name in names}, slots)
    uses = {
        name: out[name].seated + min(due.get(name, 0), max(0, fair[name] - out[name].shards))
        for name in names
    }
    return {name: max(fair[name], slots - sum(uses.values()) + uses[name]) for name in names}


def leavers(
    seated: Mapping[str, Sequence[str]],
    waiting: Mapping[str, int],
    room: int,
    idle: Collection[str] = (),
) -> list[str]:
    """Whose shards should go on without their thread, so that those who wait for one get it.

    All threads are taken. A provider that answers late, or not at all, would keep them until its calls time out,
    while others' shards lie in the queue. Who waits gets its equal part, from whoever holds most, as long as
    that is over an equal part itself; a shard that has held its thread longest leaves first. Beyond that, shards
    to which nothing has come for a while leave their threads to whoever waits.

    Args:
        seated: by provider, the shards that hold a thread, the longest-seated first.
        waiting: by provider, how many messages lie in its queue that nobody takes.
        room: how many more shards may go on without a thread: it bounds what a process has in its hands.
        idle: shards without an answer since seconds; those of a provider that waits itself keep their threads.
    """
    part = sum(map(len, seated.values())) / max(1, len(seated.keys() | waiting.keys()))
    held = {name: list(shards) for name, shards in seated.items()}
    short = {name: max(1, int(part)) - len(held.get(name, ())) for name in waiting}
    needed = min(room, sum(max(0, min(waiting[name], short[name])) for name in waiting))
    leaving: list[str] = []
    while held and len(leaving) < needed:
        largest = max(held, key=lambda name: (len(held[name]), name))
        if len(held[largest]) <= part:
            break
        leaving.append(held[largest].pop(0))
    still = min(room, sum(waiting.values())) - len(leaving)
    others = [shard for name, shards in held.items() if name not in waiting for shard in shards]
    return leaving + [shard for shard in others if shard in idle][: max(0, still)]


def idlers(
    seated: Mapping[str, Sequence[str]], working: Collection[str], room: int, idle: Collection[str]
) -> list[str]:
    """Who goes on without a thread though nobody waits for one here: shards without an answer, beside others' work.

    Else the first process that made room would get all shards of a healthy provider, and nothing of it would ever
    wait for the threads that a stalled one keeps in the next process.

    Args:
        seated, room, idle: as in `leavers`.
        working: providers that have shards in any process's hands, or on their way.
    """
    return [
        shard
        for name, shards in seated.items()
        if any(other != name for other in working)
        for shard in shards
        if shard in idle
    ][: max(0, room)]


def for_newcomers(seated: Mapping[str, Sequence[str]], leaving: Collection[str], newcomers: int) -> list[str]:
    """Who else should go on without a thread, so that batches that have nothing running get one each.

    The longest-seated, of whoever holds most: those who come first would keep all threads for as long as their calls
    take, though they share the calls at once with every batch that has a shard here.

    Args:
        seated, leaving: who holds a thread, as in `leavers`, and what it gave.
        newcomers: batches that wait; those for whom somebody leaves already are served.
    """
    held = {name: [shard for shard in shards if shard not in leaving] for name, shards in seated.items()}
    more: list[str] = []
    while len(leaving) + len(more) < newcomers and any(held.values()):
        largest = max(held, key=lambda name: (len(held[name]), name))
        more.append(held[largest].pop(0))
    return more
