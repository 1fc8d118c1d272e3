"""What one running shard may spend of its batch's money ceiling.

    estimate -> hold (in the batch document) -> call -> true cost -> hold again with it, or settle at the end

Decisions are core/budget.py's, sums are store/budgets.py's. Estimates learn: what answers truly cost corrects the
estimates of the calls after them, so that requests without an output cap do not pass the ceiling chunk after chunk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workers.core import budget
from workers.core.budget import Room
from workers.core.choose import Chosen
from workers.core.errors import InternalFault, TransportError, UnusableReply
from workers.core.estimate import expected_usage
from workers.core.price import Price
from workers.engine.ports import Link
from workers.engine.work import Answered, Failed, Held, Work
from workers.store.stores import Stores

# What each choice of a request may write that names no cap, until its neighbours' answers say better.
UNCAPPED_OUTPUT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Allowed:
    """How many of a chunk, from its first on, may be called now; `then` is for the rest, empty without one."""

    count: int
    then: Literal["", "wait", "pause"] = ""


@dataclass(slots=True)
class Purse:
    """The money of one lease of one shard.

    Attributes:
        ask: runs a blocking call of a store; None when the lease is lost meanwhile.
        settled_usd: true cost of all answers of this shard, those of earlier leases included.
        links: every provider, for the prices of those that items may go on to.
    """

    held: Held
    link: Link
    stores: Stores
    ask: Callable[[Callable[[], Any]], Awaitable[Any]]
    settled_usd: float
    links: Mapping[str, Link]
    _under_way: dict[Work, float] = field(default_factory=dict)
    _estimated_usd: float = 0.0
    _paid_usd: float = 0.0
    _told: tuple[float, float] | None = None

    @property
    def in_flight_usd(self) -> float:
        """Estimates of the calls under way."""
        return sum(self._under_way.values())

    async def allow(self, works: Sequence[Work]) -> Allowed:
        """Hold the money for as many of these calls as the ceiling has room for."""
        estimates = [self.estimate_usd(work) for work in works]
        asked_with_usd = self.in_flight_usd
        room = await self._hold(sum(estimates))
        count = len(works)
        if room is not None and not room.granted:
            count = budget.fits(estimates, room.free_usd - self.in_flight_usd)
            if count:
                room = await self._hold(sum(estimates[:count]))
        if room is None:
            return Allowed(0, "wait")  # the lease is lost, and the run hears of it
        if not room.granted:
            return Allowed(0, await self._after(room, asked_with_usd))
        self._under_way.update(zip(works[:count], estimates, strict=False))
        return Allowed(count, "" if count == len(works) else "wait")

    def drop(self, works: Sequence[Work]) -> None:
        """These are not called after all; the next hold gives their money back."""
        for work in works:
            self._under_way.pop(work, None)

    def take(self, work: Work, outcome: Answered | Failed | None) -> None:
        """A call has ended: its true cost takes the place of its estimate."""
        estimate_usd = self._under_way.pop(work, None)
        if estimate_usd is None or outcome is None:
            return
        if isinstance(outcome, Answered):
            cost_usd = estimate_usd if outcome.cost_usd is None else outcome.cost_usd
            self._estimated_usd += estimate_usd
            self._paid_usd += cost_usd
        else:
            cost_usd = _cost_of_failure(work, outcome, estimate_usd, self.link)
        self.settled_usd += cost_usd

    async def settle(self) -> None:
        """Say what is truly spent and still under way, unless that is known: what came free others may have.

        What was cut off stays in flight: the next lease counts it as lost.
        """
        now = (self.settled_usd, self.in_flight_usd)
        if now == self._told:
            return
        self._told = now
        names, budgets = self._names, self.stores.budgets
        await self.ask(lambda: budgets.settle(*names, settled_usd=now[0], in_flight_usd=now[1]))

    async def close(self) -> None:
        """The shard has ended: it has nothing left to spend."""
        names, budgets = self._names, self.stores.budgets
        settled_usd, lost_usd = self.settled_usd, self.in_flight_usd
        await self.ask(lambda: budgets.close(*names, settled_usd=settled_usd, lost_usd=lost_usd))

    @property
    def _names(self) -> tuple[str, str, int]:
        return self.held.batch_id, self.held.shard_id, self.held.fence

    def estimate_usd(self, work: Work) -> float:
        """What a call may cost: never less than its neighbours' answers say."""
        call = work.again or work.call
        tier = {**call.body, **call.provider_options}.get("service_tier")
        price = self._price(call.model)
        if price is None:  # refused at the plan; settings that changed since must not spend without a bound
            return float("inf")
        usage = expected_usage(call, work.item.length, uncapped=UNCAPPED_OUTPUT_TOKENS)
        cost_usd = price.of(usage)
        # A tier that is asked for need not be given: the dearer one counts.
        if isinstance(tier, str) and (faster := self._price(call.model, tier)):
            cost_usd = max(cost_usd, faster.of(usage))
        return cost_usd * max(1.0, self._paid_usd / self._estimated_usd if self._estimated_usd else 1.0)

    def may_buy(self, other: Chosen) -> bool:
        """Whether another provider's model has a price: what has none is never called under a ceiling."""
        link = self.links.get(other.provider)
        return link is not None and (
            link.prices.per_token(link.kind, other.model, provider=link.name) is not None
        )

    def _price(self, model: str, tier: str = "") -> Price | None:
        return self.link.prices.per_token(self.link.kind, model, tier, provider=self.link.name)

    async def _hold(self, more_usd: float) -> Room | None:
        settled_usd, in_flight_usd = self.settled_usd, self.in_flight_usd + more_usd
        names, budgets = self._names, self.stores.budgets
        room: Room | None = await self.ask(
            lambda: budgets.hold(*names, settled_usd=settled_usd, in_flight_usd=in_flight_usd)
        )
        if room is not None and room.granted:
            self._told = (settled_usd, in_flight_usd)
        return room

    async def _after(self, room: Room, asked_with_usd: float) -> Literal["wait", "pause"]:
        await self.settle()
        # By what was under way when the room was refused: calls that have ended since have made some.
        step = budget.after_refusal(room, asked_with_usd)
        if step == "wait":
            return "wait"
        batch_id = self.held.batch_id
        paused = await self.ask(
            lambda: self.stores.budgets.pause_for_budget(batch_id, limit_usd=room.limit_usd)
        )
        if not paused:
            return "wait"  # somebody has raised the ceiling, or paused the batch already
        await self.ask(lambda: self.stores.shards.hold_back(batch_id))
        return "pause"


def _cost_of_failure(work: Work, outcome: Failed, estimate_usd: float, link: Link) -> float:
    """What a failed call cost: what the provider says it charged; all of it where nobody knows the outcome."""
    error = outcome.error
    if isinstance(error, TransportError):
        return estimate_usd if error.bytes_sent else 0.0
    if error.usage is None:
        # A success status around nonsense is charged like any other.
        return estimate_usd if isinstance(error, UnusableReply | InternalFault) else 0.0
    cost_usd = link.cost_usd(work.call.model, error.usage)
    return estimate_usd if cost_usd is None else cost_usd
