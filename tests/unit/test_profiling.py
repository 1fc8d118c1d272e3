"""Who used the CPU is charged for it, and who waited is not."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from app.bench.profile import NATIVE, added, by_function, by_part, read_stacks, steps
from tests.support.eventually import eventually
from workers.core.histogram import Histogram
from workers.observed import Readings
from workers.profiling import Sampler, stack_of

pytestmark = pytest.mark.fast


def burn(until: threading.Event) -> None:
    while not until.is_set():
        sum(range(1000))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="CPU time by thread is read as Linux shows it"
)
def test_a_thread_that_works_is_charged_and_one_that_waits_is_not(tmp_path: Path) -> None:
    # Given a thread that works and one that waits for the end of it
    ended, file = threading.Event(), tmp_path / "stacks"
    sampler = Sampler(file)
    threads = [threading.Thread(target=burn, args=(ended,)), threading.Thread(target=ended.wait)]
    for thread in threads:
        thread.start()

    # When the sampler looks at them
    def charged() -> bool:
        sampler._look(threading.get_ident())
        sampler.write()
        used = read_stacks(file.read_text())
        return sum(us for stack, us in used.items() if burn.__qualname__ in stack) > 5_000

    try:
        eventually(charged, 10.0)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    # Then the one that waited has used next to nothing
    used = read_stacks(file.read_text())
    waiting = sum(us for stack, us in used.items() if "Event.wait" in stack)
    assert waiting < used["(process)"] / 10
    assert used["(process)"] <= time.process_time() * 1e6


def test_a_stack_reads_from_the_outermost_to_the_innermost() -> None:
    def inner() -> str:
        return stack_of(sys._getframe(), "any")

    *_, outer, last = inner().split(";")
    assert last.endswith("inner") and outer.endswith("outermost_to_the_innermost")


def test_a_batch_is_the_difference_of_two_readings_and_the_rest_of_the_process_has_a_name() -> None:
    before = {"(process)": 100, "a:x;b:y": 40}
    after = {"(process)": 400, "a:x;b:y": 140, "a:x": 50}
    assert added(after, before) == {"a:x;b:y": 100, "a:x": 50, NATIVE: 150}


def test_a_function_is_charged_alone_and_with_what_it_called_once_however_deep_it_calls_itself() -> None:
    used = {"a:x;a:x;b:y": 100, "a:x": 50}
    rows = {row.name: (row.own_us, row.all_us) for row in by_function(used, items=10)}
    assert rows == {"a:x": (5.0, 15.0), "b:y": (10.0, 10.0)}
    parts = {
        row.name: row.own_us for row in by_part({"workers.engine.feeder:go;redis.client:get": 30}, items=10)
    }
    assert parts == {"redis": 3.0, "workers.engine": 0.0}


def test_steps_come_by_what_they_cost_an_item() -> None:
    short, long = Histogram(), Histogram()
    short.add(0.001, times=100)
    long.add(0.5)
    found = steps(
        Readings(times={("s", ()): short, ("l", ("sim",)): long, ("none", ()): Histogram()}), items=100
    )
    assert [(step.name, step.labels, step.times) for step in found] == [("l", ("sim",), 1), ("s", (), 100)]
    assert found[0].item_us == pytest.approx(5000) and found[1].each_ms == pytest.approx(1)
