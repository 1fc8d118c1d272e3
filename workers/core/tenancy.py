"""What a tenant may have: its share, its limits, its monthly ceiling, how long its work is kept. Pure.

store/tenants.py keeps it in the tenant's document and gives it back as `TenantRules`; app/api (admission, budgets) and
the dispatcher read it. A document of an earlier version has no rules, which means no limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A tenant's name goes into URLs, Redis keys and log lines.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
DEFAULT_WEIGHT = 1.0
LIMIT_NAMES = (
    "requests_per_minute",
    "tokens_per_minute",
    "max_concurrency",
    "max_queued_items",
    "max_storage_bytes",
)


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What one tenant may use at most; None: no limit of its own.

    Attributes:
        max_concurrency: calls to providers at once.
        max_queued_items: items of its batches that have not ended.
        max_storage_bytes: bytes of its files.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    max_queued_items: int | None = None
    max_storage_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TenantRules:
    """What is settled for one tenant.

    Attributes:
        weight: its share of a contended provider, compared with the others' weights.
        max_cost_usd_per_month: what its calls may cost in one calendar month (UTC); None: no ceiling.
        retention_days: how long its batches are kept after their end; None: as long as the installation says.
    """

    weight: float = DEFAULT_WEIGHT
    limits: TenantLimits = field(default_factory=TenantLimits)
    max_cost_usd_per_month: float | None = None
    retention_days: float | None = None


def is_tenant_name(name: str) -> bool:
    """Whether a tenant may be called so: 1 to 64 of a-z, 0-9, `-` and `_`, ends being letters or digits."""
    return _NAME.fullmatch(name) is not None


def rules_in(doc: Mapping[str, Any]) -> TenantRules:
    """The rules in a tenant's document; what it does not say is not limited."""
    limits = doc.get("limits") or {}
    return TenantRules(
        weight=float(doc.get("weight", DEFAULT_WEIGHT)),
        limits=TenantLimits(**{name: limits.get(name) for name in LIMIT_NAMES}),
        max_cost_usd_per_month=doc.get("max_cost_usd_per_month"),
        retention_days=doc.get("retention_days"),
    )
