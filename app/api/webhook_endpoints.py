"""The same endpoints as in webhooks.py, as the official SDKs call them: `client.webhooks.create(...)` and the rest.

Their paths, names and types are those of the openai SDK for Python from 3.52 on (resources/webhooks). One store lies
behind both; what the SDKs have no word for, such as disabling, is done by webhooks.py.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.auth import Admin
from app.api.door import check, read_body
from app.api.errors import bad_request, conflict
from app.api.json_reply import json_reply, page_reply, secret_reply
from app.api.services import Behind
from app.api.shapes_webhooks import (
    EndpointDeleted,
    EndpointList,
    EndpointTested,
    EndpointWithSecret,
    EventTypeList,
    WebhookEndpoint,
)
from app.api.spec import gives, takes
from app.api.webhook_forms import (
    CreateEndpoint,
    RotateEndpointSecret,
    TestEndpoint,
    UpdateEndpoint,
    sdk_endpoint_shown,
)
from app.api.webhooks import check_url, endpoint_of, tested, there, too_many
from workers.core.webhooks import EVENT_TYPES
from workers.store.webhooks import new_secret

router = APIRouter(prefix="/v1", tags=["webhooks"])
_GRACE_S = 86_400.0
_AT = "/webhook_endpoints"


@router.post(_AT, responses=gives(EndpointWithSecret, 409, 413, 415), openapi_extra=takes(CreateEndpoint))
async def create_webhook_endpoint(request: Request, tenant: Admin, behind: Behind) -> Response:
    """Make an endpoint. Its signing secret is in this answer and in no other."""
    wanted = check(CreateEndpoint, await read_body(request))
    await check_url(behind, wanted.url, "url")
    doc = await behind.run(
        behind.notices.webhooks.create,
        tenant,
        wanted.url,
        wanted.event_types,
        new_secret(),
        enabled=True,
        now_s=time.time(),
        name=wanted.name,
    )
    if doc is None:
        raise too_many()
    return secret_reply(sdk_endpoint_shown(doc, with_secret=True))


@router.get(_AT, responses=gives(EndpointList))
async def list_webhook_endpoints(
    tenant: Admin,
    behind: Behind,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """One page of the tenant's endpoints, newest first."""
    store = behind.notices.webhooks
    if after is not None and await behind.run(store.get, after, tenant) is None:
        raise bad_request(f"No webhook found with id '{after}'.", param="after", code="invalid_value")
    docs = [
        doc for doc in reversed(await behind.run(store.page, tenant)) if after is None or doc["_id"] < after
    ]
    return page_reply([sdk_endpoint_shown(doc) for doc in docs[:limit]], has_more=len(docs) > limit)


@router.get(_AT + "/{webhook_endpoint_id}", responses=gives(WebhookEndpoint, 404))
async def retrieve_webhook_endpoint(webhook_endpoint_id: str, tenant: Admin, behind: Behind) -> Response:
    """One endpoint, without its secret."""
    return json_reply(sdk_endpoint_shown(await endpoint_of(behind, webhook_endpoint_id, tenant)))


@router.post(
    _AT + "/{webhook_endpoint_id}",
    responses=gives(WebhookEndpoint, 404, 413, 415),
    openapi_extra=takes(UpdateEndpoint),
)
async def update_webhook_endpoint(
    webhook_endpoint_id: str, request: Request, tenant: Admin, behind: Behind
) -> Response:
    """Change its URL, its name or its events; what waits goes to the new URL."""
    wanted = check(UpdateEndpoint, await read_body(request))
    await endpoint_of(behind, webhook_endpoint_id, tenant)
    if wanted.url is not None:
        await check_url(behind, wanted.url, "url")
    new = wanted.model_dump(exclude_none=True)
    if "event_types" in new:
        new["events"] = new.pop("event_types")
    doc = await behind.run(behind.notices.webhooks.change, webhook_endpoint_id, tenant, new)
    return json_reply(sdk_endpoint_shown(there(doc, "webhook", webhook_endpoint_id)))


@router.delete(_AT + "/{webhook_endpoint_id}", responses=gives(EndpointDeleted, 404))
async def delete_webhook_endpoint(webhook_endpoint_id: str, tenant: Admin, behind: Behind) -> Response:
    """Take it away; what waits for it is sent nowhere."""
    if not await behind.run(behind.notices.webhooks.remove, webhook_endpoint_id, tenant):
        there(None, "webhook", webhook_endpoint_id)
    return json_reply({"id": webhook_endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


@router.post(
    _AT + "/{webhook_endpoint_id}/rotate_secret",
    responses=gives(EndpointWithSecret, 404, 413, 415),
    openapi_extra=takes(RotateEndpointSecret, required=False),
)
async def rotate_webhook_endpoint_secret(
    webhook_endpoint_id: str, request: Request, tenant: Admin, behind: Behind
) -> Response:
    """Sign by a new secret, and for a day by the old one, too, if that is asked for."""
    wanted = check(RotateEndpointSecret, await read_body(request, may_be_empty=True))
    grace_s = _GRACE_S if wanted.keep_old_secret_active_for_24_hours else 0.0
    rotate = behind.notices.webhooks.rotate
    doc = await behind.run(rotate, webhook_endpoint_id, tenant, new_secret(), grace_s)
    return secret_reply(sdk_endpoint_shown(there(doc, "webhook", webhook_endpoint_id), with_secret=True))


@router.post(
    _AT + "/{webhook_endpoint_id}/test",
    responses=gives(EndpointTested, 404, 409, 413, 415, 429),
    openapi_extra=takes(TestEndpoint),
)
async def test_webhook_endpoint(
    webhook_endpoint_id: str, request: Request, tenant: Admin, behind: Behind
) -> Response:
    """Send a sample event now, once. A receiver without an answer is a 409: the SDKs' result has no word for it."""
    wanted = check(TestEndpoint, await read_body(request))
    endpoint = await endpoint_of(behind, webhook_endpoint_id, tenant)
    _, answered = await tested(behind, endpoint, wanted.event_type)
    if answered.status is None:
        raise conflict(f"The receiver gave no answer: {answered.problem}.", code="webhook_not_reached")
    return json_reply(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": webhook_endpoint_id,
            "event_type": wanted.event_type,
            "success": True,
            "status_code": answered.status,
        }
    )


@router.get("/webhook_event_types", responses=gives(EventTypeList))
async def list_webhook_event_types(_: Admin) -> Response:
    """The events of which an endpoint can be told."""
    return json_reply({"object": "list", "data": list(EVENT_TYPES)})
