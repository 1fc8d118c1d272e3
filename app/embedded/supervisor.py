"""Start processes and wait until they can be used; start again what crashes; stop all in order.

stack.py composes with it. One thread, `_supervise`, lives as long as any child: it starts every child (the
kernel ties a leashed child to the thread that forked it) and alone follows their states, until `stop_all`
ends that. A second small thread per child waits for its end, so a crash is known at once and nothing polls.
"""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.embedded.diagnose import last_words
from app.embedded.errors import StackError
from app.embedded.process import Child, ProcessSpec
from app.embedded.restarts import RestartIn, after_crash

logger = logging.getLogger(__name__)

State = Literal["starting", "up", "waiting to restart", "given up", "stopping", "ended"]
_PROBE_INTERVAL_S = 0.02
_HURRIED_LIMIT_S = 2.0


@dataclass
class _Kept:
    """What is known about one named process, over all its starts."""

    child: Child
    state: State = "starting"
    restarts: int = 0
    crash_times_s: deque[float] = field(default_factory=lambda: deque(maxlen=16))
    restart_at_s: float | None = None


@dataclass(frozen=True)
class Row:
    """One process as `ps` and stack.json show it."""

    name: str
    pid: int
    identity: str
    state: State
    started_at: float
    restarts: int


class Supervisor:
    """Owns child processes from start to end.

    Args:
        on_change: called, on the supervising thread, whenever a pid or a state has changed.
        on_event: called with one line a person should see: a crash, a restart, a process given up.
    """

    def __init__(
        self,
        log_dir: Path,
        *,
        on_change: Callable[[], None],
        on_event: Callable[[str], None],
    ) -> None:
        self._log_dir = log_dir
        self._on_change = on_change
        self._on_event = on_event
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._nothing_left = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, spec: ProcessSpec, cancel: threading.Event | None = None) -> None:
        """Start one process and return when it is ready.

        Raises: StackError saying why it ended, or that it did not get ready in time (it is then killed).
        """
        future: Future[Child] = Future()
        with self._lock:
            if self._stopping.is_set():
                raise StackError(f"{spec.name} is not started, the stack is stopping")
            self._work.put(lambda: self._first_start(spec, future))
        child = future.result()
        try:
            self._await_ready(child, cancel)
        except BaseException:
            self._forget(spec.name)
            child.kill()
            child.exited.wait(_HURRIED_LIMIT_S)
            raise
        self._work.put(lambda: self._mark_up(spec.name, child))

    def start_all(self, starts: Iterable[Callable[[threading.Event], None]]) -> None:
        """Do several starts at once; each is called with the event that tells it to give up.

        Raises: the first error; the other starts are then cancelled.
        """
        cancel = threading.Event()
        tasks = list(starts)
        with ThreadPoolExecutor(max_workers=max(1, len(tasks)), thread_name_prefix="start") as pool:
            try:
                futures = [pool.submit(task, cancel) for task in tasks]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                cancel.set()

    def rows(self) -> tuple[Row, ...]:
        with self._lock:
            return tuple(_row(kept) for kept in self._kept.values())

    def stop_all(self, hurry: threading.Event | None = None) -> None:
        """Stop everything, by `stop_order`, each order together; returns when nothing runs any more.

        Args:
            hurry: once set, a process gets two seconds instead of its own limit.
        """
        settled = threading.Event()
        with self._lock:
            self._stopping.set()
            if not self._thread.is_alive():
                return
            # Behind every start that is already asked for: after this no child can appear.
            self._work.put(settled.set)
        settled.wait()
        with self._lock:
            running = [kept for kept in self._kept.values() if not kept.child.exited.is_set()]
        for order in sorted({kept.child.spec.stop_order for kept in running}):
            together = [kept for kept in running if kept.child.spec.stop_order == order]
            for kept in together:
                kept.state = "stopping"
                kept.child.ask_to_stop()
            self._notify_change()
            _end([kept.child for kept in together], hurry or threading.Event())
            for kept in together:
                kept.state = "ended"
        self._notify_change()
        self._work.put(self._nothing_left.set)
        self._thread.join()

    def _await_ready(self, child: Child, cancel: threading.Event | None) -> None:
        spec = child.spec
        deadline = time.monotonic() + spec.ready_limit_s
        while spec.ready is not None:
            # The wait is for the end of the process; a server has no signal for "ready" but its answers.
            if child.exited.wait(_PROBE_INTERVAL_S):
                raise child.why_it_ended()
            if self._stopping.is_set() or (cancel is not None and cancel.is_set()):
                raise StackError(f"the start of {spec.name} was broken off")
            if spec.ready():
                break
            if time.monotonic() >= deadline:
                raise _not_ready(child)
        if child.exited.is_set():
            raise child.why_it_ended()

    # What follows runs on the supervising thread.

    def _supervise(self) -> None:
        while not self._nothing_left.is_set():
            try:
                job = self._work.get(timeout=self._next_restart_in_s())
            except queue.Empty:
                job = self._restart_due
            try:
                job()
            except Exception:  # logged with its traceback
                # This thread holds the leash of every child: it must outlive any mistake in a callback.
                logger.exception("supervisor")

    def _first_start(self, spec: ProcessSpec, future: Future[Child]) -> None:
        try:
            child = self._spawn(spec)
        except Exception as error:  # noqa: BLE001 - raised where the future is read
            future.set_exception(error)
            return
        with self._lock:
            self._kept[spec.name] = _Kept(child)
        future.set_result(child)
        self._notify_change()

    def _spawn(self, spec: ProcessSpec) -> Child:
        child = Child(spec, self._log_dir)

        def watch() -> None:
            child.wait()
            self._work.put(lambda: self._ended(child))

        threading.Thread(target=watch, name=f"watch-{spec.name}", daemon=True).start()
        return child

    def _mark_up(self, name: str, child: Child) -> None:
        kept = self._kept.get(name)
        if kept is None or kept.child is not child:
            return
        kept.state = "up"
        self._notify_change()
        if child.exited.is_set():
            self._ended(child)

    def _ended(self, child: Child) -> None:
        name = child.spec.name
        kept = self._kept.get(name)
        # While it starts, `start` itself reports the end; a start taken back is nobody's any more.
        if kept is None or kept.child is not child or kept.state != "up" or self._stopping.is_set():
            return
        now_s = time.monotonic()
        kept.crash_times_s.append(now_s)
        step = after_crash(tuple(kept.crash_times_s), now_s)
        reason = str(child.why_it_ended())
        if isinstance(step, RestartIn):
            kept.state, kept.restart_at_s = "waiting to restart", now_s + step.delay_s
            self._on_event(f"{reason}; starting it again in {step.delay_s:.1f} s")
        else:
            kept.state = "given up"
            self._on_event(f"{reason}; given up after {step.crashes} crashes within a minute")
        self._notify_change()

    def _restart_due(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            all_kept = list(self._kept.values())
        for kept in all_kept:
            if self._stopping.is_set() or kept.restart_at_s is None or kept.restart_at_s > now_s:
                continue
            kept.restart_at_s = None
            try:
                child = self._spawn(kept.child.spec)
            except StackError as error:
                kept.state = "given up"
                self._on_event(str(error))
            else:
                with self._lock:
                    kept.child, kept.state = child, "up"
                    kept.restarts += 1
            self._notify_change()

    def _next_restart_in_s(self) -> float | None:
        with self._lock:
            due = [kept.restart_at_s for kept in self._kept.values() if kept.restart_at_s is not None]
        if not due or self._stopping.is_set():
            return None
        return max(0.0, min(due) - time.monotonic())

    def _forget(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def _notify_change(self) -> None:
        # A full disk must not end the supervision; the next change writes again.
        with contextlib.suppress(OSError):
            self._on_change()


def _row(kept: _Kept) -> Row:
    child = kept.child
    return Row(child.spec.name, child.pid, child.identity, kept.state, child.started_at, kept.restarts)


def _not_ready(child: Child) -> StackError:
    said = last_words(child.log_text())
    message = f"{child.spec.name} was not ready after {child.spec.ready_limit_s:.0f} s"
    return StackError(message + (f", it said: {said}" if said else ""), f"the whole log is {child.log_path}")


def _end(children: Sequence[Child], hurry: threading.Event) -> None:
    """Wait for children that were asked to stop; kill what is over its limit."""
    started_s = time.monotonic()
    for child in children:
        while not child.exited.wait(0.05):
            limit_s = child.spec.stop_limit_s
            if hurry.is_set():
                limit_s = min(limit_s, _HURRIED_LIMIT_S)
            if time.monotonic() - started_s > limit_s:
                child.kill()
                child.exited.wait()
                break
