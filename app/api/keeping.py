"""What the API keeps of itself beside its requests: its figures by the minute, and the chores that must go on without
beat and workers, since that these are away is what they tell of (workers/alerting.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

from workers.alerting import do_without_beat
from workers.analytics import MinuteWriter
from workers.store.mongo import STORE_TROUBLE

if TYPE_CHECKING:
    from app.api.services import Services

LOOK_EVERY_S = 15.0
log = logging.getLogger("batchwright.api")


class Keeping:
    """`keep` and `look_after` in a loop each, `end` before the stores are closed."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._figures = MinuteWriter(services.stores.minutes, enabled=services.settings.monitoring.enabled)
        self._owner = f"api@{socket.gethostname()}:{os.getpid()}"

    async def keep(self) -> None:
        """Write figures for ever; cancel to stop."""
        await self._figures.run(self._services.run)

    async def look_after(self) -> None:
        """Do the chores that are due and that nobody else does, for ever; cancel to stop."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._services.run(do_without_beat, self._services, self._owner)
            except STORE_TROUBLE as error:
                log.warning("cannot look after alerts: %s", type(error).__name__)
            except Exception:
                log.exception("looking after alerts failed")

    async def end(self, within_s: float) -> None:
        """Write what is left, if that takes no longer."""
        await asyncio.wait({asyncio.ensure_future(self._figures.write(self._services.run))}, timeout=within_s)
