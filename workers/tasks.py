"""Celery's tasks: fixed names, ids as arguments, each safe to run twice.

`takes` is the form of the one argument: without it no message reaches a task (inbound.py).

plan.batch        batch id    queue plan
shard.<provider>  shard id    queue batch.<provider>
chore.tick        "tick"      queue schedules
"""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery

from workers.celery_config import PLAN_TASK, TICK_TASK, shard_task
from workers.core.inbound import BATCH_ID, SHARD_ID, TICK

# By name: only a worker makes one, and it needs the engine.
_REQUEST = "workers.inbound:Request"


def register(app: Celery, providers: Iterable[str]) -> None:
    """Put the tasks of these providers on the app."""

    @app.task(name=PLAN_TASK, Request=_REQUEST, takes=BATCH_ID)
    def plan_batch(batch_id: str) -> str:
        from workers.runtime import runtime  # only a worker that runs it needs the engine

        return runtime().plan(batch_id)

    # Without events: by tomorrow Flower would show nothing but ticks.
    @app.task(name=TICK_TASK, Request=_REQUEST, takes=TICK, send_events=False)
    def tick(_: str) -> str:
        from workers.runtime import runtime

        return runtime().tick()

    for provider in providers:

        @app.task(name=shard_task(provider), Request=_REQUEST, takes=SHARD_ID)
        def run_shard(shard_id: str) -> str:
            from workers.runtime import runtime

            return runtime().run_shard(shard_id)
