"""What each request of a batch took and what it waits for: a page by filter and cursor, or one with its lines."""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Response

from app.api.auth import Tenant
from app.api.batches import batch_of
from app.api.errors import ApiError, bad_request
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes_work import Item, ItemList
from app.api.spec import gives
from workers.core.errors import MissingBytes
from workers.core.wire import item_object, output_line, pending_object
from workers.store.pending import PendingItem, Place
from workers.store.result_looks import ItemFilter

Doc = dict[str, Any]
router = APIRouter(prefix="/v1/batches/{batch_id}/items", tags=["results"])
_RECORDED = re.compile(r"r:([0-9]{1,9})")
# The id of a shard grows with each provider it is handed to, and each time it is split (core/handover.py).
_PENDING = re.compile(r"p:([\w.:-]{0,700}):([0-9]{1,10})", re.ASCII)
MAX_CURSOR = 1_000
_Line = Annotated[int, Path(ge=1, le=999_999_999)]


@router.get("", name="list_items", responses=gives(ItemList, 404))
async def items(  # noqa: PLR0913, PLR0917  a query parameter each
    batch_id: str,
    tenant: Tenant,
    behind: Behind,
    status: Annotated[Literal["completed", "failed", "never_ran", "pending"] | None, Query()] = None,
    code: Annotated[str | None, Query(min_length=1, max_length=128)] = None,
    custom_id: Annotated[str | None, Query(min_length=1, max_length=512)] = None,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR)] = None,
    after: Annotated[int, Query(ge=0, le=999_999_999)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """What requests took, by line: calls, failed tries, waits, tokens, cost, and where the answer came from.

    Without a status those that are recorded; `pending` gives the others and what they wait for. A page goes on with its
    `next_cursor`, or after a line.
    """
    await batch_of(behind, batch_id, tenant)
    if status == "pending":
        if code or custom_id or after:
            text = "Items that are pending have no result: neither code, custom_id nor after narrows them."
            raise bad_request(text, param="status", code="invalid_value")
        return await _pending(behind, batch_id, cursor, limit)
    only = ItemFilter(status, code, custom_id)
    after_line = after if cursor is None else _line_in(cursor)
    look = partial(behind.looks.page, batch_id, after_line=after_line, limit=limit + 1, only=only)
    try:
        found = await behind.run(look)
    except TimeoutError:
        # No 503: whoever sends the same again has the database pass the same items again.
        text = (
            "Too many items had to be passed to find these; begin nearer to them (after), or ask for a line."
        )
        raise bad_request(text, param="after", code="search_too_long") from None
    providers = await behind.run(behind.shards.providers_of, [shard_id for _, shard_id in found])
    shown = [item_object(result, providers.get(shard_id)) for result, shard_id in found[:limit]]
    more = len(found) > limit
    return _page(shown, f"r:{shown[-1]['line']}" if more else None)


@router.get("/{line}", name="retrieve_item", responses=gives(Item, 404))
async def item(batch_id: str, line: _Line, tenant: Tenant, behind: Behind) -> Response:
    """One request by its line in the input file: what it took, the line itself, and its line of the result files."""
    batch = await batch_of(behind, batch_id, tenant)
    shown = await behind.run(_whole, behind, batch, line)
    if shown is None:
        raise ApiError(404, f"No item of '{batch_id}' stands on line {line}.", param="line")
    return json_reply(shown)


async def _pending(behind: Services, batch_id: str, cursor: str | None, limit: int) -> Response:
    after = Place() if cursor is None else _place_in(cursor, batch_id)
    found, place = await behind.run(behind.pending.page, batch_id, after=after, limit=limit)
    return _page([_waiting(each) for each in found], beyond_of(place, batch_id))


def beyond_of(place: Place | None, batch_id: str) -> str | None:
    """What a cursor says of where pending items go on; None at their end."""
    return None if place is None else f"p:{place.shard_id.removeprefix(batch_id)}:{place.line}"


def _waiting(one: PendingItem) -> Doc:
    return pending_object(
        line=one.line,
        state=one.state,
        reason=one.reason,
        until=one.until,
        provider=one.provider,
        history=one.history,
    )


def _page(shown: list[Doc], beyond: str | None) -> Response:
    next_cursor = None if beyond is None else base64.urlsafe_b64encode(beyond.encode()).decode()
    more = next_cursor is not None
    return json_reply({"object": "list", "data": shown, "has_more": more, "next_cursor": next_cursor})


def _whole(behind: Services, batch: Doc, line: int) -> Doc | None:
    batch_id = batch["_id"]
    recorded = behind.looks.one(batch_id, line)
    waits = None if recorded else behind.pending.find(batch_id, line)
    if recorded is None and waits is None:
        recorded = behind.looks.one(batch_id, line)  # it may have been recorded between the two looks
    if recorded is not None:
        result, shard_id = recorded
        provider = behind.shards.providers_of([shard_id]).get(shard_id)
        shown = item_object(result, provider)
        shown["result"] = orjson.Fragment(output_line(batch_id, result).rstrip(b"\n"))
    elif waits is not None:
        shard_id = waits.shard_id
        shown = {**_waiting(waits), "result": None}
    else:
        return None
    return shown | {"request": _request(behind, batch, shard_id, line)}


def _request(behind: Services, batch: Doc, shard_id: str, line: int) -> Any:
    """The input line as JSON, or as text where it is none; None if it was never planned or its file is gone."""
    place = behind.pending.item(shard_id, line)
    file = behind.files.for_batch(batch["input_file_id"], batch["tenant"]) if place else None
    if place is None or file is None:
        return None
    try:
        raw = b"".join(behind.files.blobs.ranges(file["_id"], [(place.offset, place.length)]))
    except MissingBytes:
        # They went between the two looks, or are lost; what is recorded is there all the same.
        return None
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")
    return orjson.Fragment(raw)


def _line_in(cursor: str) -> int:
    match = _RECORDED.fullmatch(_decoded(cursor))
    if match is None:
        raise _no_cursor(cursor)
    return int(match[1])


def _place_in(cursor: str, batch_id: str) -> Place:
    match = _PENDING.fullmatch(_decoded(cursor))
    if match is None:
        raise _no_cursor(cursor)
    return Place(batch_id + match[1], int(match[2]))


def _decoded(cursor: str) -> str:
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _no_cursor(cursor) from None


def _no_cursor(cursor: str) -> ApiError:
    text = f"'{cursor[:64]}' is no cursor of this list; take next_cursor of its last page."
    return bad_request(text, param="cursor", code="invalid_value")
