"""This API process reads its settings anew: on SIGHUP, at POST /v1/admin/reload, and when another process was asked.

What it goes by is `Services.settings`, one value that is replaced as a whole; core/reloading.py says what of new ones
can be live. Settings that cannot be read change nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from config.settings import Settings, SettingsError, load_settings
from workers.core import reloading
from workers.store.mongo import STORE_TROUBLE
from workers.store.reloads import Answer
from workers.telemetry import log_on_by

if TYPE_CHECKING:
    from app.api.services import Services

log = logging.getLogger("batchwright.api")
LOOK_EVERY_S = 2.0


class Reloaded:
    """One per process, in its event loop.

    Args:
        load: reads the settings; blocks. Raises SettingsError.
    """

    def __init__(self, services: Services, load: Callable[[], Settings] = load_settings) -> None:
        self._services, self.load = services, load
        self.process = f"api@{socket.gethostname()}:{os.getpid()}"
        self._known: int | None = None
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Task[Answer]] = set()

    async def watch(self) -> None:
        """Look for ever whether somebody has asked; cancel to stop. Without the database nobody has."""
        while True:
            try:
                await self._look()
            except STORE_TROUBLE as error:
                log.debug("cannot see whether settings are to be read anew: %s", type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    def soon(self) -> None:
        """Read the settings; for a signal handler of the loop."""
        task = asyncio.get_running_loop().create_task(self.reload())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def ask_all(self) -> tuple[int, Answer]:
        """Read the settings here, and have every other process do the same; the number under which they answer.

        Where they cannot be read here, 0 and why: nobody else is asked then.
        """
        answer = await self.reload()
        if answer.error is not None:
            return 0, answer
        run, store = self._services.run, self._services.stores.reloads
        generation = await run(store.ask)
        self._known = generation
        await run(store.answer, generation, answer)
        return generation, answer

    async def answers(self) -> tuple[int, list[Answer]]:
        """What was asked for last, and who has answered so far."""
        run, store = self._services.run, self._services.stores.reloads
        generation = await run(store.generation)
        return generation, await run(store.answers, generation) if generation else []

    async def reload(self) -> Answer:
        """Read the settings and go by what of them can be live; the answer says what changed, or what is wrong."""
        services = self._services
        async with self._turn:
            try:
                found = reloading.reload(services.settings, await services.run(self.load))
            except SettingsError as error:
                log.warning("settings not read anew, all stays as it was: %s", error)
                return Answer(self.process, error=str(error))
            except Exception as error:
                # A bug of ours; without this the next who asks for a reload would not be heard either.
                log.exception("settings not read anew, all stays as it was")
                return Answer(self.process, error=f"{type(error).__name__}; its log says more")
            services.settings = found.settings  # one value, so no request sees a half of it
        log_on_by(found.settings)
        log.info("settings read anew", extra={"changed": found.changed, "needs_restart": found.restart})
        return Answer(self.process, found.changed, found.restart)

    async def _look(self) -> None:
        run, store = self._services.run, self._services.stores.reloads
        generation = await run(store.generation)
        # Also at the first look: what was asked while this process started may have come after it read its settings.
        if generation not in (0, self._known):
            answer = await self.reload()
            await run(store.answer, generation, answer)
        self._known = generation
