"""How this worker process stands, for its own page (own_page.py): what it has seen lately, without asking anybody.

That it serves a page is a setting; without one nobody here looks at anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workers.celery_config import PLAN_QUEUE
from workers.core.errors import StoreUnavailable, UserError
from workers.exposition import may_read, page_of_process
from workers.own_page import Condition, OwnPage, Reply, pages

if TYPE_CHECKING:
    from workers.runtime import Runtime

LOOK_EVERY_S = 3.0


@dataclass(slots=True)
class Standing:
    """One per process: `open` and `run` in the loop, `close` from any thread."""

    runtime: Runtime
    page: OwnPage | None = None
    _broker_at: float | None = None
    _opened: bool = field(default=False)

    def open(self) -> None:
        """Show the page, if there is to be one. Raises UserError where its port cannot be had."""
        worker = self.runtime.settings.worker
        if worker.http_port is None:
            return
        self.page = OwnPage(pages(self.condition, self._metrics))
        try:
            self.page.start(worker.http_host, worker.http_port)
        except OSError as error:
            raise UserError(
                f"cannot listen on {worker.http_host}:{worker.http_port}: {error.strerror or error}",
                hint="set worker.http_port to a free port, or to 0 for any",
            ) from error
        self.runtime.beats.http_address = self.page.address
        self._opened = True

    async def run(self) -> None:
        """Look for ever whether the broker answers; cancel to stop. Returns at once where nobody wants to know."""
        queue, threads = self.runtime.queue, self.runtime.threads
        while self.page is not None:
            try:
                await threads.call(queue.depth, PLAN_QUEUE)
            except StoreUnavailable:
                pass  # its age says it
            else:
                self._broker_at = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)

    def condition(self) -> Condition:
        """How it stands now. From any thread."""
        now, beats = time.monotonic(), self.runtime.beats
        return Condition(
            started=self._opened,
            draining=self.runtime.steward.draining,
            mongodb_s=None if beats.beaten_at is None else now - beats.beaten_at,
            broker_s=None if self._broker_at is None else now - self._broker_at,
            loop_lag_s=beats.lag_s,
        )

    def _metrics(self, headers: Mapping[str, str]) -> Reply:
        if not may_read(headers.get("authorization"), self.runtime.settings.monitoring.metrics_token):
            return 401, b"send the token of the setting monitoring.metrics_token\n", "text/plain"
        return 200, *page_of_process(self.runtime.beats.vitals(), headers.get("accept", ""))

    def close(self) -> None:
        """Take the page away."""
        if self.page is not None:
            self.page.stop()
