"""What one running shard may spend under the ceilings of its batch and of its tenant's month.

    estimate -> hold (under every ceiling) -> call -> true cost -> hold again with it, or settle at the end

Decisions are core/budget.py's, sums are store/holds.py's. Estimates learn: what answers truly cost corrects the
estimates of the calls after them, so that requests without an output cap do not pass the ceiling chunk after chunk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from workers.core import budget
from workers.core.budget import Room
from workers.core.choose import Chosen
from workers.core.errors import InternalFault, TransportError, UnusableReply
from workers.core.estimate import expected_usage
from workers.core.price import Price
from workers.engine.ports import Link
from workers.engine.work import Answered, Failed, Held, Work
from workers.store.accounts import Accounts
from workers.store.holds import Holds
from workers.store.stores import Stores

# What each choice of a request may write that names no cap, until its neighbours' answers say better.
UNCAPPED_OUTPUT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Allowed:
    """How many of a chunk, from its first on, may be called now; `then` is for the rest, empty without one."""

    count: int
    then: Literal["", "wait", "pause"] = ""


@dataclass(slots=True)
class Ceiling:
    """One document under whose ceiling the shard holds money: its batch, or the account of its tenant's month.

    `told`: what it was told last, settled and in flight.
    """

    holds: Holds
    id: str
    told: tuple[float, float] | None = None


@dataclass(slots=True)
class Purse:
    """The money of one lease of one shard.

    Attributes:
        ceilings: the batch's first; money is held under all of them, or no call starts.
        ask: runs a blocking call of a store; None when the lease is lost meanwhile.
        settled_usd: true cost of all answers of this shard, those of earlier leases included.
        links: every provider, for the prices of those that items may go on to.
    """

    held: Held
    link: Link
    stores: Stores
    ceilings: Sequence[Ceiling]
    ask: Callable[[Callable[[], Any]], Awaitable[Any]]
    settled_usd: float
    links: Mapping[str, Link]
    _under_way: dict[Work, float] = field(default_factory=dict)
    _estimated_usd: float = 0.0
    _paid_usd: float = 0.0

    @property
    def in_flight_usd(self) -> float:
        """Estimates of the calls under way."""
        return sum(self._under_way.values())

    async def allow(self, works: Sequence[Work]) -> Allowed:
        """Hold the money for as many of these calls as every ceiling has room for."""
        estimates = [self.estimate_usd(work) for work in works]
        asked_with_usd, count = self.in_flight_usd, len(works)
        # A ceiling that has less room than those before it leaves them with too much; they are asked again for less.
        for _ in range(1 + len(self.ceilings)):
            refusal = await self._hold(sum(estimates[:count]))
            if refusal is None:
                self._under_way.update(zip(works[:count], estimates, strict=False))
                return Allowed(count, "" if count == len(works) else "wait")
            ceiling, room = refusal
            if room is None:
                return Allowed(0, "wait")  # the lease is lost, and the run hears of it
            count = min(count, budget.fits(estimates, room.free_usd - self.in_flight_usd))
            if not count:
                return Allowed(0, await self._after(ceiling, room, asked_with_usd))
        await self.settle()
        return Allowed(0, "wait")  # others were faster each time

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
        for ceiling in self.ceilings:
            if now != ceiling.told:
                ceiling.told = now
                settle = partial(ceiling.holds.settle, ceiling.id, self.held.shard_id, self.held.fence)
                await self.ask(partial(settle, settled_usd=now[0], in_flight_usd=now[1]))

    async def close(self) -> None:
        """The shard has ended: it has nothing left to spend."""
        settled_usd, lost_usd = self.settled_usd, self.in_flight_usd
        for ceiling in self.ceilings:
            close = partial(ceiling.holds.close, ceiling.id, self.held.shard_id, self.held.fence)
            await self.ask(partial(close, settled_usd=settled_usd, lost_usd=lost_usd))

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

    async def _hold(self, more_usd: float) -> tuple[Ceiling, Room | None] | None:
        """None once the money is held under every ceiling, else the one that refused it; no room: nobody answered."""
        now = (self.settled_usd, self.in_flight_usd + more_usd)
        for ceiling in self.ceilings:
            hold = partial(ceiling.holds.hold, ceiling.id, self.held.shard_id, self.held.fence)
            room: Room | None = await self.ask(partial(hold, settled_usd=now[0], in_flight_usd=now[1]))
            if room is None or not room.granted:
                return ceiling, room
            ceiling.told = now
        return None

    async def _after(self, ceiling: Ceiling, room: Room, asked_with_usd: float) -> Literal["wait", "pause"]:
        await self.settle()
        # By what was under way when the room was refused: calls that have ended since have made some.
        step = budget.after_refusal(room, asked_with_usd)
        if step == "wait":
            return "wait"
        batch_id = self.held.batch_id
        if not await self.ask(partial(self._rest, ceiling, room.limit_usd)):
            return "wait"  # somebody has raised the ceiling, or paused the batch already
        await self.ask(lambda: self.stores.shards.hold_back(batch_id))
        return "pause"

    def _rest(self, ceiling: Ceiling, limit_usd: float) -> bool:
        batch_id, budgets = self.held.batch_id, self.stores.budgets
        if not isinstance(ceiling.holds, Accounts):
            return budgets.pause_for_budget(batch_id, limit_usd=limit_usd)
        ceiling.holds.reached(ceiling.id, limit_usd=limit_usd)
        return budgets.pause_for_tenant(batch_id, ceiling.id, limit_usd=limit_usd)


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
