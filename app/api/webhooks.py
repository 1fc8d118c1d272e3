"""Webhooks: a tenant's endpoints, and what was delivered to them. For admin keys of the tenant alone.

A URL may hold a secret and a signing secret is one, so neither is logged. What is sent when is decided in
workers/notify.py; this only writes what it reads, and one test event at a person's wish.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.auth import Admin
from app.api.door import check, read_body
from app.api.errors import ApiError, bad_request, conflict
from app.api.json_reply import json_reply, page_reply, secret_reply
from app.api.services import Behind, Services
from app.api.shapes_tenancy import (
    Delivery,
    DeliveryList,
    Webhook,
    WebhookDeleted,
    WebhookList,
    WebhookTested,
    WebhookWithSecret,
)
from app.api.spec import gives, takes
from app.api.webhook_forms import (
    ChangeWebhook,
    CreateWebhook,
    DeliveryState,
    RotateSecret,
    delivery_shown,
    endpoint_shown,
)
from workers.core.addresses import BadTarget
from workers.core.webhooks import TEST_EVENT, Answered, shown_answer
from workers.store.mongo import Doc
from workers.store.webhooks import MOST_ENDPOINTS, new_secret

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", responses=gives(WebhookWithSecret, 409, 413, 415), openapi_extra=takes(CreateWebhook))
async def create_webhook(request: Request, tenant: Admin, behind: Behind) -> Response:
    """Make an endpoint. Its signing secret is in this answer and in no other."""
    wanted = check(CreateWebhook, await read_body(request))
    await check_url(behind, wanted.url, "url")
    doc = await behind.run(
        behind.notices.webhooks.create,
        tenant,
        wanted.url,
        wanted.events,
        wanted.secret or new_secret(),
        enabled=wanted.enabled,
        now_s=time.time(),
    )
    if doc is None:
        raise too_many()
    return secret_reply(endpoint_shown(doc, with_secret=True))


@router.get("", responses=gives(WebhookList))
async def list_webhooks(tenant: Admin, behind: Behind) -> Response:
    """All endpoints of the tenant, oldest first."""
    docs = await behind.run(behind.notices.webhooks.page, tenant)
    return page_reply([endpoint_shown(doc) for doc in docs], has_more=False)


@router.get("/deliveries", responses=gives(DeliveryList))
async def list_deliveries(
    tenant: Admin,
    behind: Behind,
    status: DeliveryState | None = None,
    event: Annotated[str | None, Query(max_length=128)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """One page of deliveries, newest first; of one state, of an event's type or id."""
    store = behind.notices.deliveries
    if after is not None and await behind.run(store.get, after, tenant) is None:
        raise bad_request(f"No delivery found with id '{after}'.", param="after", code="invalid_value")
    rows = await behind.run(store.page, tenant, status=status, event=event, after=after, limit=limit + 1)
    return page_reply([delivery_shown(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/deliveries/{delivery_id}", responses=gives(Delivery, 404))
async def retrieve_delivery(delivery_id: str, tenant: Admin, behind: Behind) -> Response:
    """One delivery with all its attempts."""
    row = await behind.run(behind.notices.deliveries.get, delivery_id, tenant)
    return json_reply(delivery_shown(there(row, "delivery", delivery_id)))


@router.post("/deliveries/{delivery_id}/replay", responses=gives(Delivery, 404))
async def replay_delivery(delivery_id: str, tenant: Admin, behind: Behind) -> Response:
    """Send it again from now on, whatever became of it, under the same event id."""
    row = there(
        await behind.run(behind.notices.deliveries.replay, delivery_id, tenant), "delivery", delivery_id
    )
    behind.notices.notifier.nudge()
    return json_reply(delivery_shown(row))


@router.get("/{webhook_id}", responses=gives(Webhook, 404))
async def retrieve_webhook(webhook_id: str, tenant: Admin, behind: Behind) -> Response:
    """One endpoint, without its secret."""
    return json_reply(endpoint_shown(await endpoint_of(behind, webhook_id, tenant)))


@router.patch("/{webhook_id}", responses=gives(Webhook, 404, 413, 415), openapi_extra=takes(ChangeWebhook))
async def change_webhook(webhook_id: str, request: Request, tenant: Admin, behind: Behind) -> Response:
    """Change its URL, its events, or whether it is told; what waits goes to the new URL."""
    wanted = check(ChangeWebhook, await read_body(request))
    await endpoint_of(behind, webhook_id, tenant)
    if wanted.url is not None:
        await check_url(behind, wanted.url, "url")
    new = wanted.model_dump(exclude_none=True)
    doc = await behind.run(behind.notices.webhooks.change, webhook_id, tenant, new)
    return json_reply(endpoint_shown(there(doc, "webhook", webhook_id)))


@router.delete("/{webhook_id}", responses=gives(WebhookDeleted, 404))
async def delete_webhook(webhook_id: str, tenant: Admin, behind: Behind) -> Response:
    """Take it away; what waits for it is sent nowhere."""
    if not await behind.run(behind.notices.webhooks.remove, webhook_id, tenant):
        there(None, "webhook", webhook_id)
    return json_reply({"id": webhook_id, "object": "webhook", "deleted": True})


@router.post(
    "/{webhook_id}/rotate-secret",
    responses=gives(WebhookWithSecret, 404, 413, 415),
    openapi_extra=takes(RotateSecret, required=False),
)
async def rotate_secret(webhook_id: str, request: Request, tenant: Admin, behind: Behind) -> Response:
    """Sign by a new secret, and for `grace_s` (a day) by the old one, too. The new one is in this answer alone."""
    wanted = check(RotateSecret, await read_body(request, may_be_empty=True))
    secret = wanted.secret or new_secret()
    doc = await behind.run(behind.notices.webhooks.rotate, webhook_id, tenant, secret, float(wanted.grace_s))
    return secret_reply(endpoint_shown(there(doc, "webhook", webhook_id), with_secret=True))


@router.post("/{webhook_id}/test", responses=gives(WebhookTested, 404, 429))
async def test_webhook(webhook_id: str, tenant: Admin, behind: Behind) -> Response:
    """Send a `webhook.test` event now, also to a disabled endpoint, and say what came back. It is not repeated."""
    endpoint = await endpoint_of(behind, webhook_id, tenant)
    event_id, answered = await tested(behind, endpoint, TEST_EVENT)
    return json_reply(
        {
            "object": "webhook.test",
            "webhook_id": webhook_id,
            "event_id": event_id,
            "delivered": answered.delivered,
            "status": answered.status,
            "error": answered.problem,
            "took_ms": answered.took_ms,
            "answer": shown_answer(answered.answer),
        }
    )


async def check_url(behind: Services, url: str, param: str) -> None:
    """Raises ApiError 400 for a URL that no webhook is sent to."""
    try:
        await behind.notices.outward.check(url)
    except BadTarget as error:
        raise bad_request(
            f"Invalid '{param}': the URL {error}.", param=param, code="invalid_webhook_url"
        ) from None


def too_many() -> ApiError:
    """409: the tenant has as many endpoints as it may."""
    text = f"You have {MOST_ENDPOINTS} webhooks, the most there can be."
    return conflict(text, code="too_many_webhooks")


async def tested(behind: Services, endpoint: Doc, kind: str) -> tuple[str, Answered]:
    """Send an event of this type now; gives its id and what came back. Raises ApiError 429 while others are sent."""
    came = await behind.notices.notifier.test(endpoint, kind)
    if came is None:
        text = "Other tests of yours are under way; wait for their answers."
        raise ApiError(429, text, code="too_many_tests", headers={"retry-after": "2"})
    return came


async def endpoint_of(behind: Services, webhook_id: str, tenant: str) -> Doc:
    """The tenant's endpoint. Raises ApiError 404."""
    return there(await behind.run(behind.notices.webhooks.get, webhook_id, tenant), "webhook", webhook_id)


def there(doc: Doc | None, what: str, id_: str) -> dict[str, Any]:
    """It, or 404, the same for one that never was and for another tenant's."""
    if doc is None:
        raise ApiError(404, f"No {what} found with id '{id_}'.", param="id")
    return doc
