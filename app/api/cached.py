"""The cache: which requests it would answer, how it does, and clearing it.

A look-up sends, keeps and changes nothing, and sees a tenant's own answers only. How the cache does, and clearing
more than one's own answers, is for the operator: tenants share the cache without seeing each other.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from app.api.auth import Admin, Reading, Tenant
from app.api.bodies import Endpoint, Strict
from app.api.door import check, read_body
from app.api.errors import SERVER_ERROR, ApiError, bad_request
from app.api.json_reply import json_reply
from app.api.services import Behind, Services
from app.api.shapes_work import CacheCleared, CacheState, LookedUp
from app.api.spec import gives, takes
from workers.core.choose import Chosen, call_of
from workers.core.chooser import Chooser
from workers.core.errors import UserError
from workers.core.identity import call_fingerprint
from workers.providers.registry import answers_as, offers
from workers.store import keys
from workers.store.cache import Cache
from workers.store.cache_stats import CacheStats
from workers.store.tenants import DEFAULT_TENANT
from workers.store.tenants import Tenant as TenantDoc

# A little over the longest line of an input file, and what a client sends of shorter ones.
MAX_LOOKUP_BYTES = 4_000_000
Prefix = Annotated[
    str | None,
    Query(min_length=1, max_length=256, json_schema_extra={"pattern": "^(ai|embedding)(:[^:]+)*:*$"}),
]
OfTenant = Annotated[str | None, Query(alias="tenant", min_length=1, max_length=256)]
router = APIRouter(prefix="/v1/cache", tags=["cache"])


class Lookup(Strict):
    """Bodies of requests to one endpoint, as lines of an input file hold them."""

    endpoint: Endpoint
    requests: Annotated[list[dict[str, Any]], Field(max_length=500)]
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


@router.post(
    "/lookup", name="look_up_answers", responses=gives(LookedUp, 413, 415), openapi_extra=takes(Lookup)
)
async def lookup(request: Request, tenant: Tenant, behind: Behind) -> Response:
    """For each request in turn whether its answer is kept; one that nobody would answer is not."""
    wanted = check(Lookup, await read_body(request, max_bytes=MAX_LOOKUP_BYTES, is_stored=False))
    if behind.cache is None or not behind.settings.cache.enabled:
        return json_reply({"object": "list", "data": [False] * len(wanted.requests)})
    owner = await behind.run(behind.tenants.get, tenant)
    found = await behind.run(_keys, behind, owner, wanted)
    there = iter(await behind.cache.holds([key for key in found if key]))
    return json_reply({"object": "list", "data": [bool(key) and next(there) for key in found]})


@router.get("", name="describe_cache", responses=gives(CacheState))
async def statistics(caller: Reading, behind: Behind) -> Response:
    """Hits and misses of today and of the last seven days over all tenants, and how full the cache is."""
    if not caller.is_operator:
        raise _not_allowed("see how the cache does")
    return json_reply(await state_of(behind))


async def state_of(behind: Services) -> dict[str, Any]:
    """How the cache does, as replies show it."""
    cache = behind.cache
    found = CacheStats(away=True) if cache is None else await cache.stats()
    return {"object": "cache", "enabled": behind.settings.cache.enabled, **found.as_dict()}


@router.delete("", name="clear_cache", responses=gives(CacheCleared, 404))
async def clear(tenant: Admin, behind: Behind, prefix: Prefix = None, of: OfTenant = None) -> Response:
    """Forget answers: those whose keys begin with `prefix`, or all of one tenant's, or all there are.

    A tenant's are put out of reach, not deleted: their number is not known, so `entries` is null.
    """
    if tenant not in (DEFAULT_TENANT, of):
        raise _not_allowed("clear more than its own answers (tenant=its id)")
    found: dict[str, Any]
    if of is None:
        found = {"entries": await _cleared(behind.cache, prefix), "tenant": None, "generation": None}
    elif prefix is None:
        found = {"entries": None, "tenant": of, "generation": await _forgotten(behind, of)}
    else:
        raise bad_request("Give 'prefix' or 'tenant': a tenant's answers go all together.", param="tenant")
    return json_reply({"object": "cache.cleared", "prefix": prefix, **found})


async def _cleared(cache: Cache | None, prefix: str | None) -> int:
    try:
        gone = None if cache is None else await cache.clear(prefix)
    except UserError as error:
        raise bad_request(f"{error.message}; {error.hint}.", param="prefix", code="unknown_prefix") from None
    if gone is None or gone.away:
        text = "The cache Redis does not answer; some or all of the answers may still be there."
        raise ApiError(503, text, code="cache_unavailable", kind=SERVER_ERROR)
    return gone.entries


async def _forgotten(behind: Services, tenant: str) -> int:
    try:
        return await behind.run(behind.tenants.raise_generation, tenant)
    except LookupError:
        raise ApiError(404, f"No such tenant: {tenant}", param="tenant") from None


def _not_allowed(what: str) -> ApiError:
    return ApiError(403, f"Only an admin key of the first tenant may {what}.", code="not_allowed")


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
