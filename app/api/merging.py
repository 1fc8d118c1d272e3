"""The recorded lines of a batch, or of a batch and its retries as one: each line once, in input order."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from app.api.auth import Tenant
from app.api.batches import batch_of
from app.api.errors import conflict
from app.api.files import result_lines
from app.api.services import Behind, Services
from app.api.spec import BYTES, streams
from app.api.streaming import streamed
from workers.core.retrying import root_of
from workers.core.states import is_terminal

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["results"])


@router.get("/output", name="download_results", responses=streams(BYTES, 404, 409, words="Lines of JSON."))
async def batch_output(
    batch_id: str,
    tenant: Tenant,
    behind: Behind,
    partial: bool = False,
    which: Annotated[Literal["output", "error"], Query()] = "output",
    merge: bool = False,
    order: Annotated[Literal["input", "completion"], Query()] = "input",  # noqa: ARG001  it always is
) -> Response:
    """The recorded lines of either file, in input order whatever `order` says.

    Before the batch has ended only on demand (`partial`), for they will be more. With `merge` a batch and its retries,
    whichever of them is named, are one: of each line the first success, or else, in the error file, the latest failure.
    """
    doc = await batch_of(behind, batch_id, tenant)
    lineage = await lineage_of(behind, doc) if merge else [doc]
    open_ = next((each for each in lineage if not is_terminal(each["status"])), None)
    if open_ is not None and not partial:
        what = "The batch" if open_["_id"] == batch_id else f"{open_['_id']}, of the same line,"
        raise conflict(
            f"{what} is {open_['status']}; ask with partial=true for what is recorded so far.",
            param="partial",
            code="batch_not_finished",
        )
    if not merge:
        return await result_lines(behind, batch_id, which, filename=f"{batch_id}_{which}.jsonl")
    lines = behind.looks.lines([each["_id"] for each in lineage], ok=which == "output")
    return await streamed(behind, lines, filename=f"{lineage[0]['_id']}_merged_{which}.jsonl")


async def lineage_of(behind: Services, doc: Doc) -> list[Doc]:
    """The batch, what it retries, and what retries it, by generation. Raises ApiError 409 if its beginning is gone."""
    root_id = root_of(doc)
    found = await behind.run(behind.batches.lineage, root_id)
    if not found or found[0]["_id"] != root_id:
        text = f"{root_id}, the first batch of this line, is over its retention: its results are gone."
        raise conflict(text, param="merge", code="lineage_incomplete")
    return found
