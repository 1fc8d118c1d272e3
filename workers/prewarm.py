"""Have a provider's models loaded before anybody asks: when a worker starts, and when its server is back.

    start            whoever of the workers that start together comes first loads
    ever after       one worker looks at the server; where it answers again after it did not, the models are loaded

Only for servers of one's own (the provider's setting `prewarm`). Nothing waits for it: a model that is not loaded is
loaded by its first call, which only takes longer. core/prewarming.py says which models, and how they are asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from config.catalog import Catalog
from workers import metrics
from workers.core.errors import ProviderError, TransportError
from workers.core.messages import HttpRequest
from workers.core.prewarming import LOOKS, load_call
from workers.engine.ports import Link
from workers.observed import OBSERVED
from workers.store.elections import Elections
from workers.store.mongo import STORE_TROUBLE
from workers.store.threads import Threads

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
LOOK_S = 5.0
# Workers that start within this time start together.
TOGETHER_S = 60.0


@dataclass(slots=True)
class Prewarm:
    """One per process: `run` it in the loop. `wanted`: the models of each provider that are to be loaded."""

    links: Mapping[str, Link]
    wanted: Mapping[str, Sequence[str]]
    catalog: Catalog
    elections: Elections
    threads: Threads
    owner: str

    async def run(self) -> None:
        """Load, then look for ever; cancel to stop."""
        await asyncio.gather(*(self._keep(name) for name, models in self.wanted.items() if models))

    async def _keep(self, name: str) -> None:
        is_up = False
        step = self.load_if_first(name)
        while True:
            try:
                is_up = await step
            except Exception:  # a bug here must not take the worker with it
                log.exception("looking whether %s answers", name)
            await asyncio.sleep(LOOK_EVERY_S)
            step = self.look(name, was_up=is_up)

    async def look(self, name: str, *, was_up: bool) -> bool:
        """Load the models of a server that answers again, if it is ours to look; gives whether it answers."""
        if not await self._hold(f"prewarm:{name}", 3 * LOOK_EVERY_S):
            return True  # another one looks, and loads
        is_up = await self._answers(name)
        return await self.load_if_first(name) if is_up and not was_up else is_up

    async def load_if_first(self, name: str) -> bool:
        """Load, unless another worker does so now or did just before; False if the server could not be reached."""
        link = self.links[name]
        # So long one load may take; a worker that dies meanwhile leaves the loading to the first call.
        if not await self._hold(f"prewarm:{name}:load", link.deadline_s + TOGETHER_S):
            return True
        outcomes = [await self._load(link, model) for model in self.wanted[name]]
        await self._hold(f"prewarm:{name}:load", TOGETHER_S)
        return "unreachable" not in outcomes

    async def _load(self, link: Link, model: str) -> str:
        outcome = "loaded"
        try:
            key, call = link.api_key(), load_call(link.kind, model, self.catalog, link.options)
            request = link.adapter.build_request(call, key).request
            response = await link.transport.send(request, deadline_s=link.deadline_s)
            if response.status >= 400:
                raise link.adapter.parse_error(response)
        except (ProviderError, TransportError) as error:
            outcome = "unreachable" if isinstance(error, TransportError) else "failed"
            # Not its words: a server may say the key back.
            log.warning("model %s of %s is not loaded ahead: %s", model, link.name, error.code)
        except Exception:
            outcome = "failed"
            log.exception("model %s of %s is not loaded ahead", model, link.name)
        else:
            log.info("model %s of %s is loaded", model, link.name)
        OBSERVED.count(metrics.MODEL_PREWARMS, link.name, outcome)
        return outcome

    async def _answers(self, name: str) -> bool:
        link = self.links[name]
        request = HttpRequest("GET", LOOKS[link.kind], {"accept": "application/json"}, b"")  # type: ignore[index]
        try:
            return (await link.transport.send(request, deadline_s=LOOK_S)).status < 500
        except TransportError:
            return False

    async def _hold(self, lease: str, seconds: float) -> bool:
        try:
            return await self.threads.call(self.elections.hold, lease, self.owner, seconds)
        except STORE_TROUBLE:
            return False
