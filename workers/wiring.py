"""Make the engine's parts from the settings. runtime.py puts them together and gives them a life."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from config.settings import Provider, Settings
from workers.core.choose import Chosen
from workers.core.chooser import Chooser
from workers.core.planner import ShardLimits, shard_limits
from workers.core.price import Prices
from workers.core.retry import RetryRules
from workers.engine.ports import EngineRules, Link
from workers.engine.slots import CallSlots
from workers.finalizer import Finalizer
from workers.planning import Planning
from workers.providers.registry import adapter_for, address_of, answers_as, offers
from workers.store.limits import Rates
from workers.store.stores import Stores
from workers.transport.httpx_transport import HttpxTransport


def worker_processes(settings: Settings) -> int:
    """How many worker processes this installation means to run."""
    return settings.worker.processes or os.cpu_count() or 1


def engine_rules(settings: Settings) -> EngineRules:
    """The part of the settings the engine goes by."""
    retry = RetryRules(
        max_attempts=settings.retry.max_attempts,
        repeat_unknown=settings.retry.repeat_unknown,
        max_asks_again=settings.retry.max_asks_again,
        max_wait_s=settings.retry.max_wait_s,
    )
    return EngineRules(
        lease_s=settings.lease.lease_s,
        call_margin_s=settings.lease.call_margin_s,
        drain_grace_s=settings.worker.drain_grace_s,
        ttl_answers_s=settings.cache.ttl_answers_s,
        ttl_embeddings_s=settings.cache.ttl_embeddings_s,
        retry=retry,
    )


def links(settings: Settings, providers: Sequence[Provider]) -> dict[str, Link]:
    """Each provider, ready to be called from this process."""
    return {provider.name: _link(settings, provider) for provider in providers}


def _link(settings: Settings, provider: Provider) -> Link:
    timeouts = provider.timeouts
    transport = HttpxTransport(
        address_of(provider),
        connect_s=timeouts.connect_s,
        read_s=timeouts.read_s,
        write_s=timeouts.write_s,
        pool_s=timeouts.pool_s,
        prior_knowledge=provider.kind == "sim",
    )
    slots = settings.worker.max_call_slots
    if provider.limits.concurrency is not None:
        slots = max(1, min(slots, provider.limits.concurrency // worker_processes(settings)))
    return Link(
        name=provider.name,
        kind=provider.kind,
        answers_as=answers_as(provider),
        adapter=adapter_for(provider),
        transport=transport,
        api_key=lambda: provider.api_key.reveal() if provider.api_key else None,
        rates=Rates(provider.limits.requests_per_minute, provider.limits.tokens_per_minute),
        slots=CallSlots(slots),
        deadline_s=timeouts.read_s,
        chooser=Chooser([one for one in offers(settings) if one.provider == provider.name], settings.catalog),
        prices=Prices(settings.prices),
        options=provider.options,
    )


def finalizer(stores: Stores) -> Finalizer:
    """What ends batches."""
    return Finalizer(stores)


def planning(settings: Settings, providers: Sequence[Provider], stores: Stores, owner: str) -> Planning:
    """What plans batches."""
    return Planning(
        stores,
        owner,
        settings.lease.lease_s,
        Chooser(offers(settings), settings.catalog).choose,
        _has_price(settings),
        _limits_of(settings, {provider.name: provider for provider in providers}),
        max_requests=settings.api.max_requests,
        max_line_bytes=settings.batch.max_line_bytes,
    )


def _has_price(settings: Settings) -> Callable[[Chosen], bool]:
    prices = Prices(settings.prices)
    kinds = {provider.name: provider.kind for provider in settings.providers}

    def has_price(chosen: Chosen) -> bool:
        kind = kinds[chosen.provider]
        return prices.per_token(kind, chosen.model, provider=chosen.provider) is not None

    return has_price


def _limits_of(settings: Settings, providers: Mapping[str, Provider]) -> Callable[[str], ShardLimits]:
    rules = settings.shard
    slots = settings.worker.threads * worker_processes(settings)

    def limits_of(name: str) -> ShardLimits:
        return shard_limits(
            max_items=rules.max_items,
            max_line_bytes=rules.max_line_bytes,
            max_span_bytes=rules.max_span_bytes,
            slot_seconds=rules.slot_seconds,
            requests_per_minute=providers[name].limits.requests_per_minute,
            slots=slots,
        )

    return limits_of
