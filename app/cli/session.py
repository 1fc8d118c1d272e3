"""The server a run talks to: the one the settings name, the stack that runs here, or a stack of its own.

A stack of its own is stopped when the block ends, however it ends; one that ran before is left running.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from app.cli.errors import NOT_REACHED, CliError
from app.cli.live import Steps
from app.client.blocking import Client
from app.client.locate import locate, place_of

if TYPE_CHECKING:
    from app.cli.live import Display
    from app.embedded.stack import Stack
    from app.embedded.state import StackState
    from config.settings import Settings


# A MongoDB that ended for want of space gives some 200 MB of journal back as it goes.
_FULL_BELOW_BYTES = 300_000_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run needs of a stack."""

    workers: int
    simulator: bool
    all_models: bool


@dataclass(slots=True)
class Session:
    """A client, and the stack behind it: `stack` if it is ours, `joined` if another command owns it."""

    client: Client
    stack: Stack | None = None
    joined: StackState | None = None

    def check(self) -> None:
        """Raise when the stack cannot work any more."""
        if self.joined is not None and not self.joined.alive:
            raise CliError(
                "the stack that this run used has ended",
                hint="the same command goes on with the batch",
                exit_code=NOT_REACHED,
            )
        given_up = self.stack.given_up if self.stack is not None else ()
        if given_up and self.stack is not None:
            if is_full(self.stack.data_dir):
                raise CliError(
                    f"the disk of {self.stack.data_dir} is full, or nearly",
                    hint="free some space; the same command goes on with the batch",
                    exit_code=NOT_REACHED,
                )
            raise CliError(
                f"{', '.join(given_up)} crashed again and again and was given up",
                hint=f"`batchwright logs {given_up[0]}` shows why",
                exit_code=NOT_REACHED,
            )


def is_full(directory: Path) -> bool:
    """Whether the servers of this directory can hardly write any more: MongoDB and Redis end themselves then."""
    return shutil.disk_usage(directory).free < _FULL_BELOW_BYTES


def is_own_stack_needed(settings: Settings) -> bool:
    """Whether a run would have to start a stack: no server is named, and none runs here."""
    from app.embedded.state import read_state

    return settings.api.url is None and read_state(settings.data_dir) is None


def is_simulated(settings: Settings) -> bool:
    """Whether the stack that runs here lets the simulator answer every model; of a named server nobody knows."""
    from app.embedded.state import read_state

    state = read_state(settings.data_dir) if settings.api.url is None else None
    return state is not None and state.all_models


@contextmanager
def named_server(settings: Settings) -> Iterator[Client]:
    """The server that the verbs other than `run` talk to."""
    with Client(locate(settings)) as client:
        yield client


@contextmanager
def session(settings: Settings, wish: Wish, display: Display) -> Iterator[Session]:
    """A server that can do what the run wishes."""
    from app.embedded.clients import Attached
    from app.embedded.joining import attach_or_start

    if settings.api.url is not None:
        display.note(f"using the server at {settings.api.url}")
        with named_server(settings) as client:
            yield Session(client)
        return
    steps = Steps(display)
    found = attach_or_start(
        settings.data_dir, lambda: _new_stack(settings, wish, display), steps, on_wait=display.note
    )
    if isinstance(found, Attached):
        with found:
            check_simulator(found.state, wish)
            check_providers(found.state, settings)
            display.note(f"using the stack that runs here ({found.state.api_url})")
            with Client(place_of(found.state, settings)) as client:
                yield Session(client, joined=found.state)
        return
    steps.started = True
    try:
        with Client(place_of(found.state, settings)) as client:
            yield Session(client, found)
        found.wait_for_users(display.note)
    finally:
        found.stop()


def check_simulator(state: StackState, wish: Wish) -> None:
    """A running stack cannot get a simulator afterwards: its workers have read their settings."""
    if not wish.simulator or state.all_models or (state.sim_url and not wish.all_models):
        return
    lacks = "does not answer every model by the simulator" if state.sim_url else "has no simulator"
    again = "stop it with `batchwright down` and start `batchwright up --sim`"
    if state.kind == "run":
        again = "wait for the run that has started it, or set BATCHWRIGHT_DATA_DIR to another directory"
    raise CliError(f"the stack that runs here {lacks}", hint=again)


def check_providers(state: StackState, settings: Settings) -> None:
    """A running stack's workers have read their settings: prompts must not go to another server than is meant."""
    for provider in settings.providers:
        theirs = state.providers.get(provider.name, provider.base_url)
        if theirs != provider.base_url and not state.all_models:
            raise CliError(
                f"the stack that runs here calls provider {provider.name!r} at {theirs}, not at {provider.base_url}",
                hint="stop it with `batchwright down`, or set BATCHWRIGHT_DATA_DIR to another directory",
            )


def _new_stack(settings: Settings, wish: Wish, display: Display) -> Stack:
    from app.embedded.stack import Stack

    display.stage("starting the stack")
    return Stack(
        settings,
        workers=wish.workers,
        simulator=wish.simulator,
        all_models=wish.all_models,
        # Nobody looks at Flower or waits for a schedule during one run.
        flower=False,
        beat=False,
        kind="run",
    )


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C does, so that nothing is left running; under nohup no SIGHUP."""

    def leave(number: int, frame: object) -> NoReturn:  # noqa: ARG001  the signature of a handler
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
