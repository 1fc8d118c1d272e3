"""What works beside the engine of a worker, made of its parts: who sends it shards, who sweeps, who says that it lives.

runtime.py asks for each once, in its loop; wiring.py makes what needs settings alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.beats import Beats
from workers.celery_config import PLAN_QUEUE, SCHEDULES_QUEUE, batch_queue
from workers.dispatcher import Dispatcher
from workers.sweeper import Sweeper
from workers.transport.choice import transport_name
from workers.vitals import INTAKE
from workers.watchdog import Watchdog

if TYPE_CHECKING:
    from workers.runtime import Runtime


def dispatcher(runtime: Runtime) -> Dispatcher:
    """Who keeps the slots of the providers that this process serves filled."""
    return Dispatcher(
        runtime.stores,
        runtime.queue,
        runtime.threads,
        runtime.owner,
        rates={name: runtime.links[name].rates for name in runtime.serves},
        seats=runtime.steward.seats,
    )


def sweeper(runtime: Runtime) -> Sweeper:
    """Who tidies up, in one process at a time."""
    settings, lease = runtime.settings, runtime.settings.lease
    return Sweeper(
        runtime.stores,
        runtime.finalizer,
        runtime.queue,
        runtime.threads,
        runtime.owner,
        every_s=lease.sweep_s,
        lease_s=lease.lease_s,
        dispatch_timeout_s=lease.dispatch_timeout_s,
        stale_upload_s=settings.batch.stale_upload_s,
    )


def beats(runtime: Runtime) -> Beats:
    """Who says every few seconds that this process lives, and how it does."""
    settings = runtime.settings
    return Beats(
        runtime.stores.processes,
        runtime.threads,
        runtime.owner,
        transport_name(settings.http.transport),
        runtime.serves,
        runtime.links,
        runtime.cache,
        runtime.sharing,
        runtime.shelf,
        runtime.recorder,
        runtime.limiter,
        slots=settings.worker.threads,
        last_seen=runtime.limiting.last_seen,
    )


def watchdog(runtime: Runtime) -> Watchdog:
    """Who has this process start again when messages wait and it takes none. After `departure` is there."""
    settings = runtime.settings
    own = (PLAN_QUEUE, SCHEDULES_QUEUE, *map(batch_queue, runtime.serves))
    return Watchdog(
        runtime.queue,
        lambda: [name for name in own if name not in INTAKE.cancelled],
        runtime.threads,
        settings.worker.watchdog_s,
        free_slots=lambda: settings.worker.threads - len(runtime.busy.threads),
        seen=lambda: INTAKE.seen,
        draining=lambda: runtime.steward.draining,
        bite=runtime.departure.start_again,
    )
