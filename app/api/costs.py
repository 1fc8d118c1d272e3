"""What a tenant's batches have cost: GET /v1/costs."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.auth import Tenant
from app.api.json_reply import json_reply
from app.api.services import Behind
from workers.core.tally import add_costs

DAY_S = 86_400
router = APIRouter(prefix="/v1/costs")


@router.get("")
async def costs(tenant: Tenant, behind: Behind, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Response:
    """Calls, tokens and money by UTC day and provider, and in all. A sum that holds an unknown price is null."""
    since_s = time.time() // DAY_S * DAY_S - (days - 1) * DAY_S
    rows = await behind.run(behind.batches.costs, tenant, since_s)
    shown: list[dict[str, Any]] = [row | {"cost_usd": add_costs([row])} for row in rows]
    for row in shown:
        del row["unpriced"]
    return json_reply(
        {"object": "costs", "since": int(since_s), "days": days, "cost_usd": add_costs(rows), "data": shown}
    )
