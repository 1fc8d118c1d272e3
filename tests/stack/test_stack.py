"""The life of a stack: small programs stand for ours, the servers are real. What a kill does: chaos/test_stack.py."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.embedded import clients, detach, leftovers, procinfo
from app.embedded.detach import DetachedOptions
from app.embedded.errors import StackError
from app.embedded.files import FileLock, read_json
from app.embedded.joining import attach_or_start
from app.embedded.ports import PortClaims, PortWish
from app.embedded.stack import Stack, cannot_go_on
from app.embedded.state import read_state, state_path
from app.embedded.supervisor import Row
from config.settings import load_settings
from tests.support.fake_commands import FakeCommands
from tests.support.owned_stack import PATIENCE_S, all_gone, owner
from tests.support.servers import TestServers

__all__ = ["owner"]

pytestmark = [pytest.mark.integration, pytest.mark.stack]
NewStack = Callable[..., Stack]


@pytest.fixture
def new_stack(tmp_path: Path, servers: TestServers) -> Iterator[NewStack]:
    """Make stacks on `tmp_path` that use the session's servers; whatever still runs is stopped at the end."""
    made: list[Stack] = []

    def make(
        *,
        commands: FakeCommands | None = None,
        environ: dict[str, str] | None = None,
        simulator: bool = False,
        monitors: bool = False,
    ) -> Stack:
        told = {"BATCHWRIGHT_DATA_DIR": str(tmp_path), **servers.environ(), **(environ or {})}
        stack = Stack(
            load_settings(told, dotenv=Path(os.devnull)),
            workers=2,
            simulator=simulator,
            all_models=simulator,
            flower=monitors,
            beat=monitors,
            commands=commands or FakeCommands(),
        )
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.stop()


def identities(stack: Stack) -> dict[str, tuple[int, str]]:
    return {row.name: (row.pid, row.identity) for row in stack.rows()}


def test_a_stack_tells_where_it_is_and_takes_everything_with_it(
    new_stack: NewStack, tmp_path: Path, servers: TestServers
) -> None:
    # When a stack with all its parts is started,
    stack = new_stack(simulator=True, monitors=True)
    said: list[str] = []
    state = stack.start(said.append)
    # then everybody can read where it is, and only its user can.
    assert read_state(tmp_path) == stack.state
    assert state_path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert state.redis_url == servers.redis_url
    assert state.owner_pid == os.getpid()
    assert set(state.pids) == {"sim", "api", "worker-1", "worker-2", "beat", "flower"}
    assert {"api is ready", "worker-1 is ready"} <= set(said)
    told = read_json(tmp_path / "run" / "worker-1.env") or {}
    assert told["BATCHWRIGHT_SIMULATOR_URL"] == state.sim_url
    assert told["BATCHWRIGHT_SIMULATOR_ALL_MODELS"] == "true"
    assert told["BATCHWRIGHT_MONGODB_URL"] == servers.mongodb_url
    # Then `ps` shows each of them with its memory.
    rows = {row.name: row for row in clients.processes(tmp_path)}
    assert set(rows) == {"stack", *state.pids}
    assert all(row.rss_bytes > 1_000_000 for row in rows.values())
    # When it is stopped, then nothing runs and no file says otherwise.
    known = identities(stack)
    stack.stop()
    assert not any(procinfo.is_same(pid, identity) for pid, identity in known.values())
    assert read_state(tmp_path) is None
    assert not state_path(tmp_path).exists()


def test_two_stacks_never_share_a_data_directory(new_stack: NewStack) -> None:
    new_stack().start()
    with pytest.raises(StackError, match=rf"is in use by the stack of process {os.getpid()} \(ready\)"):
        new_stack().start()


