"""Starting, supervising and stopping, on small programs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from app.embedded import procinfo
from app.embedded.errors import PortTaken, StackError
from app.embedded.ports import PortClaims, PortWish
from app.embedded.probes import HttpAnswers, ReadyFile
from app.embedded.process import ProcessSpec, rotate
from app.embedded.supervisor import Supervisor
from tests.support.fake_commands import fake

pytestmark = [pytest.mark.integration, pytest.mark.stack]
PATIENCE_S = 20.0


@dataclass
class Watched:
    """A supervisor whose changes and events a test can wait for."""

    directory: Path
    changed: threading.Condition = field(default_factory=threading.Condition)
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.directory / "logs").mkdir()
        self.supervisor = Supervisor(
            self.directory / "logs", on_change=self._wake, on_event=self.events.append
        )

    def _wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def wait_for_state(self, name: str, state: str, restarts: int) -> int:
        """The pid of the process once it is in that state."""

        def found() -> int | None:
            rows = [row for row in self.supervisor.rows() if row.name == name]
            fits = rows and rows[0].state == state and rows[0].restarts == restarts
            return rows[0].pid if fits else None

        with self.changed:
            assert self.changed.wait_for(found, PATIENCE_S), self.supervisor.rows()
        return found() or 0

    def ready_spec(self, name: str, what: str = "ready") -> ProcessSpec:
        path = self.directory / f"{name}.ready"
        return ProcessSpec(name=name, argv=fake(what, str(path)), ready=ReadyFile(path), remove_first=(path,))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.supervisor.stop_all()


def test_a_process_is_up_when_it_says_so_and_gone_after_the_stop(watched: Watched) -> None:
    watched.supervisor.start(watched.ready_spec("worker-1"))
    pid = watched.wait_for_state("worker-1", "up", restarts=0)
    watched.supervisor.stop_all()
    assert procinfo.identity(pid) is None


def test_a_crashed_process_is_started_again_and_the_crash_is_told(watched: Watched) -> None:
    watched.supervisor.start(watched.ready_spec("worker-1"))
    first = watched.wait_for_state("worker-1", "up", restarts=0)
    os.kill(first, signal.SIGKILL)
    second = watched.wait_for_state("worker-1", "up", restarts=1)
    assert second != first
    assert "worker-1 ended with signal 9" in watched.events[0]


def test_a_process_that_cannot_live_is_given_up_with_its_last_words(watched: Watched) -> None:
    watched.supervisor.start(ProcessSpec("worker-1", fake("exit", "3", "no such queue")))
    watched.wait_for_state("worker-1", "given up", restarts=4)
    assert "no such queue" in watched.events[-1]
    assert "given up after 5 crashes" in watched.events[-1]


def test_a_process_that_ends_before_it_is_ready_is_an_error_with_its_last_words(watched: Watched) -> None:
    spec = ProcessSpec(
        "api", fake("exit", "2", "wrong setting"), ready=ReadyFile(watched.directory / "never")
    )
    with pytest.raises(StackError, match="api ended with exit code 2, its last words: wrong setting"):
        watched.supervisor.start(spec)
    assert watched.supervisor.rows() == ()


def test_a_process_that_is_never_ready_is_ended_and_named(watched: Watched) -> None:
    spec = ProcessSpec(
        "api",
        fake("ready", str(watched.directory / "other")),
        ready=ReadyFile(watched.directory / "never"),
        ready_limit_s=0.2,
    )
    with pytest.raises(StackError, match="api was not ready after"):
        watched.supervisor.start(spec)


def test_a_program_that_does_not_exist_is_an_error_that_names_it(watched: Watched) -> None:
    spec = ProcessSpec("api", ("/no/such/program",), ready=ReadyFile(watched.directory / "never"))
    with pytest.raises(StackError, match="/no/such/program"):
        watched.supervisor.start(spec)


def test_a_service_on_a_taken_port_is_told_from_other_failures(watched: Watched) -> None:
    port = PortClaims(watched.directory / "ports").choose(PortWish("api"))
    spec = ProcessSpec("one", fake("serve", str(port)), ready=HttpAnswers(f"http://127.0.0.1:{port}/"))
    watched.supervisor.start(spec)
    never = ReadyFile(watched.directory / "never")
    with pytest.raises(PortTaken):
        watched.supervisor.start(ProcessSpec("two", fake("serve", str(port)), ready=never))


def test_a_process_that_ignores_the_wish_to_stop_is_killed_at_its_limit(watched: Watched) -> None:
    watched.supervisor.start(replace(watched.ready_spec("worker-1", "stubborn"), stop_limit_s=0.2))
    pid = watched.wait_for_state("worker-1", "up", restarts=0)
    watched.supervisor.stop_all()
    assert procinfo.identity(pid) is None


def test_a_hurried_stop_does_not_wait_for_a_long_limit(watched: Watched) -> None:
    watched.supervisor.start(replace(watched.ready_spec("worker-1", "stubborn"), stop_limit_s=600.0))
    hurry = threading.Event()
    hurry.set()
    started_s = time.monotonic()
    watched.supervisor.stop_all(hurry)
    assert time.monotonic() - started_s < 60.0


def test_processes_are_stopped_in_order(watched: Watched) -> None:
    for name, order in (("mongod", 2), ("worker-1", 0), ("api", 1)):
        watched.supervisor.start(replace(watched.ready_spec(name), stop_order=order))
    watched.supervisor.stop_all()
    # Each fake notes its end in one common file.
    assert (watched.directory / "ended").read_text(encoding="utf-8").split() == ["worker-1", "api", "mongod"]


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel ties a process to its starter")
def test_children_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert owner.stdout is not None
    child_pid, identity = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert procinfo.wait_until_gone(int(child_pid), identity, PATIENCE_S)


OWNER = """
import pathlib, sys, threading
from app.embedded.probes import ReadyFile
from app.embedded.process import ProcessSpec
from app.embedded.supervisor import Supervisor
from tests.support.fake_commands import fake
directory = pathlib.Path(sys.argv[1])
supervisor = Supervisor(directory, on_change=lambda: None, on_event=print)
ready = directory / "ready"
supervisor.start(ProcessSpec("w", fake("ready", str(ready)), ready=ReadyFile(ready)))
row, = supervisor.rows()
print(row.pid, row.identity, flush=True)
threading.Event().wait()
"""


def test_a_log_over_its_limit_makes_room_and_one_older_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("much", encoding="utf-8")
    rotate(log, limit_bytes=100)
    assert log.exists()
    rotate(log, limit_bytes=3)
    assert not log.exists()
    assert (tmp_path / "api.log.1").read_text(encoding="utf-8") == "much"
