"""Which requests would be answered from the cache: POST /v1/cache/lookup. Nothing is sent, kept or changed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.api.auth import Tenant
from app.api.door import Endpoint, Strict, check, read_body
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from workers.core.choose import Chosen, call_of
from workers.core.chooser import Chooser
from workers.core.identity import call_fingerprint
from workers.providers.registry import answers_as, offers
from workers.store import keys
from workers.store.tenants import Tenant as TenantDoc

# A little over the longest line of an input file, and what a client sends of shorter ones.
MAX_LOOKUP_BYTES = 4_000_000
router = APIRouter(prefix="/v1/cache")


class Lookup(Strict):
    """Bodies of requests to one endpoint, as lines of an input file hold them."""

    endpoint: Endpoint
    requests: Annotated[list[dict[str, Any]], Field(max_length=500)]
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


@router.post("/lookup")
async def lookup(request: Request, tenant: Tenant, behind: Behind) -> Response:
    """For each request in turn whether its answer is kept; one that nobody would answer is not."""
    wanted = check(Lookup, await read_body(request, max_bytes=MAX_LOOKUP_BYTES))
    if behind.cache is None or not behind.settings.cache.enabled:
        return json_reply({"object": "list", "data": [False] * len(wanted.requests)})
    owner = await behind.run(behind.tenants.get, tenant)
    found = await behind.run(_keys, behind, owner, wanted)
    there = iter(await behind.cache.holds([key for key in found if key]))
    return json_reply({"object": "list", "data": [bool(key) and next(there) for key in found]})


def _keys(behind: Services, owner: TenantDoc, wanted: Lookup) -> list[str]:
    """Where each answer would be kept; empty for a request that nobody answers."""
    settings = behind.settings
    chooser = Chooser(offers(settings), settings.catalog)
    providers = {provider.name: provider for provider in settings.providers}
    found = []
    for body in wanted.requests:
        model = wanted.model or body.get("model")
        named = isinstance(model, str) and model
        # A worker chooses among the offer of this provider alone, and finds the same model again.
        chosen = chooser.choose(wanted.endpoint, str(model), body) if named else None
        if not isinstance(chosen, Chosen):
            found.append("")
            continue
        provider = providers[chosen.provider]
        call = call_of(wanted.endpoint, body, chosen, provider.kind, settings.catalog, provider.options)
        fingerprint = call_fingerprint(
            call, secret=owner.secret, generation=owner.generation, answers_as=answers_as(provider)
        )
        found.append(keys.answer(provider.name, wanted.endpoint, fingerprint))
    return found
