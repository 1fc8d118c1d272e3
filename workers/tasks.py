"""Celery's tasks: fixed names, ids as arguments, each safe to run twice.

plan.batch        batch id    queue plan
shard.<provider>  shard id    queue batch.<provider>
"""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery

from workers.celery_config import PLAN_TASK, shard_task
from workers.runtime import runtime


def register(app: Celery, providers: Iterable[str]) -> None:
    """Put the tasks of these providers on the app."""

    @app.task(name=PLAN_TASK)
    def plan_batch(batch_id: str) -> str:
        return runtime().plan(batch_id)

    for provider in providers:

        @app.task(name=shard_task(provider))
        def run_shard(shard_id: str) -> str:
            return runtime().run_shard(shard_id)
