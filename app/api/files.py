"""The Files API: create, list, retrieve, content, delete.

A file is an upload or the output or error file of a batch; the latter has no bytes of its own, it is a view
over the batch's results and can be seen once the batch has ended.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from app.api.auth import Submitter, Tenant
from app.api.errors import bad_request, no_such_file
from app.api.file_limits import limits_of
from app.api.json_reply import json_reply, page_reply
from app.api.packed import body_of
from app.api.services import Behind, Services
from app.api.shapes import File, FileDeleted, FileList
from app.api.spec import BYTES, gives, streams, takes_form
from app.api.streaming import streamed
from app.api.uploading import FORM, receive
from workers.core.states import is_terminal
from workers.core.wire import file_object

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/files", tags=["files"])


@router.post("", responses=gives(File, 409, 413, 415, 507), openapi_extra=takes_form(FORM))
async def create_file(request: Request, tenant: Submitter, behind: Behind) -> Response:
    """Store an upload; its bytes go straight into the database.

    A body packed with gzip (Content-Encoding), or a file named NAME.jsonl.gz, is stored unpacked.
    """
    behind.disk.refuse_if_full()
    limits = limits_of(behind.settings.api)
    limits.refuse_length(request.headers.get("content-length"))
    body = body_of(request, limits)
    content_type = request.headers.get("content-type", "")
    try:
        length = request.headers.get("content-length")
        doc = await receive(behind, tenant, body, content_type, content_length=length)
    except ClientDisconnect:
        raise bad_request("The connection closed before the file had arrived.") from None
    return json_reply(file_object(doc))


@router.get("", responses=gives(FileList))
async def list_files(
    tenant: Tenant,
    behind: Behind,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: str | None = None,
) -> Response:
    """One page of the tenant's files."""
    newest_first = order == "desc"
    try:
        docs = await behind.run(
            behind.files.page,
            tenant,
            after=after,
            limit=limit + 1,
            newest_first=newest_first,
            purpose=purpose,
        )
    except LookupError:
        raise bad_request(f"No such File object: {after}", param="after", code="invalid_value") from None
    return page_reply([file_object(doc) for doc in docs[:limit]], has_more=len(docs) > limit)


@router.get("/{file_id}", responses=gives(File, 404))
async def retrieve_file(file_id: str, tenant: Tenant, behind: Behind) -> Response:
    """What is known of a file."""
    return json_reply(file_object(await _visible(behind, file_id, tenant)))


@router.delete("/{file_id}", responses=gives(FileDeleted, 404))
async def delete_file(file_id: str, tenant: Submitter, behind: Behind) -> Response:
    """Hide a file; batches made from it go on."""
    if not await behind.run(behind.files.hide, file_id, tenant):
        raise no_such_file(file_id)
    return json_reply({"id": file_id, "object": "file", "deleted": True})


@router.get(
    "/{file_id}/content", name="download_file", responses=streams(BYTES, 404, words="The bytes of the file.")
)
async def file_content(file_id: str, tenant: Tenant, behind: Behind) -> Response:
    """The bytes, streamed."""
    doc = await _visible(behind, file_id, tenant)
    view = doc.get("view")
    if view is None:
        pieces = behind.files.blobs.stream(file_id, doc["bytes"])
        return await streamed(behind, pieces, filename=doc["filename"], size_bytes=doc["bytes"])
    return await result_lines(behind, view["batch_id"], view["which"], filename=doc["filename"])


async def result_lines(behind: Services, batch_id: str, which: str, *, filename: str) -> Response:
    """The lines of a batch's output or error file that are recorded, in input order."""
    lines = (line for _, line in behind.results.lines(batch_id, ok=which == "output"))
    return await streamed(behind, lines, filename=filename)


async def _visible(behind: Services, file_id: str, tenant: str) -> Doc:
    doc = await behind.run(behind.files.get, file_id, tenant)
    if doc is None:
        raise no_such_file(file_id)
    if doc.get("view"):
        batch = await behind.run(behind.batches.get, doc["view"]["batch_id"], tenant)
        # Its bytes may still grow before that, and a finished file's bytes never change.
        if batch is None or not is_terminal(batch["status"]):
            raise no_such_file(file_id)
    return doc
