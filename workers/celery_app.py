"""The Celery app of a worker: its queues, its tasks, and the moments at which the runtime starts and drains.

Beat and Flower load it too; they never start a runtime.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown, worker_shutting_down

from config.settings import load_settings
from workers.celery_config import celery_settings
from workers.tasks import register
from workers.telemetry import set_up_logging

log = logging.getLogger(__name__)

_settings = load_settings()
_providers = [provider.name for provider in _settings.providers]

app = Celery("batchwright", set_as_current=True)
app.conf.update(celery_settings(str(_settings.servers.redis_url), _providers))
register(app, _providers)


@setup_logging.connect
def _log(**_: Any) -> None:
    set_up_logging(_settings.log.level, as_json=_settings.log.json)


@worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    from workers import runtime  # the engine, which beat and Flower do without

    try:
        runtime.start(str(sender.hostname).partition("@")[0])
    except Exception:
        # Celery only logs what a signal raises: the worker would be ready, and every task of it would fail.
        log.exception("the worker cannot start")
        os._exit(runtime.BROKEN_EXIT_CODE)


@worker_ready.connect
def _say_ready(**_: Any) -> None:
    if _settings.ready_file:
        _settings.ready_file.touch()


@worker_shutting_down.connect
def _drain(**_: Any) -> None:
    from workers.runtime import runtime

    runtime().drain_soon()


@worker_shutdown.connect
def _stop(**_: Any) -> None:
    from workers.runtime import runtime

    runtime().stop()
