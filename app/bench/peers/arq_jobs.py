"""arq: one job a prompt, httpx, results in Redis.

Run as a program it is the producer; its worker is `arq_jobs.py worker`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import arq  # type: ignore[import-not-found]
import httpx
from arq.connections import RedisSettings  # type: ignore[import-not-found]

from app.bench.peers.meters import cpu_s
from app.bench.peers.serving import Engine, serve
from app.bench.peers.worker_process import start, with_children

_AT_ONCE = 100
_LOOK_S = 0.01


async def ask(ctx: dict[str, Any], prompt: str, model: str) -> str:
    """One prompt, one call."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    response = await ctx["client"].post("/v1/chat/completions", json=body)
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])


async def _connect(ctx: dict[str, Any]) -> None:
    ctx["client"] = httpx.AsyncClient(
        base_url=os.environ["BENCH_URL"], http1=False, http2=True, timeout=60, trust_env=False
    )


def work() -> None:
    """The worker, until SIGTERM."""
    logging.getLogger("arq").setLevel(logging.WARNING)
    arq.run_worker(
        {
            "functions": [ask],
            "on_startup": _connect,
            "redis_settings": RedisSettings.from_dsn(os.environ["BENCH_REDIS_URL"]),
            "max_jobs": _AT_ONCE,
            "poll_delay": 0.05,
            "keep_result": 3600,
        }
    )


class ArqJobs(Engine):
    """The producer: enqueues every job, then looks until the queue is empty."""

    is_producer = True
    version = f"arq {version('arq')}"

    async def open(self) -> None:
        """Start the worker and wait until it has answered once."""
        environ = {"BENCH_REDIS_URL": self.rules["redis_url"], "BENCH_URL": self.rules["url"]}
        self._redis = await arq.create_pool(RedisSettings.from_dsn(self.rules["redis_url"]))
        self._worker = start(self.rules["core"], ("-m", __spec__.name, "worker"), environ)
        job = await self._redis.enqueue_job("ask", "ready?", self.rules["model"])
        await job.result(timeout=30, poll_delay=_LOOK_S)

    async def answer(self, work: Sequence[str]) -> Sequence[Any]:
        """One job a prompt; a job leaves the queue's set as its result is written."""
        jobs = [await self._redis.enqueue_job("ask", text, self.rules["model"]) for text in work]
        while await self._redis.zcard("arq:queue"):  # noqa: ASYNC110 - nobody sets an event
            # arq tells nobody that a job is done; asking the queue's size is the cheapest look there is.
            await asyncio.sleep(_LOOK_S)
        return jobs

    async def answers(self, lap: Mapping[str, Any], done: Sequence[Any]) -> list[str]:
        """The results of the jobs."""
        found = []
        for job in done:
            info = await job.result_info()
            found.append(str(info.result) if info is not None else "no result")
        return found

    def cpu_s(self) -> float:
        """Of the worker; enqueueing is not counted."""
        return cpu_s(with_children(self._worker.pid))

    async def close(self) -> None:
        """End the worker."""
        self._worker.terminate()
        self._worker.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        work()
    else:
        serve(ArqJobs)
