"""The Celery app of a worker: its queues, its tasks, and the moments at which the runtime starts and drains.

Beat and Flower load it too; they never start a runtime.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    celeryd_init,
    setup_logging,
    task_revoked,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from config.serving import served
from config.settings import load_settings
from workers.celery_config import broker_url, celery_settings
from workers.core.errors import UserError
from workers.core.inbound import SHARD_ID
from workers.tasks import register
from workers.telemetry import log_by

log = logging.getLogger(__name__)

_settings = load_settings()
_providers = served((provider.name for provider in _settings.providers), _settings.worker.providers)

app = Celery("batchwright", set_as_current=True)
app.conf.update(celery_settings(broker_url(_settings.servers), _providers))
app.conf.worker_consumer = "workers.inbound:Consumer"
register(app, _providers)
if "flower" in sys.argv:
    log_by(_settings)  # of all that load this app Flower alone gives no signal before its first line


@setup_logging.connect
def _log(**_: Any) -> None:
    log_by(_settings)


@beat_init.connect
def _stay(**_: Any) -> None:
    # Beat has nothing to read anew; whoever has all processes do so must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@celeryd_init.connect
def _guard(sender: str, **_: Any) -> None:
    from workers.inbound import guard_broker

    log_by(_settings, worker=str(sender).partition("@")[0])
    guard_broker()


@worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    from workers import departure, runtime  # the engine, which beat and Flower do without

    try:
        runtime.start(str(sender.hostname).partition("@")[0])
    except UserError as error:  # one line that says what to do, and no traceback
        log.critical("the worker cannot start: %s", f"{error.message}; {error.hint}" if error.hint else error)
        os._exit(departure.BROKEN_EXIT_CODE)
    except Exception:
        # Celery only logs what a signal raises: the worker would be ready, and every task of it would fail.
        log.exception("the worker cannot start")
        os._exit(departure.BROKEN_EXIT_CODE)


@worker_ready.connect
def _say_ready(**_: Any) -> None:
    from workers.runtime import runtime

    # Celery's own handler would start the process again, and drop what it does.
    signal.signal(signal.SIGHUP, lambda *_: runtime().reloading.soon())
    if _settings.ready_file:
        _settings.ready_file.touch()


@task_revoked.connect
def _give_back(request: Any, terminated: bool, **_: Any) -> None:
    """Celery dropped a message that an operator had revoked before it came; a plan is asked for again by itself."""
    from workers.runtime import runtime

    if not terminated and SHARD_ID.fullmatch(request.args[0]):
        runtime().giving_back.revoke(request.args[0])


@worker_shutting_down.connect
def _drain(**_: Any) -> None:
    from workers.runtime import runtime

    runtime().departure.drain_soon()


@worker_shutdown.connect
def stop(**_: Any) -> None:
    """Stop this process's runtime, if it has one that runs."""
    from workers import runtime

    runtime.stop()
