"""Make the engine's parts from the settings. runtime.py puts them together and gives them a life."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence

from redis.asyncio import Redis

from config.catalog_file import builtin_catalog
from config.serving import served, strangers
from config.settings import Provider, Settings
from workers.core.choose import Chosen
from workers.core.chooser import Chooser
from workers.core.lanes import BreakerRules, Rates
from workers.core.messages import InputLine
from workers.core.planner import ShardLimits, shard_limits
from workers.core.prewarming import models_to_load
from workers.core.price import Prices
from workers.core.retry import RetryRules
from workers.engine.ports import EngineRules, Link
from workers.engine.slots import CallSlots
from workers.finalizer import Finalizer
from workers.planning import Planning
from workers.prewarm import Prewarm
from workers.providers.registry import adapter_for, address_of, answers_as, offers
from workers.store.cache import Cache
from workers.store.stores import Stores
from workers.store.threads import Threads
from workers.transport.choice import rules_for, transport_for

log = logging.getLogger(__name__)


def worker_processes(settings: Settings) -> int:
    """How many worker processes this installation means to run."""
    return settings.worker.processes or os.cpu_count() or 1


def serves(settings: Settings) -> tuple[str, ...]:
    """The providers whose shards this process takes."""
    names, wish = [provider.name for provider in settings.providers], settings.worker.providers
    if missing := strangers(names, wish):
        # No reason to end: with one worker a provider, that of a provider without a key plans and waits.
        log.warning("not configured, so nothing of it is served here: %s", ", ".join(missing))
    return served(names, wish)


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
        retry=retry,
    )


def cache(settings: Settings, client: Redis) -> Cache:
    """The store of answers, over a connection that belongs to one event loop."""
    rules = settings.cache
    return Cache(
        client,
        max_entry_bytes=rules.max_entry_bytes,
        compress_over_bytes=rules.compress_over_bytes,
        early_refresh=rules.early_refresh,
    )


def breaker_rules(settings: Settings) -> BreakerRules:
    """When a model of a provider is left alone."""
    rules = settings.breaker
    return BreakerRules(failures=rules.failures, open_s=rules.open_s, max_open_s=rules.max_open_s)


def elsewhere(settings: Settings) -> Callable[[InputLine, frozenset[str]], Chosen | None]:
    """Who else could answer a request, given those that must not get it (again)."""
    chooser = Chooser(offers(settings), settings.catalog)

    def other(asked: InputLine, without: frozenset[str]) -> Chosen | None:
        if not settings.breaker.hand_over:
            return None
        return chooser.elsewhere(asked.url, asked.model, asked.body, without=without)

    return other


def links(settings: Settings, providers: Sequence[Provider]) -> dict[str, Link]:
    """Each provider, ready to be called from this process."""
    return {provider.name: _link(settings, provider) for provider in providers}


def _link(settings: Settings, provider: Provider) -> Link:
    rules = rules_for(settings.http, provider)
    limits, transport = provider.limits, transport_for(address_of(provider), rules, settings.http.transport)
    return Link(
        name=provider.name,
        kind=provider.kind,
        answers_as=answers_as(provider),
        adapter=adapter_for(provider),
        transport=transport,
        api_key=key_of(provider),
        rates=Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency),
        slots=CallSlots(settings.worker.max_call_slots, transport.room),
        deadline_s=provider.timeouts.read_s,
        chooser=Chooser([one for one in offers(settings) if one.provider == provider.name], settings.catalog),
        prices=Prices(settings.prices),
        options=provider.options,
        cache=settings.cache,
    )


def key_of(provider: Provider) -> Callable[[], str | None]:
    """How a call gets the provider's key, which nobody keeps in the open."""
    return lambda: provider.api_key.reveal() if provider.api_key else None


def prewarm(
    settings: Settings, links: Mapping[str, Link], stores: Stores, threads: Threads, owner: str
) -> Prewarm:
    """What has models loaded ahead of their first call, of the providers whose shards this process takes."""
    builtin, ours = builtin_catalog(), serves(settings)
    wanted = {
        provider.name: models_to_load(provider, settings.catalog, builtin)
        for provider in settings.providers
        # Where the simulator answers for all nobody else is asked.
        if provider.name in ours and not settings.simulator.all_models
    }
    return Prewarm(links, wanted, settings.catalog, stores.elections, threads, owner)


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

    def limits_of(name: str) -> ShardLimits:
        return shard_limits(
            max_items=rules.max_items,
            max_line_bytes=rules.max_line_bytes,
            max_span_bytes=rules.max_span_bytes,
            slot_seconds=rules.slot_seconds,
            requests_per_minute=providers[name].limits.requests_per_minute,
        )

    return limits_of
