"""A worker whose consumer has died, while everything else of it lives, starts again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.workers import ROOT, open_site, started_worker

pytestmark = pytest.mark.chaos
# Python loads a module of this name at its start: kombu's connection goes deaf once there is a file.
_DEAF = """
import pathlib, time
from kombu.transport.redis import MultiChannelPoller

hears = MultiChannelPoller.on_readable

def on_readable(self, fileno):
    if pathlib.Path({switch!r}).exists():
        time.sleep(0.05)
    else:
        return hears(self, fileno)

MultiChannelPoller.on_readable = on_readable
"""


@pytest.mark.quick
@pytest.mark.fault("11", "a consumer that hangs after its broker was away")
def test_a_process_that_hears_nothing_any_more_ends_so_that_it_is_started_again(
    servers: TestServers, tmp_path: Path
) -> None:
    switch, early = tmp_path / "deaf", tmp_path / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text(_DEAF.format(switch=str(switch)))
    path = os.pathsep.join([str(early), str(ROOT)])
    with open_site(servers, tmp_path) as site:
        with started_worker(site, "w1", PYTHONPATH=path, BATCHWRIGHT_WORKER_WATCHDOG_S="1") as worker:
            # Given a process that has worked, and whose consumer then falls silent
            first = site.submit([chat_line("c1", "heard")])
            assert site.ended(first)["counts"]["completed"] == 1
            switch.touch()
            # When a message waits for it
            second = site.submit([chat_line("c2", "not heard")])
            # Then it ends, with a code that has it started again, and says why
            assert worker.process.wait(timeout=20) == 70
            assert "messages have waited 1 s in plan" in worker.log_path.read_text()
            eventually(lambda: not site.stores.db["worker_processes"].count_documents({}), 5)
        switch.unlink()
        with started_worker(site, "w1", PYTHONPATH=path, BATCHWRIGHT_WORKER_WATCHDOG_S="1"):
            assert site.ended(second)["counts"]["completed"] == 1
