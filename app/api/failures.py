"""`GET /v1/batches/{id}/errors`: why items failed, by kind, and what helps."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.api.auth import Tenant
from app.api.batches import batch_of
from app.api.json_reply import json_reply
from app.api.merging import lineage_of
from app.api.services import Behind
from app.api.shapes_work import FailureList
from app.api.spec import gives
from workers.core.hints import hint_of
from workers.store.result_looks import FailureKind

router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["results"])


@router.get("/errors", name="list_failures", responses=gives(FailureList, 404, 409))
async def batch_errors(batch_id: str, tenant: Tenant, behind: Behind, merge: bool = False) -> Response:
    """The kinds of failures that are recorded so far, the most frequent first, each with what its first one says.

    With `merge` those of the batch and its retries that no retry has made good.
    """
    doc = await batch_of(behind, batch_id, tenant)
    lineage = await lineage_of(behind, doc) if merge else [doc]
    failed, kinds = await behind.run(behind.looks.failures, [each["_id"] for each in lineage])
    data = [_shown(kind) for kind in kinds]
    return json_reply(
        {"object": "list", "batch_id": batch_id, "status": doc["status"], "failed": failed, "data": data}
    )


def _shown(kind: FailureKind) -> dict[str, Any]:
    hint = hint_of(kind.code, kind.status)
    return {
        "code": kind.code,
        "status_code": kind.status,
        "count": kind.count,
        "message": kind.message,
        "provider_code": kind.provider_code,
        "retryable": hint.retryable,
        "hint": hint.text,
        "samples": [{"line": line, "custom_id": name} for line, name in kind.samples.items()],
    }
