"""What a tenant's batches have cost and saved: GET /v1/costs and GET /v1/batches/{id}/costs.

Batches that have ended stand in the ledger, one row each; a running one is summed here (running_costs.py, counts.py).
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.auth import Tenant
from app.api.batches import batch_of
from app.api.counts import Counts
from app.api.json_reply import json_reply
from app.api.running_costs import RunningCosts
from app.api.services import Behind, Services
from app.api.shapes_work import BatchCosts, Costs
from app.api.spec import gives
from workers.core import savings
from workers.core.savings import By, Row
from workers.core.states import is_terminal
from workers.core.tally import tally_from

Doc = dict[str, Any]
DAY_S = 86_400
# Of so many running batches, the newest, sums are made anew; of others the last ones that somebody asked for.
_SUMMED_ANEW = 50
router = APIRouter(tags=["costs"])


@router.get("/v1/costs", name="sum_costs", responses=gives(Costs))
async def costs(
    request: Request,
    tenant: Tenant,
    behind: Behind,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
    by: By = "day",
) -> Response:
    """Calls, tokens, money and savings of batches made in the last days (UTC), by day, provider or model, and in all.

    Batches whose retention is over count as well. A sum that holds an unknown price is null.
    """
    now_s = time.time()
    since_s = now_s // DAY_S * DAY_S - (days - 1) * DAY_S
    rows, running = await behind.run(behind.ledger.look, tenant, since_s)
    found = [{"day": row["created_day"], **row} for row in rows] + await _of_running(request, running)
    total = savings.totals(found)
    shown = savings.summed(found, by)
    reply = {"object": "costs", "since": int(since_s), "days": days, "by": by}
    reply |= {"cost_usd": total["cost_usd"], "saved_usd": total["saved_usd"], "data": shown}
    return json_reply(reply)


@router.get("/v1/batches/{batch_id}/costs", name="sum_costs_of_batch", responses=gives(BatchCosts, 404))
async def batch_costs(batch_id: str, request: Request, tenant: Tenant, behind: Behind) -> Response:
    """What one batch has cost and saved until now, by provider and model.

    While it runs it is summed from its results at most every five seconds, and `final` is false.
    """
    doc = await batch_of(behind, batch_id, tenant)
    shares, at_s = await _shares(request, behind, doc)
    data = [savings.shown(share) for share in shares]
    head = {"object": "batch.costs", "id": batch_id, "status": doc["status"]}
    head |= {"final": is_terminal(doc["status"]), "at": int(at_s)}
    return json_reply(head | savings.totals(shares) | {"data": data})


async def _shares(request: Request, behind: Services, doc: Doc) -> tuple[list[Row], float]:
    if is_terminal(doc["status"]):
        booked = await behind.run(behind.ledger.get, doc["_id"])
        if booked is not None:
            return booked["shares"], booked["ended_at"]
    running: RunningCosts = request.app.state.running_costs
    return await running.of(doc["_id"], ended=is_terminal(doc["status"]))


async def _of_running(request: Request, docs: list[Doc]) -> list[Row]:
    """The rows of batches that the ledger does not have yet, from the sums of their shards: by provider alone."""
    counts: Counts = request.app.state.counts
    fresh = await asyncio.gather(*(counts.of(doc) for doc in docs[:_SUMMED_ANEW]))
    found = [*fresh, *(doc.get("counts") or {} for doc in docs[_SUMMED_ANEW:])]
    return [
        {"day": _day(doc["created_at"]), "provider": provider, "model": doc.get("model") or ""}
        | {"batches": 1, "first": 1}
        | savings.share_of(tally_from(share))
        for doc, sums in zip(docs, found, strict=True)
        for provider, share in (sums.get("by_provider") or {}).items()
    ]


def _day(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d")
