"""Plain Celery: the prefork pool with eight processes, one task a prompt, httpx, results in Redis.

Run as a program it is the producer; its worker is `celery -A app.bench.peers.celery_prefork worker`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import celery
import httpx
from celery.result import ResultSet
from celery.signals import worker_process_init

from app.bench.peers.meters import cpu_s
from app.bench.peers.serving import Engine, serve
from app.bench.peers.worker_process import start, with_children

_PROCESSES = 8
_START_S = 30.0
_LAP_S = 100.0

app = celery.Celery("bench")
app.conf.update(
    broker_url=os.environ.get("BENCH_REDIS_URL"),
    result_backend=os.environ.get("BENCH_REDIS_URL"),
    broker_connection_retry_on_startup=True,
    result_expires=3600,
)

_client: httpx.Client | None = None


@worker_process_init.connect
def _connect(**_: object) -> None:
    """Each process of the pool keeps one connection of its own."""
    global _client  # noqa: PLW0603 - a task has no other place to keep it
    _client = httpx.Client(base_url=os.environ["BENCH_URL"], timeout=60, trust_env=False)


@app.task(name="bench.ask")
def ask(prompt: str, model: str) -> str:
    """One prompt, one call."""
    assert _client is not None  # noqa: S101 - the signal above has run
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    response = _client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])


class CeleryPrefork(Engine):
    """The producer: sends every task, then waits for every result."""

    is_producer = True
    version = f"celery {celery.__version__}"

    async def open(self) -> None:
        """Start the worker and wait until it has answered once."""
        environ = {"BENCH_REDIS_URL": self.rules["redis_url"], "BENCH_URL": self.rules["url"]}
        app.conf.update(broker_url=self.rules["redis_url"], result_backend=self.rules["redis_url"])
        options = ("--pool", "prefork", "--concurrency", str(_PROCESSES), "--loglevel", "warning")
        arguments = ("-m", "celery", "-A", __spec__.name, "worker", *options)
        self._worker = start(self.rules["core"], arguments, environ)
        ask.delay("ready?", self.rules["model"]).get(timeout=_START_S)

    async def answer(self, work: Sequence[str]) -> Any:
        """One task a prompt."""
        sent = ResultSet([ask.delay(text, self.rules["model"]) for text in work])
        return sent.join_native(timeout=_LAP_S)

    async def answers(self, lap: Mapping[str, Any], done: Sequence[str]) -> list[str]:
        """They are the texts already."""
        return list(done)

    def cpu_s(self) -> float:
        """Of the worker and its pool; sending and waiting is not counted."""
        return cpu_s(with_children(self._worker.pid))

    async def close(self) -> None:
        """End the worker: warm, then at once."""
        self._worker.terminate()
        self._worker.wait()


if __name__ == "__main__":
    serve(CeleryPrefork)
