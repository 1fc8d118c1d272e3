"""A stop is finished whatever comes meanwhile, and `down` finds what there is to end. No server is started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from app.embedded import clients, leftovers, procinfo
from app.embedded.errors import StackError
from app.embedded.files import FileLock, prepare
from app.embedded.stack import Stack
from app.embedded.supervisor import Row
from config.settings import load_settings

PATIENCE_S = 10.0


class InterruptedSupervisor:
    """Stands for the supervisor of a stack whose workers drain: ends when hurried, or not at all."""

    def __init__(self, interrupts: list[signal.Signals]) -> None:
        self.interrupts = interrupts
        self.hurried = self.ended = False

    def stop_all(self, hurry: threading.Event) -> None:
        for number in self.interrupts:
            os.kill(os.getpid(), number)
            self.hurried = hurry.wait(PATIENCE_S)
        # What is stopped after the hurry, the servers, takes its time too.
        threading.Event().wait(0.05)
        self.ended = True


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    prepare(tmp_path, needed_bytes=0)
    settings = load_settings({"BATCHWRIGHT_DATA_DIR": str(tmp_path)}, dotenv=Path(os.devnull))
    return Stack(settings, workers=2)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers that were, afterwards; and none that would end the tests in a test that fails."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def leave(number: int, *_: object) -> NoReturn:
    raise SystemExit(128 + number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_stop_hurries_it_and_never_leaves_it_half_done(
    stack: Stack, number: signal.Signals
) -> None:
    if number == signal.SIGTERM:
        signal.signal(signal.SIGTERM, leave)
    supervisor: Any = InterruptedSupervisor([number, number])
    stack._supervisor = supervisor
    stack.stop()
    assert supervisor.hurried
    assert supervisor.ended
    assert signal.getsignal(number) is (leave if number == signal.SIGTERM else signal.default_int_handler)


def test_a_terminal_that_is_gone_cannot_keep_the_stop_from_being_done(stack: Stack) -> None:
    supervisor: Any = InterruptedSupervisor([])
    stack._supervisor = supervisor

    def say(*_: object) -> NoReturn:
        raise OSError(5, "Input/output error")

    stack.stop(say)
    assert supervisor.ended


def test_a_data_directory_that_was_deleted_cannot_keep_it_either(stack: Stack, tmp_path: Path) -> None:
    supervisor: Any = InterruptedSupervisor([])
    stack._supervisor = supervisor
    shutil.rmtree(tmp_path)
    stack.stop()
    assert supervisor.ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stack_in_the_foreground_ends_its_wait_also_when_its_terminal_closes(
    stack: Stack, number: signal.Signals
) -> None:
    stack.stop_on_signals()
    signal.raise_signal(number)
    assert stack.wait(0.0)


def test_under_nohup_a_terminal_may_close(stack: Stack) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stack.stop_on_signals()
    signal.raise_signal(signal.SIGHUP)
    assert not stack.wait(0.0)


def test_down_says_that_a_stack_is_starting_and_never_that_none_runs(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "stack.lock")
    assert lock.acquire()
    lock.note("4711 starting")
    with pytest.raises(StackError, match=r"process 4711 .*is starting: try again in a moment"):
        clients.down(tmp_path)


def test_down_waits_for_a_stack_that_is_stopping_already(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "stack.lock")
    assert lock.acquire()
    lock.note("4711 stopping")
    with pytest.raises(StackError, match=r"4711 .*has not ended after 0 s"):
        clients.down(tmp_path, limit_s=0.0)
    threading.Timer(0.05, lock.release).start()
    assert clients.down(tmp_path, limit_s=PATIENCE_S)


def test_down_ends_what_a_killed_owner_has_left_running_and_names_it(tmp_path: Path) -> None:
    # Given the list of a stack whose owner is gone, with one process that still runs,
    prepare(tmp_path, needed_bytes=0)
    (tmp_path / "stack.lock").touch()
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    leftovers.write_list(
        tmp_path, [Row("worker-1", left.pid, procinfo.identity(left.pid) or "", "up", 0.0, 0)]
    )
    waiter = threading.Thread(target=left.wait)
    waiter.start()
    # when it is to be ended, then that process is, and it is said; the second time nothing is left.
    said: list[str] = []
    assert clients.down(tmp_path, on_progress=said.append)
    waiter.join()
    assert left.stdin is not None
    left.stdin.close()
    assert left.returncode == -signal.SIGTERM
    assert said == ["ended what a stack that died had left running: worker-1"]
    assert not clients.down(tmp_path)


def test_down_makes_nothing_where_no_stack_has_ever_run(tmp_path: Path) -> None:
    assert not clients.down(tmp_path)
    assert not clients.down(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_the_stop_says_what_it_waits_for_and_how_long_at_most(stack: Stack) -> None:
    stack._supervisor = cast("Any", InterruptedSupervisor([]))
    said: list[str] = []
    stack.stop(said.append)
    assert said == ["stopping: calls under way have 25 s to end"]


def test_ps_lists_what_a_dead_owner_has_left_and_none_of_a_stack_that_starts(tmp_path: Path) -> None:
    # Given a list with one process that lives and one that does not,
    prepare(tmp_path, needed_bytes=0)
    me = procinfo.identity(os.getpid()) or ""
    rows = [Row("worker-1", os.getpid(), me, "up", 0.0, 0), Row("api", os.getpid(), "gone", "up", 0.0, 0)]
    leftovers.write_list(tmp_path, rows)
    # when nobody holds the stack's lock, then the first is left; when somebody does, it is that one's.
    assert [(row.name, row.state) for row in clients.processes(tmp_path)] == [("worker-1", clients.LEFT)]
    lock = FileLock(tmp_path / "stack.lock")
    assert lock.acquire()
    assert clients.processes(tmp_path) == ()
    lock.release()
