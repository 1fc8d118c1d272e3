"""Workers that vanish or are stopped in the middle of a batch: nothing is lost, and what is paid twice is said so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.workers import Site, WorkerProcess, started_worker

pytestmark = pytest.mark.integration
CALL_SLOTS = 32
SETTINGS = {
    "BATCHWRIGHT_LEASE_S": "2",
    "BATCHWRIGHT_SHARD_MAX_ITEMS": "50",
    "BATCHWRIGHT_WORKER_PROCESSES": "1",
    "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": str(CALL_SLOTS),
}


class Crew:
    """Workers of this module, one alive at a time; the survivor of one test serves the next."""

    def __init__(self, site: Site, stack: ExitStack) -> None:
        self._site, self._stack = site, stack
        self._hired: list[WorkerProcess] = []

    def one(self) -> WorkerProcess:
        """The worker that lives, or a new one."""
        alive = [worker for worker in self._hired if worker.alive]
        return alive[0] if alive else self.hire()

    def hire(self) -> WorkerProcess:
        name = f"w{len(self._hired) + 1}"
        worker = self._stack.enter_context(started_worker(self._site, name, **SETTINGS))
        self._hired.append(worker)
        return worker


@pytest.fixture(scope="module")
def crew(site: Site) -> Iterator[Crew]:
    with ExitStack() as stack:
        yield Crew(site, stack)


def prompts(name: str, count: int) -> list[bytes]:
    """Distinct questions that take long enough for calls to be under way at any moment."""
    return [chat_line(f"c{n}", f"{name} {n} [[sim:latency-ms=150]]") for n in range(count)]


def test_after_a_kill_every_item_is_recorded_once_and_excess_is_counted_and_bounded(
    site: Site, crew: Crew
) -> None:
    # given a worker with calls under way, and answers that came but are not recorded yet
    first = crew.one()
    batch_id = site.submit(prompts("kill", 300))
    eventually(lambda: site.called() >= 80, 20.0)
    # when it is killed and another one started
    first.kill()
    # It would count as alive for fifteen seconds more, and work would be sent to it.
    site.stores.db["worker_processes"].delete_many({})
    recorded_by_first = site.recorded(batch_id)
    answered_to_first = site.called()
    crew.hire()
    batch = site.ended(batch_id)
    # then
    results = site.results(batch_id)
    assert [doc["custom_id"] for doc in results] == [f"c{n}" for n in range(300)]
    assert all(doc["ok"] for doc in results)
    assert batch["status"] == "completed" and batch["counts"]["completed"] == 300
    excess = site.called() - 300
    in_flight = CALL_SLOTS + answered_to_first - recorded_by_first
    assert 0 <= excess <= batch["counts"]["possibly_repeated"] <= in_flight
    per_prompt = Counter(call["prompt_hash"] for call in site.simulator.calls())
    assert len(per_prompt) == 300 and max(per_prompt.values()) <= 2
    assert {shard["status"] for shard in site.shards(batch_id)} == {"done"}


def test_a_stop_under_load_pays_nothing_twice_and_leaves_no_lease(site: Site, crew: Crew) -> None:
    worker = crew.one()
    before = site.called()
    batch_id = site.submit(prompts("stop", 300))
    eventually(lambda: site.called() - before >= 60, 20.0)
    assert worker.terminate() == 0
    called = site.called() - before
    assert 60 <= called < 300
    assert site.recorded(batch_id) == called, "what was paid is recorded"
    shards = site.shards(batch_id)
    assert {shard["status"] for shard in shards} <= {"queued", "done"}, "nor is one sent to nobody"
    assert sum(shard["possibly_repeated"] + shard["started"] for shard in shards) == 0
    alive = site.stores.db["worker_processes"].distinct("owner")
    assert not [name for name in alive if f":{worker.process.pid}" in name], "it has signed off"


def test_what_a_stopped_worker_gave_back_is_finished_by_the_next_without_a_call_too_many(
    site: Site, crew: Crew
) -> None:
    (left,) = site.stores.db["batch_jobs"].find({"status": "in_progress"}, {"_id": 1})
    crew.hire()
    batch = site.ended(left["_id"])
    assert batch["counts"]["completed"] == 300
    assert batch["counts"]["possibly_repeated"] == batch["counts"]["excess"] == 0
    per_prompt = Counter(call["prompt_hash"] for call in site.simulator.calls())
    # The kill before may have doubled some of its own prompts; this batch has doubled none.
    last_300 = [call["prompt_hash"] for call in site.simulator.calls()[-300:]]
    assert len(set(last_300)) == 300 and len(per_prompt) == 600
