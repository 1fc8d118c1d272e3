"""However many ask at once, a running batch is summed once a second; and what our own fields say."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from app.api.counts import Counts, extension
from app.api.services import Services
from config.settings import Settings
from workers.core.tally import Sums, Tally

pytestmark = pytest.mark.fast
RUNNING: dict[str, Any] = {
    "_id": "batch_1",
    "status": "in_progress",
    "in_progress_at": 1.0,
    "endpoint": "/v1/embeddings",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "created_at": 0.0,
    "total": 7,
}


NOT_NEEDED = {
    each.name: None
    for each in dataclasses.fields(Services)
    if each.init and each.default is each.default_factory is dataclasses.MISSING
}


class CountedShards:
    """Shards whose sums are counted."""

    def __init__(self) -> None:
        self.sums = 0

    def summed(self, batch_id: str) -> Sums:
        self.sums += 1
        return Sums({"acme": Tally(recorded=3, completed=3, calls=4, excess=1, cost_usd=0.25)}, 2)


async def test_twenty_readers_at_once_make_one_sum() -> None:
    shards = CountedShards()
    saved: list[Any] = []
    batches = SimpleNamespace(save_counts=lambda batch_id, counts: saved.append((batch_id, counts)))
    with ThreadPoolExecutor(4) as pool:
        fields: dict[str, Any] = {"settings": Settings(), "shards": shards, "batches": batches, "pool": pool}
        counts = Counts(Services(**(NOT_NEEDED | fields)))  # only what a sum needs
        shown = await asyncio.gather(*(counts.shown(RUNNING) for _ in range(20)))
    assert shards.sums == len(saved) == 1
    assert {each["request_counts"]["completed"] for each in shown} == {3}
    assert shown[0]["batchwright"]["excess_calls"] == 3
    assert shown[0]["batchwright"]["by_provider"]["acme"]["cost_usd"] == 0.25


async def test_who_saw_the_end_is_not_given_the_sum_of_one_who_came_before_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class SlowShards(CountedShards):
        def summed(self, batch_id: str) -> Sums:
            begun.set()
            go_on.wait(5.0)
            return super().summed(batch_id)

    batches = SimpleNamespace(save_counts=lambda batch_id, counts: None)
    with ThreadPoolExecutor(4) as pool:
        fields: dict[str, Any] = {"settings": Settings(), "shards": SlowShards(), "batches": batches}
        counts = Counts(Services(**(NOT_NEEDED | fields | {"pool": pool})))
        early = asyncio.ensure_future(counts.shown(RUNNING))
        await asyncio.to_thread(begun.wait, 5.0)
        final = Tally(recorded=7, completed=7).as_dict()
        late = await counts.shown({**RUNNING, "status": "completed", "counts": final})
        go_on.set()
        await early
    assert late["request_counts"]["completed"] == 7


def test_excess_is_what_is_known_and_what_was_lost_in_flight() -> None:
    counts = {**Tally(recorded=1, calls=5, excess=1).as_dict(), "possibly_repeated": 4}
    assert extension({"total": 9}, counts, simulated=False)["excess_calls"] == 5


def test_a_paused_batch_says_so() -> None:
    resting = {"paused_at": 12.0, "ending": None, "status": "in_progress"}
    assert extension(resting, {}, simulated=True)["paused"] is True


def test_a_batch_that_ended_after_a_pause_does_not_rest() -> None:
    ended = {"paused_at": 12.0, "ending": "done", "status": "completed"}
    assert extension(ended, {}, simulated=True)["paused"] is False


async def test_a_batch_looked_at_before_its_first_answer_is_simulated_all_the_same_at_its_end() -> None:
    nothing_yet = SimpleNamespace(summed=lambda _: Sums({}, 0))
    batches = SimpleNamespace(save_counts=lambda *_: None)
    with ThreadPoolExecutor(1) as pool:
        fields: dict[str, Any] = {
            "settings": Settings(),
            "shards": nothing_yet,
            "batches": batches,
            "pool": pool,
        }
        counts = Counts(Services(**(NOT_NEEDED | fields)))
        assert not (await counts.shown(RUNNING))["batchwright"]["simulated"]
        final = Sums({"sim": Tally(recorded=7, completed=7)}, 0)
        ended = RUNNING | {"status": "completed", "counts": final.as_dict(final.total)}
        assert (await counts.shown(ended))["batchwright"]["simulated"]