def test_a_crashed_worker_comes_back_and_the_state_names_the_new_process(
    new_stack: NewStack, tmp_path: Path
) -> None:
    stack = new_stack()
    crashed = threading.Event()
    first = stack.start(lambda line: crashed.set() if "signal 9" in line else None).pids["worker-1"]
    with pytest.MonkeyPatch.context() as patch:
        replaced = threading.Event()
        publish = stack._publish

        def notice() -> None:
            publish()
            known = read_state(tmp_path)
            if known is not None and known.pids["worker-1"] != first:
                replaced.set()

        patch.setattr(stack._supervisor, "_on_change", notice)
        os.kill(first, signal.SIGKILL)
        assert crashed.wait(PATIENCE_S)
        assert replaced.wait(PATIENCE_S)


def test_a_worker_that_cannot_start_fails_the_start_and_leaves_nothing(
    new_stack: NewStack, tmp_path: Path
) -> None:
    stack = new_stack(commands=FakeCommands(worker_arguments=("exit", "1", "no module named workers")))
    with pytest.raises(StackError, match=r"worker-\d ended with exit code 1, .*no module named workers"):
        stack.start()
    assert not any(procinfo.is_same(row.pid, row.identity) for row in leftovers.read_list(tmp_path))
    assert FileLock(tmp_path / "stack.lock").acquire()


def test_a_port_a_person_has_set_and_that_is_taken_is_an_error(new_stack: NewStack, tmp_path: Path) -> None:
    port = PortClaims(tmp_path / "ports").choose(PortWish("other"))
    first = new_stack(
        environ={"BATCHWRIGHT_API_PORT": str(port), "BATCHWRIGHT_DATA_DIR": str(tmp_path / "a")}
    )
    assert first.start().api_url == f"http://127.0.0.1:{port}"
    second = new_stack(
        environ={"BATCHWRIGHT_API_PORT": str(port), "BATCHWRIGHT_DATA_DIR": str(tmp_path / "b")}
    )
    with pytest.raises(StackError, match=rf"port {port} for api is taken .*BATCHWRIGHT_API_PORT"):
        second.start()


def test_a_named_server_that_does_not_answer_is_named_without_its_password(new_stack: NewStack) -> None:
    stack = new_stack(environ={"BATCHWRIGHT_REDIS_URL": "redis://:secret@127.0.0.1:1/0"})
    with pytest.raises(StackError, match=r"control-redis does not answer at redis://127.0.0.1:1/0") as caught:
        stack.start()
    assert "secret" not in str(caught.value)


def test_a_client_uses_a_running_stack_and_its_owner_waits_for_it(
    new_stack: NewStack, tmp_path: Path
) -> None:
    assert clients.attach(tmp_path) is None
    stack = new_stack()
    state = stack.start()
    with clients.attach(tmp_path) or pytest.fail("no stack") as attached:
        assert attached.state == state
        assert not stack.wait_for_users(limit_s=0.0)
    assert stack.wait_for_users(limit_s=PATIENCE_S)
    # From here on nobody is let in; who asks waits until it is clear what comes.
    with pytest.raises(StackError, match="neither ready nor gone"):
        clients.attach(tmp_path, limit_s=0.0)
    stack.stop()
    assert clients.attach(tmp_path) is None


def test_of_two_runs_at_the_same_moment_one_owns_the_stack_and_the_other_uses_it(
    new_stack: NewStack, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(attach_or_start, tmp_path, new_stack) for _ in range(2)]
        results = [future.result(PATIENCE_S) for future in futures]
    owners = [result for result in results if isinstance(result, Stack)]
    users = [result for result in results if isinstance(result, clients.Attached)]
    assert len(owners) == len(users) == 1
    assert users[0].state == owners[0].state
    users[0].release()


def test_a_stack_goes_on_without_one_worker_but_not_without_any() -> None:
    rows = [Row(name, 1, "", "up", 0.0, 0) for name in ("mongod", "worker-1", "worker-2", "beat", "flower")]

    def after_loss_of(*names: str) -> bool:
        return cannot_go_on([replace(row, state="given up") if row.name in names else row for row in rows])

    assert not after_loss_of()
    assert not after_loss_of("worker-1", "beat", "flower")
    assert after_loss_of("worker-1", "worker-2")
    assert after_loss_of("mongod")


