"""Celery's tasks: fixed names, ids as arguments, each safe to run twice.

plan.batch        batch id    queue plan
shard.<provider>  shard id    queue batch.<provider>
"""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery

from workers.celery_config import PLAN_TASK, shard_task


def register(app: Celery, providers: Iterable[str]) -> None:
    """Put the tasks of these providers on the app."""

    @app.task(name=PLAN_TASK)
    def plan_batch(batch_id: str) -> str:
        from workers.runtime import runtime  # only a worker that runs it needs the engine

        return runtime().plan(batch_id)

    for provider in providers:

        @app.task(name=shard_task(provider))
        def run_shard(shard_id: str) -> str:
            from workers.runtime import runtime

            return runtime().run_shard(shard_id)
