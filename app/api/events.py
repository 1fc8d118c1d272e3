"""`GET /v1/batches/{id}/events`: what happens to a batch, as server-sent events (HTML standard, 9.2).

First what the watcher has not seen, by Last-Event-ID, then the progress, then whatever comes, until the batch has
ended. Who asks again after that gets 204, by which an EventSource ends for good. event_hub.py has the news, and
workers/core/events.py says what an event is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.api.auth import Tenant, key_in
from app.api.batches import batch_of
from app.api.counts import Counts
from app.api.errors import bad_request
from app.api.event_hub import EventHub, key_check
from app.api.event_topic import STALL_S, Topic, Watcher, taken
from app.api.services import Behind
from app.api.spec import EVENTS, streams
from workers.core import events

_NOTHING_MORE: dict[int | str, dict[str, Any]] = {
    204: {"description": "The end has been seen; nothing will come any more."}
}
_NUMBER: dict[str, Any] = {"pattern": "^[0-9]{0,9}$"}
# Proxies (nginx by the last one) would otherwise keep events back until there are more.
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
# Whoever loses the connection comes back after a second, rather than after what the browser thinks fit.
_FIRST = b"retry: 1000\n\n"
_AWAKE = b": awake\n\n"
router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["events"])
log = logging.getLogger("batchwright.api")


@router.get(
    "/events",
    name="watch_batch",
    responses=streams(EVENTS, 404, 429, words="Server-sent events.") | _NOTHING_MORE,
)
async def batch_events(
    batch_id: str,
    request: Request,
    tenant: Tenant,
    behind: Behind,
    last_event_id: Annotated[str | None, Query(json_schema_extra=_NUMBER)] = None,
    header: Annotated[str | None, Header(alias="last-event-id", json_schema_extra=_NUMBER)] = None,
    follow: bool = True,
) -> Response:
    """The log of a batch from the entry after Last-Event-ID on; with `follow` what comes, too, until it has ended.

    204 when nothing will come any more. `last_event_id` stands in for the header where that cannot be set.
    """
    doc = await batch_of(behind, batch_id, tenant)
    try:
        # Both are looked at: one that is wrong beside one that is right is still a mistake of the caller.
        by_header, by_query = (events.seen_from(each, doc) for each in (header, last_event_id))
    except ValueError as error:
        raise bad_request(f"Invalid Last-Event-ID: {error}.", param="last_event_id") from None
    seen = by_header if header else by_query
    if events.is_over(doc, seen):
        return Response(status_code=204)
    if not follow:
        counts: Counts = request.app.state.counts
        topic = Topic(batch_id)
        topic.saw(doc, await counts.shown(doc), time.monotonic(), time.time())
        told = [*topic.after(seen), *([topic.progress] if topic.progress else [])]
        return Response(b"".join(map(events.sse, told)), headers=_HEADERS, media_type=EVENTS)
    hub: EventHub = request.app.state.hub
    key = key_in(request.headers.get("authorization"), request.headers.get("x-api-key"))
    watcher = hub.join(tenant, key_check(request.app.state.keys, key, tenant))
    hub.follow(watcher, batch_id, seen)
    return EventStream(hub, watcher)


class EventStream(StreamingResponse):
    """What a watcher is sent, as long as its reader takes it; gives the watcher back at the end."""

    def __init__(self, hub: EventHub, watcher: Watcher) -> None:
        super().__init__(_frames(watcher), headers=_HEADERS, media_type=EVENTS)
        self._hub, self._watcher = hub, watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALL_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            log.info("an event stream of %s is closed: nobody reads it", self._watcher.tenant)
        finally:
            self._hub.leave(self._watcher)


async def _frames(watcher: Watcher) -> AsyncIterator[bytes]:
    yield _FIRST
    async for event in taken(watcher, until_over=True):
        yield events.sse(event) if event is not None else _AWAKE