def test_the_small_profile_runs_without_flower_and_beat(new_stack: NewStack) -> None:
    stack = new_stack(environ={"BATCHWRIGHT_PROFILE": "small"}, monitors=True)
    assert set(stack.start().pids) == {"api", "worker-1", "worker-2"}


def test_down_ends_a_stack_with_its_servers(owner: "subprocess.Popen[str]", tmp_path: Path) -> None:
    state, rows = read_state(tmp_path), leftovers.read_list(tmp_path)
    assert state is not None
    assert {"mongod", "control-redis", "cache-redis"} <= set(state.pids)
    # The owner is our child here: it is gone for others only once we have waited for it.
    waiter = threading.Thread(target=owner.wait)
    waiter.start()
    assert clients.down(tmp_path, limit_s=PATIENCE_S)
    waiter.join()
    assert owner.returncode == 0
    assert all_gone(state, rows)
    assert not clients.down(tmp_path)


def test_a_dead_owners_processes_are_ended_at_the_next_start(tmp_path: Path, new_stack: NewStack) -> None:
    # Given a process on the list of a stack that is gone, as it is where no kernel ends it,
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    (tmp_path / "run").mkdir()
    row = Row("worker-1", left.pid, procinfo.identity(left.pid) or "", "up", 0.0, 0)
    stranger = Row("api", os.getpid(), "another process that had our pid", "up", 0.0, 0)
    leftovers.write_list(tmp_path, [row, stranger])
    waiter = threading.Thread(target=left.wait)
    waiter.start()
    # when a stack is started, then it ends that one, and nobody who only has the pid of another.
    said: list[str] = []
    new_stack().start(said.append)
    waiter.join()
    assert left.stdin is not None
    left.stdin.close()
    assert left.returncode == -signal.SIGTERM
    assert "ended what an earlier stack had left running: worker-1" in said


def test_a_detached_start_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a port that a person has set and another program has taken,
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for name, value in {**servers.environ(), "BATCHWRIGHT_API_PORT": str(port)}.items():
            monkeypatch.setenv(name, value)
        # when a stack is started in the background, then the reason arrives here.
        with pytest.raises(StackError, match=f"port {port} for api is taken"):
            detach.spawn_detached(tmp_path, DetachedOptions(workers=1))
    assert read_state(tmp_path) is None
    assert FileLock(tmp_path / "stack.lock").acquire(limit_s=PATIENCE_S)


def test_a_detached_stack_tells_its_progress_and_runs_until_it_is_ended(
    tmp_path: Path, servers: TestServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given that the daemon, a Python of its own, finds the fakes in place of our commands,
    (tmp_path / "sitecustomize.py").write_text(USE_FAKES, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, value in {**servers.environ(), "BATCHWRIGHT_API_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    monkeypatch.setenv("BATCHWRIGHT_FLOWER_ENABLED", "false")
    options = DetachedOptions(workers=1, simulator=True)
    # when it is started in the background, then it is ready when that returns,
    state = detach.spawn_detached(tmp_path, options, said.append)
    try:
        assert read_state(tmp_path) == state
        assert state.kind == "up"
        assert {"sim is ready", "api is ready", "worker-1 is ready", "beat is ready"} <= set(said)
        assert (read_json(tmp_path / "run" / "worker-1.env") or {})["BATCHWRIGHT_WORKER_PROCESSES"] == "1"
    finally:
        # and it runs until it is ended. (It is our child, so it is gone only once we have waited for it.)
        waiter = threading.Thread(target=os.waitpid, args=(state.owner_pid, 0))
        waiter.start()
        assert clients.down(tmp_path, limit_s=PATIENCE_S)
        waiter.join()
    assert "stopped" in (tmp_path / "logs" / "stack.log").read_text(encoding="utf-8")
    assert not state_path(tmp_path).exists()


USE_FAKES = """
import app.embedded.stack
from tests.support.fake_commands import FakeCommands
app.embedded.stack.OurCommands = FakeCommands
"""
