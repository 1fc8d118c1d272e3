"""LiteLLM's `Router.acompletion` under a semaphore; with the rule `cache`, before its Redis cache."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched from the internet at import

import litellm  # type: ignore[import-not-found]

from app.bench.peers.serving import Engine, serve

_AT_ONCE = 100


class LiteLLM(Engine):
    """One deployment behind one router."""

    version = f"litellm {version('litellm')}"

    async def open(self) -> None:
        """A router without retries, which would hide failures."""
        litellm.suppress_debug_info = True
        logging.getLogger("LiteLLM").setLevel(logging.ERROR)
        logging.getLogger("LiteLLM Router").setLevel(logging.ERROR)
        name = self.rules["model"]
        target = {"model": f"openai/{name}", "api_base": f"{self.rules['url']}/v1", "api_key": "bench"}
        cached = bool(self.rules.get("cache"))
        if cached:
            redis = urlsplit(self.rules["redis_url"])
            litellm.cache = litellm.Cache(
                type="redis", host=redis.hostname, port=redis.port, password=redis.password
            )
        self._router: Any = litellm.Router(
            model_list=[{"model_name": name, "litellm_params": target}], num_retries=0, cache_responses=cached
        )

    async def answer(self, work: Sequence[str]) -> list[str]:
        """A task a prompt."""
        free = asyncio.Semaphore(min(_AT_ONCE, self.rules["concurrency"]))

        async def ask(text: str) -> str:
            messages = [{"role": "user", "content": text}]
            async with free:
                reply = await self._router.acompletion(model=self.rules["model"], messages=messages)
            return str(reply.choices[0].message.content)

        return await asyncio.gather(*(ask(text) for text in work))


if __name__ == "__main__":
    serve(LiteLLM)
