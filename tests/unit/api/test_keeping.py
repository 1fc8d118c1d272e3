"""An API process keeps its figures and, where nobody else does, looks after the alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from app.api import keeping
from app.api.keeping import Keeping
from app.api.services import Services
from workers.core.analytics import Figures
from workers.metric import counter
from workers.observed import OBSERVED

pytestmark = pytest.mark.fast
SEEN = counter("batchwright_kept_total", "For this test.")


@dataclass
class Store:
    """Takes what is written, or is away."""

    away: bool = False
    written: list[Figures] = field(default_factory=list)

    def now(self) -> datetime:
        if self.away:
            raise ServerSelectionTimeoutError
        return datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def write(self, _process: str, _minute: datetime, figures: Figures) -> None:
        self.written.append(figures)


def kept(store: Store) -> Keeping:
    async def run(call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    settings = SimpleNamespace(monitoring=SimpleNamespace(enabled=True))
    behind = SimpleNamespace(stores=SimpleNamespace(minutes=store), settings=settings, run=run)
    return Keeping(cast("Services", behind))


async def test_what_was_seen_is_written_before_the_end() -> None:
    store = Store()
    ending = kept(store)
    OBSERVED.count(SEEN, by=3)
    await ending.end(1.0)
    assert store.written[-1].counts[SEEN.name, ()] >= 3


async def test_a_database_that_is_away_holds_up_no_end() -> None:
    await kept(Store(away=True)).end(1.0)


async def test_chores_go_on_whatever_one_of_them_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    met = [ServerSelectionTimeoutError(), ValueError("a bug")]
    done = asyncio.Event()

    def do_without_beat(*_: Any) -> None:
        if met:
            raise met.pop()
        done.set()

    monkeypatch.setattr(keeping, "do_without_beat", do_without_beat)
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.0)
    looking = asyncio.ensure_future(kept(Store()).look_after())
    async with asyncio.timeout(5):
        await done.wait()
    looking.cancel()
