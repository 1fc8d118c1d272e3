"""`Stack`: servers, API, workers and the rest of one data directory, from nothing to ready and back.

The command line's `run` and `up` and daemon.py own one; everybody else goes through clients.py. The owner
holds stack.lock as long as it lives, and users.lock alone while it starts and stops, so who wants to use a
stack either finds a ready one or waits.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from app.embedded import leftovers, procinfo
from app.embedded.commands import Commands, OurCommands, Plan, Wiring
from app.embedded.errors import DirectoryInUse, StackError
from app.embedded.files import FileLock, ensure_api_key, ensure_flower_password, prepare
from app.embedded.launch import Launch
from app.embedded.ports import PortClaims, PortWish
from app.embedded.servers import Started
from app.embedded.signals import endings_heard, heeded
from app.embedded.state import Kind, Say, StackState, silent, state_path, write_state
from app.embedded.supervisor import Row, Supervisor

if TYPE_CHECKING:
    from config.settings import Settings

# The last owner of this directory may be stopping: as long as a drain takes it is worth waiting for.
_LOCK_LIMIT_S = 1.0
_DISPENSABLE = frozenset({"beat", "flower"})


class Stack:
    """One stack, started and stopped once, by one thread.

    Args:
        workers: worker processes.
        simulator: start the simulated provider; `all_models` lets it answer for every model.
        flower, beat: start them; the small profile and `flower.enabled = false` win.
        commands: what is started besides the servers; tests give small programs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        workers: int,
        simulator: bool = False,
        all_models: bool = False,
        flower: bool = True,
        beat: bool = True,
        kind: Kind = "run",
        commands: Commands | None = None,
    ) -> None:
        small = settings.profile == "small"
        wants_flower = flower and settings.flower.enabled and not small
        self._settings = settings
        self._commands: Commands = commands or OurCommands()
        self._kind: Kind = kind
        self._plan = Plan(
            data_dir=settings.data_dir,
            workers=workers,
            api=_wish(settings, "api", settings.api.port),
            api_host=settings.api.host,
            flower=_wish(settings, "flower", settings.flower.port) if wants_flower else None,
            flower_host=settings.flower.host,
            simulator=PortWish("sim") if simulator else None,
            all_models=all_models,
            beat=beat and not small,
            drain_grace_s=settings.worker.drain_grace_s,
        )
        self._owner_lock = FileLock(settings.data_dir / "stack.lock")
        self._users_lock = FileLock(settings.data_dir / "users.lock")
        self._ports = PortClaims()
        self._state: StackState | None = None
        self._say: Say = silent
        self._starting = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._supervisor: Supervisor | None = None
        # Between the supervisor's updates of the files and their removal at the stop.
        self._publishing = threading.Lock()

    @property
    def data_dir(self) -> Path:
        """Where everything of this stack lies."""
        return self._plan.data_dir

    @property
    def state(self) -> StackState:
        """Raises: StackError before `start` is done and after `stop`."""
        if self._state is None:
            raise StackError("the stack does not run")
        return self._state

    @property
    def given_up(self) -> tuple[str, ...]:
        """The processes that crashed too often, once the stack does no work any more without them."""
        rows = self.rows()
        return tuple(row.name for row in rows if row.state == "given up") if cannot_go_on(rows) else ()

    def rows(self) -> tuple[Row, ...]:
        return self._supervisor.rows() if self._supervisor is not None else ()

    def start(self, on_progress: Say = silent) -> StackState:
        """Start everything and return when it can be used; on any error nothing is left running.

        Args:
            on_progress: gets a line for each step, and later for each crash and restart.
        Raises: StackError; whatever else ends the start (Ctrl-C too) is raised after the clearing up.
        """
        data_dir = self._plan.data_dir
        self._say = on_progress
        prepare(data_dir)
        self._take_locks()
        self._starting = True
        try:
            ended = leftovers.end_leftovers(data_dir)
            if ended:
                on_progress(f"ended what an earlier stack had left running: {', '.join(ended)}")
            state_path(data_dir).unlink(missing_ok=True)
            api_key = ensure_api_key(data_dir)
            self._supervisor = Supervisor(data_dir / "logs", on_change=self._publish, on_event=self._on_event)
            launch = Launch(self._plan, self._commands, self._supervisor, self._ports, on_progress)
            started = launch.start_servers(self._settings.servers)
            given = self._settings.flower.password
            password = given.reveal() if given else ensure_flower_password(data_dir)
            wiring = replace(_wiring(started), flower_password=password)
            started |= launch.start_ours(wiring)
            with self._publishing:
                self._state = self._describe(api_key, wiring, started)
                write_state(data_dir, self._state)
            self._owner_lock.note(f"{os.getpid()} ready")
            self._users_lock.release()
            return self._state
        except BaseException:
            self._starting = False
            self._hurry.set()
            self.stop()
            raise
        finally:
            self._starting = False

    def wait_for_users(self, on_wait: Say = silent, limit_s: float = float("inf")) -> bool:
        """Wait until no other run uses this stack, then let none in; call before `stop`.

        Returns: False if some still use it after `limit_s` seconds.
        """
        if self._users_lock.acquire():
            return True
        on_wait("another run uses this stack; it stops when that one is done")
        return self._users_lock.acquire(limit_s=limit_s)

    def wait(self, limit_s: float | None = None) -> bool:
        """Sleep until a signal asks for the stop (see `stop_on_signals`) or the stack cannot go on.

        Returns: False if `limit_s` seconds passed first.
        """
        return self._wake.wait(limit_s)

    def stop_on_signals(self) -> None:
        """Let SIGINT, SIGTERM and a closing terminal end `wait` or break off `start` (KeyboardInterrupt).

        A second one hurries `stop`. Under nohup a terminal may close. Main thread only.
        """

        def on_signal(*_: object) -> None:
            if self._wake.is_set():
                self._hurry.set()
            self._wake.set()
            if self._starting:
                raise KeyboardInterrupt

        for number in heeded():
            signal.signal(number, on_signal)

    def stop(self, on_progress: Say = silent) -> None:
        """Stop everything in order; workers get their drain time. Safe to call twice.

        Ctrl-C during the stop, or another signal, shortens the patience with each process to two seconds;
        servers can still write what they hold.
        """
        news: queue.SimpleQueue[BaseException | str] = queue.SimpleQueue()

        def stop_all() -> None:
            try:
                self._stop(on_progress)
                news.put("stopped")
            except BaseException as error:  # noqa: BLE001 - raised below
                news.put(error)

        # No signal may throw us out halfway. An Event takes a lock, which a handler must not, and this queue
        # takes none: so the stop runs beside, and this thread passes on to it what the handlers say.
        with endings_heard(lambda: news.put("hurry")):
            threading.Thread(target=stop_all, name="stop", daemon=True).start()
            while (word := news.get()) == "hurry":
                self._hurry.set()
        if isinstance(word, BaseException):
            raise word

    def _stop(self, on_progress: Say) -> None:
        data_dir = self._plan.data_dir
        with self._publishing:
            supervisor, self._supervisor, self._state = self._supervisor, None, None
            if supervisor is not None:
                state_path(data_dir).unlink(missing_ok=True)
        if supervisor is not None:
            # Neither a terminal that is gone nor a data directory that somebody has deleted keeps things running.
            with contextlib.suppress(StackError, OSError, ValueError):
                self._owner_lock.note(f"{os.getpid()} stopping")
                # Whoever wants to attach now waits; with users left (a demanded stop) nobody can be kept out.
                self._users_lock.acquire()
                on_progress(f"stopping: calls under way have {self._plan.drain_grace_s:g} s to end")
            supervisor.stop_all(self._hurry)
            leftovers.list_path(data_dir).unlink(missing_ok=True)
        self._ports.release()
        self._users_lock.release()
        self._owner_lock.release()

    def _take_locks(self) -> None:
        if not self._owner_lock.acquire(limit_s=_LOCK_LIMIT_S):
            pid, _, doing = self._owner_lock.read_note().partition(" ")
            raise DirectoryInUse(
                f"the data directory {self._plan.data_dir} is in use by the stack of process {pid} ({doing})",
                "use that one, end it by `batchwright down`, or set BATCHWRIGHT_DATA_DIR to another one",
            )
        self._owner_lock.note(f"{os.getpid()} starting")
        # Clients that look whether a stack runs hold this for a moment.
        if not self._users_lock.acquire(limit_s=_LOCK_LIMIT_S):
            self._owner_lock.release()
            raise StackError(
                f"{self._users_lock.path} is held by a run of a stack that has ended", "end that run"
            )

    def _describe(self, api_key: str, wiring: Wiring, started: Mapping[str, Started]) -> StackState:
        versions = {name: server.version for name, server in started.items() if server.version}
        return StackState(
            owner_pid=os.getpid(),
            owner_identity=procinfo.identity(os.getpid()) or "",
            started_at=time.time(),
            kind=self._kind,
            api_url=started["api"].url,
            api_key=api_key,
            flower_url=self._flower_url(started["flower"].url, wiring) if "flower" in started else None,
            redis_url=wiring.redis_url,
            cache_redis_url=wiring.cache_redis_url,
            mongodb_url=wiring.mongodb_url,
            sim_url=wiring.sim_url,
            all_models=self._plan.all_models,
            pids=self._pids(),
            versions={**versions, "python": platform.python_version()},
            providers={each.name: each.base_url for each in self._settings.providers if each.kind != "sim"},
        )

    def _flower_url(self, url: str, wiring: Wiring) -> str:
        """With user and password in it, as browsers take it."""
        who = f"{quote(self._settings.flower.user, safe='')}:{quote(wiring.flower_password, safe='')}"
        return url.replace("://", f"://{who}@", 1)

    def _pids(self) -> dict[str, int]:
        return {row.name: row.pid for row in self.rows()}

    def _publish(self) -> None:
        """Bring the files others read up to date; called by the supervisor at every change."""
        with self._publishing:
            if self._supervisor is None:
                return
            leftovers.write_list(self._plan.data_dir, self._supervisor.rows())
            if self._state is not None:
                self._state = replace(self._state, pids=self._pids())
                write_state(self._plan.data_dir, self._state)

    def _on_event(self, line: str) -> None:
        self._say(line)
        if cannot_go_on(self.rows()):
            self._wake.set()


def cannot_go_on(rows: Iterable[Row]) -> bool:
    """Whether what was given up leaves a stack that does no work any more."""
    all_rows = tuple(rows)
    given_up = {row.name for row in all_rows if row.state == "given up"}
    workers = {row.name for row in all_rows if row.name.startswith("worker-")}
    return bool(given_up - workers - _DISPENSABLE) or (bool(workers) and workers <= given_up)


def _wiring(started: Mapping[str, Started]) -> Wiring:
    return Wiring(
        redis_url=started["control-redis"].url,
        cache_redis_url=started["cache-redis"].url,
        mongodb_url=started["mongod"].url,
        sim_url=started["sim"].url if "sim" in started else None,
        broker_url=started["broker"].url if "broker" in started else None,
    )


def _wish(settings: Settings, service: str, port: int) -> PortWish:
    """The usual port if it is free; a port that a person has set must be had. 0 asks for any."""
    source = settings.sources.get(f"{service}.port")
    return PortWish(service, port or None, demanded_by=source if port else None)
