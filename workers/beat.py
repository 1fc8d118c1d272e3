"""Celery beat's scheduler: every `TICK_S` seconds it asks the workers to look at what is due (chores.py).

Beat knows no schedule of anybody and keeps no file. What is due when, and what has run, stands in MongoDB, which beat
never asks: so two of them do no harm, a dead one loses nothing, and a new one needs nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import beat

from config.settings import load_settings
from workers.celery_config import broker_url
from workers.core.errors import StoreUnavailable
from workers.queue import Queue

log = logging.getLogger(__name__)


class Scheduler(beat.Scheduler):
    """Celery's, in memory; it publishes as the rest of us do, whatever became of the broker meanwhile (queue.py)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        settings = load_settings()
        self._ready_file = settings.ready_file
        self._queue = Queue(broker_url(settings.servers))

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Ask for a tick. A broker that is away is asked again at the next one."""
        try:
            self._queue.publish_tick()
        except StoreUnavailable as error:
            log.warning("no tick was sent: %s", error)
        else:
            # Anew with each tick: its age tells a health check whether this beat still reaches the broker.
            if self._ready_file:
                self._ready_file.touch()
