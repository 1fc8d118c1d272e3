"""Seats and vital signs of worker processes, on a real MongoDB."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.batches import Stores
from workers.core.progress_running import Seat
from workers.store.mongo import EPOCH
from workers.store.worker_processes import WorkerProcesses


def seats(processes: WorkerProcesses) -> dict[str, object]:
    """What each living seat carries."""
    return {beat.seat: beat.stats for beat in processes.beats() if beat.alive}


def beat(processes: WorkerProcesses, owner: str, note: str) -> None:
    processes.beat(owner, providers=["sim"], slots=1, stats={"note": note, "odd": ["$a.b", 1]})


def silence(stores: Stores, owner: str) -> None:
    stores.db["worker_processes"].update_one({"owner": owner}, {"$set": {"seen_at": EPOCH}})


def test_a_process_sits_under_its_own_name_and_one_with_a_machines_name_under_the_lowest_free_number(
    stores: Stores,
) -> None:
    processes = WorkerProcesses(stores.db)
    beat(processes, "worker-2@here:7", "own name")
    for host in ("c0ffee", "decade"):
        beat(processes, f"worker-{host}@{host}:1", host)
    notes = {seat: stats["note"] for seat, stats in seats(processes).items() if isinstance(stats, dict)}
    assert notes == {"worker-1": "c0ffee", "worker-2": "own name", "worker-3": "decade"}


def test_the_next_beat_replaces_the_signs_and_keeps_the_seat(stores: Stores) -> None:
    processes = WorkerProcesses(stores.db)
    beat(processes, "worker-1@here:7", "first")
    beat(processes, "worker-1@here:7", "second")
    assert seats(processes) == {"worker-1": {"note": "second", "odd": ["$a.b", 1]}}
    assert processes.slots() == {"sim": 1}


def test_processes_that_come_at_once_share_no_seat(stores: Stores) -> None:
    processes, together = WorkerProcesses(stores.db), threading.Barrier(6)

    def come(number: int) -> None:
        together.wait()
        beat(processes, f"worker@machine{number}:1", str(number))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(come, range(6)))
    assert list(seats(processes)) == [f"worker-{number}" for number in range(1, 7)]


def test_a_restarted_process_takes_its_seat_back_at_once_and_another_machines_only_when_it_is_silent(
    stores: Stores,
) -> None:
    processes = WorkerProcesses(stores.db)
    beat(processes, "worker-1@here:7", "before")
    beat(processes, "worker-1@here:8", "restarted")
    beat(processes, "worker-1@there:9", "another machine")
    assert list(seats(processes)) == ["worker-1", "worker-2"] and processes.count() == 2
    silence(stores, "worker-1@here:8")
    beat(processes, "worker-5f@there:4", "new")
    assert list(seats(processes)) == ["worker-1", "worker-2"]


def test_two_stacks_of_one_machine_do_not_take_a_seat_from_one_another_for_ever(stores: Stores) -> None:
    one, other = WorkerProcesses(stores.db), WorkerProcesses(stores.db)
    for _ in range(2):
        beat(one, "worker-1@here:7", "one")
        beat(other, "worker-1@here:8", "other")
    assert {seat: stats["note"] for seat, stats in seats(one).items() if isinstance(stats, dict)} == {
        "worker-1": "other",
        "worker-2": "one",
    }


def test_a_silent_process_is_told_from_a_living_one_until_it_is_forgotten(stores: Stores) -> None:
    processes = WorkerProcesses(stores.db)
    beat(processes, "worker-1@here:7", "living")
    beat(processes, "worker-2@here:8", "silent")
    silence(stores, "worker-2@here:8")
    living, silent = processes.beats()
    assert (living.seat, living.alive, silent.seat, silent.alive) == ("worker-1", True, "worker-2", False)
    assert 0 <= living.age_s < 5 and silent.age_s > 10
    assert processes.forget_dead() == 1
    assert [each.seat for each in processes.beats()] == ["worker-1"]


def test_living_processes_tell_their_calls_by_owner_and_silent_ones_when_they_were_last_seen(
    stores: Stores,
) -> None:
    processes = WorkerProcesses(stores.db)
    signs = {"providers": [["sim", {"slots_in_use": 3, "slots": 8}]]}
    processes.beat("worker-1@here:7", providers=["sim"], slots=1, stats=signs)
    beat(processes, "worker-2@there:8", "signs of another form")
    processes.beat("worker-3@there:9", providers=["sim"], slots=1, stats={"providers": ["odd"]})
    processes.beat("worker-4@there:10", providers=["other"], slots=1)
    silence(stores, "worker-4@there:10")
    assert processes.seats() == {
        "worker-1@here:7": Seat("worker-1", {"sim": 3}),
        "worker-2@there:8": Seat("worker-2"),
        "worker-3@there:9": Seat("worker-3"),
    }
    assert processes.last_seen() == {"other": EPOCH}
