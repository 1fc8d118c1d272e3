"""What a tenant's own limits come to: the rates of its calls, and whether its queue and its storage take more. Pure.

engine/steward.py and dispatcher.py go by `rates_of`, planning.py and the API by the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.core.lanes import Rates
from workers.core.messages import LineProblem
from workers.core.tenancy import TenantRules

QUEUED_ITEMS = "queued_items_limit"


def rates_of(rules: Mapping[str, TenantRules]) -> dict[str, Rates]:
    """The tenants whose calls are limited, and how."""
    found = {}
    for tenant, rule in rules.items():
        limits = rule.limits
        rates = Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.max_concurrency)
        if rates.limited:
            found[tenant] = rates
    return found


def beyond_queue(queued: int, wanted: int, most: int | None) -> LineProblem | None:
    """Why a batch of `wanted` items cannot be accepted beside `queued` unanswered ones; None if it can."""
    if most is None or queued + wanted <= most:
        return None
    text = (
        f"The batch has {wanted:,} requests, and {queued:,} of your other batches are not answered yet: together more "
        f"than the {most:,} you may have queued (max_queued_items of the tenant). "
    )
    text += (
        "Wait until some are answered, or cancel a batch, and create this one again."
        if wanted <= most
        else "Cut the file into smaller ones, or ask the operator of this server for a higher limit."
    )
    return LineProblem(QUEUED_ITEMS, text, None, None)


def queue_is_full(queued: int, most: int) -> str | None:
    """Why no batch may be made now; None if one may."""
    if queued < most:
        return None
    return (
        f"{queued:,} requests of your batches are not answered yet, and you may have {most:,} queued (max_queued_items "
        "of the tenant). Try again when some are answered, or cancel a batch."
    )


def beyond_storage(stored_bytes: int, file_bytes: int, most_bytes: int) -> str | None:
    """Why a file of so many bytes, or at least so many, cannot be kept beside the others; None if it can."""
    if stored_bytes + file_bytes <= most_bytes:
        return None
    return (
        f"The file does not fit: your input files take {stored_bytes:,} bytes and may take {most_bytes:,} in all "
        "(max_storage_bytes of the tenant). Delete files whose batches have ended, or ask the operator of this server "
        "for more."
    )
