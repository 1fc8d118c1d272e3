"""Flights in the control Redis: one identical call at a time is made for all who want its answer.

Owning a flight saves money, it never decides correctness: with Redis gone everyone owns, and pays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from workers.store.keys import FLIGHTS_CHANNEL
from workers.store.redis import REDIS_DOWN, run_script

log = logging.getLogger(__name__)

# How long a flight without a cached answer says where the answer is recorded.
SEEN_MS = 60_000
LISTEN_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """What asking for a flight gave; `result_id` where an answer is recorded but not cached."""

    verdict: Literal["own", "wait", "see"]
    result_id: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request for one flight: `token` names the item, `fence` its lease."""

    key: str
    token: str
    fence: int


class Flights:
    """Take, renew and end flights, a chunk at a time, and hear of those that others end."""

    def __init__(self, client: Redis, *, lease_ms: int) -> None:
        self._redis = client
        self._lease_ms = lease_ms

    async def take(self, tickets: Sequence[Ticket]) -> list[Claimed]:
        """For each ticket: own it, wait for its owner, or read a recorded answer."""
        if not tickets:
            return []
        args: list[str | bytes | float] = [self._lease_ms]
        for ticket in tickets:
            args += [ticket.token, ticket.fence]
        try:
            verdicts = await run_script(self._redis, "take_flights", keys=[t.key for t in tickets], args=args)
        except REDIS_DOWN:
            return [Claimed("own")] * len(tickets)
        return [_claimed(verdict.decode()) for verdict in verdicts]

    async def end(self, tickets: Sequence[Ticket], result_ids: Sequence[str] | None = None) -> None:
        """Let go of flights that are still ours; with `result_ids`, say where the answers are recorded."""
        if not tickets:
            return
        args: list[str | bytes | float] = [FLIGHTS_CHANNEL, SEEN_MS]
        for ticket, result_id in zip(tickets, result_ids or [""] * len(tickets), strict=True):
            args += [ticket.token, ticket.fence, result_id]
        try:
            await run_script(self._redis, "end_flights", keys=[t.key for t in tickets], args=args)
        except REDIS_DOWN:
            return  # they run out by themselves

    async def renew(self, tickets: Sequence[Ticket]) -> None:
        """Keep flights that are still ours."""
        if not tickets:
            return
        args: list[str | bytes | float] = [self._lease_ms]
        for ticket in tickets:
            args += [ticket.token, ticket.fence]
        try:
            await run_script(self._redis, "renew_flights", keys=[t.key for t in tickets], args=args)
        except REDIS_DOWN:
            return

    async def hear(self, ended: Callable[[str], None]) -> None:
        """Pass on what other processes say of ended flights, for ever; a lost message costs a waiter two seconds."""
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(FLIGHTS_CHANNEL)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            ended(bytes(message["data"]).decode())
            except REDIS_DOWN as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # A connect that is cancelled may end as a failed one, and we are asked to end only once.
                    raise asyncio.CancelledError from error
                log.warning("not listening to flights: %s", type(error).__name__)
                await asyncio.sleep(LISTEN_AGAIN_S)


def _claimed(verdict: str) -> Claimed:
    if verdict.startswith("see:"):
        return Claimed("see", verdict[4:])
    return Claimed("own") if verdict == "own" else Claimed("wait")
