"""A worker reads its settings anew while it works: on SIGHUP, and when an operator asks all (store/reloads.py).

    load -> core/reloading.py says what can be live -> the loop swaps it in one step -> an answer, and a log line

What runs goes on: a running shard finds new limits, keys and models at its provider's `Link` with its next call.
Settings that cannot be read change nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.settings import Settings, SettingsError
from workers import wiring
from workers.core import reloading
from workers.core.choose import Chosen
from workers.core.chooser import Chooser
from workers.core.lanes import Rates
from workers.core.messages import InputLine
from workers.core.price import Prices
from workers.planning import Planning
from workers.providers.registry import offers
from workers.store.mongo import STORE_TROUBLE
from workers.store.reloads import Answer
from workers.telemetry import log_on_by

if TYPE_CHECKING:
    from workers.runtime import Runtime

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is made of settings before they are swapped in; `choosers` by provider."""

    planning: Planning
    choosers: Mapping[str, Chooser]
    prices: Prices
    elsewhere: Callable[[InputLine, frozenset[str]], Chosen | None]


@dataclass(slots=True)
class Reloading:
    """One per worker process: `run` it in the loop; `soon` from anywhere.

    Attributes:
        load: reads the settings; blocks. Raises SettingsError.
    """

    runtime: Runtime
    load: Callable[[], Settings]
    look_every_s: float = LOOK_EVERY_S
    _known: int | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: set[asyncio.Task[Answer]] = field(default_factory=set)

    async def run(self) -> None:
        """Look for ever whether somebody has asked; cancel to stop. Without the database nobody has."""
        while True:
            try:
                await self.look()
            except STORE_TROUBLE as error:
                log.warning("cannot see whether settings are to be read anew: %s", type(error).__name__)
            await asyncio.sleep(self.look_every_s)

    async def look(self) -> None:
        """Read the settings and answer, if that was asked for since the last look."""
        store, threads = self.runtime.stores.reloads, self.runtime.threads
        async with self._turn:
            generation = await threads.call(store.generation)
            # Also at the first look: what was asked while this process started may have come after it read its
            # settings; and whoever waits for all living workers would wait for this one for ever.
            if generation not in (0, self._known):
                answer = await self._reload()
                await threads.call(store.answer, generation, answer)
            self._known = generation

    def soon(self) -> None:
        """Read the settings when the loop comes to it. From any thread, and from a signal handler."""
        # The loop is closed: in the main thread this would end Celery's own shutdown.
        with suppress(RuntimeError):
            self.runtime.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        task = self.runtime.loop.create_task(self.reload())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def reload(self) -> Answer:
        """Read the settings and go by what of them can be live; the answer says what changed, or what is wrong."""
        async with self._turn:
            return await self._reload()

    async def _reload(self) -> Answer:
        runtime = self.runtime
        try:
            found, parts = await runtime.threads.call(self._read)
        except SettingsError as error:
            log.warning("settings not read anew, all stays as it was: %s", error)
            return Answer(runtime.owner, error=str(error))
        except Exception as error:
            # A bug of ours; that this worker goes on is worth more than that it goes by the new settings.
            log.exception("settings not read anew, all stays as it was")
            return Answer(runtime.owner, error=f"{type(error).__name__}; its log says more")
        self._swap(found.settings, parts)
        log_on_by(found.settings)
        log.info("settings read anew", extra={"changed": found.changed, "needs_restart": found.restart})
        return Answer(runtime.owner, found.changed, found.restart)

    def _read(self) -> tuple[reloading.Reload, _Parts]:
        """Everything that can go wrong, on a thread and before anything is swapped."""
        runtime = self.runtime
        found = reloading.reload(runtime.settings, self.load())
        settings, offered = found.settings, offers(found.settings)
        choosers = {
            name: Chooser([one for one in offered if one.provider == name], settings.catalog)
            for name in runtime.links
        }
        planning = wiring.planning(settings, settings.providers, runtime.stores, runtime.owner)
        return found, _Parts(planning, choosers, Prices(settings.prices), wiring.elsewhere(settings))

    def _swap(self, settings: Settings, parts: _Parts) -> None:
        """All of it between two steps of the loop."""
        runtime = self.runtime
        for provider in settings.providers:
            link, limits = runtime.links[provider.name], provider.limits
            link.rates = Rates(limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)
            link.api_key = wiring.key_of(provider)
            link.chooser, link.prices, link.options = (
                parts.choosers[provider.name],
                parts.prices,
                provider.options,
            )
        runtime.settings, runtime.providers, runtime.planning = settings, settings.providers, parts.planning
        runtime.steward.desk.elsewhere = parts.elsewhere
        runtime.dispatcher.rates = {name: runtime.links[name].rates for name in runtime.serves}
