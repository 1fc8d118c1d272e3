"""What this process knows of tenants' calls at one provider: how many are under way, and what is not told of them yet.

limiting.py counts every call here, and tells store/limiter.py of those tenants that have limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.core.lanes import OwnerSeen, Rates


@dataclass(slots=True)
class TenantCalls:
    """By tenant. Calls are counted for all of them: whose limits are set later must not begin at a wrong number."""

    under_way: Counter[str] = field(default_factory=Counter)
    _untold: dict[str, OwnerSeen] = field(default_factory=dict)
    _unmade_since: dict[str, float] = field(default_factory=dict)

    @property
    def waits_to_be_told(self) -> bool:
        """Whether somebody may wait for what has come free."""
        return bool(self._untold)

    def ended(self, tenant: str, rates: Rates | None) -> None:
        """A call under way is over; `rates`: the tenant's limits, if it has any."""
        left = self.under_way[tenant] - 1
        if left > 0:
            self.under_way[tenant] = left
        else:
            del self.under_way[tenant]
        if rates is not None:
            self._of(tenant, rates)

    def settle(self, tenant: str, rates: Rates, reserved_tokens: int, used_tokens: int) -> None:
        """A call had reserved so many tokens and used so many; neither counts for more than a minute's."""
        one, most = self._of(tenant, rates), rates.tokens_per_minute
        one.reserved_tokens += min(reserved_tokens, most or reserved_tokens)
        one.used_tokens += min(used_tokens, most or used_tokens)

    def not_made(self, tenant: str, rates: Rates, granted_at: float) -> None:
        """A call that was granted then (monotonic seconds) is not made."""
        self._of(tenant, rates).unmade += 1
        self._unmade_since[tenant] = min(granted_at, self._unmade_since.get(tenant, granted_at))

    def told(self, limits: Mapping[str, Rates], now: float) -> dict[str, OwnerSeen]:
        """What is to be told now of tenants with limits, and is not untold any more; `now`: monotonic seconds."""
        seen = {tenant: one for tenant, one in self._untold.items() if tenant in limits}
        for tenant, one in seen.items():
            one.unmade_age_s = max(0.0, now - self._unmade_since.get(tenant, now))
        for tenant in self.under_way.keys() & limits.keys() if limits else ():
            seen.setdefault(tenant, OwnerSeen(limits[tenant]))
        for tenant, one in seen.items():
            one.rates, one.in_flight = limits[tenant], self.under_way.get(tenant, 0)
        self._untold, self._unmade_since = {}, {}
        return seen

    def _of(self, tenant: str, rates: Rates) -> OwnerSeen:
        one = self._untold.get(tenant)
        if one is None:
            one = self._untold[tenant] = OwnerSeen(rates)
        return one
