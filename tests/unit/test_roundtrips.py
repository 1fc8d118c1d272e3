"""How far away a server is, and what becomes of one that fails or hangs."""

from __future__ import annotations

import asyncio

import pytest

from workers import metrics, roundtrips
from workers.observed import OBSERVED
from workers.roundtrips import RoundTrips

pytestmark = pytest.mark.fast


async def test_each_answer_is_timed_each_failure_counted_and_who_hangs_is_asked_no_second_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roundtrips, "WITHIN_S", 0.001)
    asked: list[str] = []

    async def answers() -> None:
        asked.append("answers")

    async def fails() -> None:
        raise OSError("away")

    async def hangs() -> None:
        asked.append("hangs")
        await asyncio.Event().wait()

    trips, before = RoundTrips({"mongodb": answers, "broker": fails, "cache_redis": hangs}), OBSERVED.read()
    await trips.once()
    await trips.once()
    new = OBSERVED.read().since(before)
    failures = metrics.DEPENDENCY_FAILURES.name
    assert new.times[metrics.DEPENDENCY_SECONDS.name, ("mongodb",)].count == 2
    assert new.counts == {(failures, ("broker",)): 2.0, (failures, ("cache_redis",)): 2.0}
    assert sorted(asked) == ["answers", "answers", "hangs"]
    task = asyncio.create_task(trips.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
