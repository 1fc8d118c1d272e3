"""How a worker process stops: what it holds is given back, and whoever loses patience gets an end, not a loss."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.workers import Site, WorkerProcess, open_site, started_worker
from workers.celery_config import batch_queue

pytestmark = pytest.mark.chaos
_ITEMS = 200
_SHARDS_OF = 10
_SMALL = {"BATCHWRIGHT_SHARD_MAX_ITEMS": str(_SHARDS_OF)}
# Far less than the grace, far more than a stop needs.
_AT_ONCE_S = 8.0


@pytest.fixture
def hanging(servers: TestServers, tmp_path: Path) -> Iterator[Site]:
    """Every call takes far longer than the grace."""
    with open_site(servers, tmp_path, "--latency-ms", "60000") as opened:
        yield opened


@pytest.fixture
def quick(servers: TestServers, tmp_path: Path) -> Iterator[Site]:
    with open_site(servers, tmp_path, "--latency-ms", "100") as opened:
        yield opened


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_cuts_the_calls_and_still_gives_everything_back(
    hanging: Site, sent: signal.Signals
) -> None:
    with started_worker(hanging, "w1", **_SMALL) as worker:
        # Given a process that drains, with calls that will not end in its grace of 25 s
        batch_id = hanging.submit([chat_line(f"c{n}", f"impatient {n}") for n in range(_ITEMS)])
        eventually(
            lambda: _states(hanging, batch_id)["leased"] == 8, 20, what=lambda: _states(hanging, batch_id)
        )
        eventually(lambda: _calling(hanging, batch_id) == 8 * _SHARDS_OF, 10)
        worker.process.send_signal(sent)
        eventually(lambda: "shutdown" in worker.log_path.read_text(), 10)
        eventually(lambda: _slots(hanging) == 0, 10)
        assert worker.alive
        # When it is told again
        worker.process.send_signal(sent)
        code = worker.process.wait(timeout=_AT_ONCE_S)
        # Then it is gone within seconds, in order, and holds nothing
        _holds_nothing(hanging, batch_id)
        assert code == 0
        assert "Traceback" not in worker.log_path.read_text()
        assert _slots(hanging) == 0 and hanging.stores.db["worker_processes"].count_documents({}) == 0
        # What was announced and met the drain before it left is no call: no fewer are told of than were made.
        told = sum(doc["possibly_repeated"] for doc in hanging.shards(batch_id))
        hanging.simulator.stop()  # it logs what was under way when it ends
        assert 0 < hanging.called() <= told <= 8 * _SHARDS_OF


@pytest.mark.quick
def test_a_stop_under_load_repeats_no_call_and_leaves_no_shard_waiting(quick: Site) -> None:
    batch_id = ""
    with started_worker(quick, "w1", **_SMALL) as worker:
        batch_id = quick.submit([chat_line(f"c{n}", f"under load {n}") for n in range(_ITEMS)])
        eventually(lambda: quick.recorded(batch_id) > 0, 20)
        assert worker.terminate() == 0
        assert quick.recorded(batch_id) < _ITEMS
        assert quick.stores.db["worker_processes"].count_documents({}) == 0, "it has signed off"
    _holds_nothing(quick, batch_id)
    with started_worker(quick, "w2", **_SMALL):
        counts = quick.ended(batch_id)["counts"]
    assert (counts["completed"], counts["excess"], counts["possibly_repeated"]) == (_ITEMS, 0, 0)
    assert quick.called() == _ITEMS


def test_a_restart_of_one_process_keeps_no_other_from_working(quick: Site) -> None:
    with started_worker(quick, "stays", **_SMALL) as stays, started_worker(quick, "goes", **_SMALL) as goes:
        batch_id = quick.submit([chat_line(f"c{n}", f"restart {n}") for n in range(_ITEMS * 5)])
        eventually(lambda: _owners(quick, batch_id) == {"stays", "goes"}, 20)
        assert goes.terminate() == 0
        assert _last_gap_s(quick, stays, batch_id) < 1.0


def _last_gap_s(site: Site, worker: WorkerProcess, batch_id: str) -> float:
    """The longest time without a new result from now to the end of the batch."""
    longest_s, last, last_at = 0.0, site.recorded(batch_id), time.monotonic()

    def ends() -> bool:
        nonlocal longest_s, last, last_at
        now, recorded = time.monotonic(), site.recorded(batch_id)
        if recorded > last:
            longest_s, last, last_at = max(longest_s, now - last_at), recorded, now
        return recorded == _ITEMS * 5

    eventually(ends, 30, what=lambda: (_states(site, batch_id), worker.log_path.read_text()[-2000:]))
    return longest_s


def _holds_nothing(site: Site, batch_id: str) -> None:
    """No lease is left, and what is on its way to a worker is a message that any worker may take."""
    states = _states(site, batch_id)
    assert states["leased"] == 0
    assert states["dispatched"] == site.queue.depth(batch_queue("sim")), states


def _states(site: Site, batch_id: str) -> Counter[str]:
    return Counter(doc["status"] for doc in site.shards(batch_id))


def _owners(site: Site, batch_id: str) -> set[str]:
    leased = (doc for doc in site.shards(batch_id) if doc["status"] == "leased")
    return {doc["owner"].partition("@")[0] for doc in leased}


def _calling(site: Site, batch_id: str) -> int:
    return sum(doc["started"] for doc in site.shards(batch_id))


def _slots(site: Site) -> int:
    return sum(doc["slots"] for doc in site.stores.db["worker_processes"].find())
