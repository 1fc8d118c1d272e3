"""The verbs about the stack of this data directory: up, down, ps, sim."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.cli import live, report, words
from app.cli.batch_verbs import load
from app.cli.errors import NOT_REACHED, CliError
from app.cli.progress import SIMULATED
from app.cli.run import workers_of
from app.cli.session import check_simulator

if TYPE_CHECKING:
    from app.embedded.state import StackState
    from config.settings import Settings

_SHOWN = (
    "api_url",
    "api_key",
    "api_key_file",
    "flower_url",
    "redis_url",
    "cache_redis_url",
    "mongodb_url",
    "sim_url",
    "pids",
)


def up(*, detach: bool, workers: int | None, simulate: bool, as_json: bool) -> int:
    """Start the stack; in the foreground it lives until Ctrl-C or `down`.

    The first start after the API key was made shows it to people, this once; programs get it every time, by --json.
    """
    from app.embedded.files import API_KEY_FILE
    from app.embedded.state import read_state

    settings = load()
    key_file = settings.data_dir / API_KEY_FILE
    key = KeyFile(key_file)
    running = read_state(settings.data_dir)
    if running is not None:
        return _already_up(running, settings, key, detach=detach, simulate=simulate, as_json=as_json)
    if detach:
        return _up_detached(settings, workers_of(workers, settings), key, simulate=simulate, as_json=as_json)
    return _up_here(settings, workers_of(workers, settings), key, simulate=simulate, as_json=as_json)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where the stack's own key lies, and whether a person has seen it: `run` makes it without showing it."""

    path: Path

    @property
    def is_new(self) -> bool:
        return not self._seen.exists()

    def note_seen(self) -> None:
        """No later start shows it."""
        self._seen.touch()

    @property
    def _seen(self) -> Path:
        return self.path.with_name(f"{self.path.name}.shown")


def _already_up(
    state: StackState, settings: Settings, key: KeyFile, *, detach: bool, simulate: bool, as_json: bool
) -> int:
    from app.cli.session import Wish

    if not detach or state.kind == "run":
        raise CliError(
            f"a stack runs in {settings.data_dir} already (process {state.owner_pid}, {state.api_url})",
            hint="use that one, end it with `batchwright down`, or set BATCHWRIGHT_DATA_DIR to another directory",
            exit_code=NOT_REACHED,
        )
    check_simulator(state, Wish(workers=0, simulator=simulate, all_models=simulate))
    print("the stack is up already", file=sys.stderr)
    _print_state(state, key, as_json=as_json)
    _warn_of_disk(state, settings)
    return 0


def _up_detached(settings: Settings, workers: int, key: KeyFile, *, simulate: bool, as_json: bool) -> int:
    from app.embedded.detach import DetachedOptions, spawn_detached

    options = DetachedOptions(workers=workers, simulator=simulate, all_models=simulate)
    with live.display() as display:
        display.stage("starting the stack")
        state = spawn_detached(settings.data_dir, options, display.detail)
    _print_state(state, key, as_json=as_json)
    _tell_moved(state, settings)
    _warn_of_disk(state, settings)
    print("it runs until `batchwright down`", file=sys.stderr)
    return 0


def _up_here(settings: Settings, workers: int, key: KeyFile, *, simulate: bool, as_json: bool) -> int:
    from app.embedded.stack import Stack

    stack = Stack(settings, workers=workers, simulator=simulate, all_models=simulate, kind="up")
    stack.stop_on_signals()
    with live.display() as display:
        display.stage("starting the stack")
        steps = live.Steps(display)
        state = stack.start(steps)
    steps.started = True
    try:
        _print_state(state, key, as_json=as_json)
        _tell_moved(state, settings)
        _warn_of_disk(state, settings)
        print("Ctrl-C stops it", file=sys.stderr, flush=True)
        stack.wait()
        given_up = stack.given_up
    finally:
        stack.stop(lambda line: print(f"{line}; a second Ctrl-C cuts it short", file=sys.stderr, flush=True))
    if given_up:
        raise CliError(
            f"stopped, since these processes cannot live: {', '.join(given_up)}",
            hint=f"`batchwright logs {given_up[0]}` shows why",
            exit_code=NOT_REACHED,
        )
    return 0


def public_state(state: StackState, key_file: Path) -> dict[str, Any]:
    """What `up --json` tells, in its promised order."""
    known = state.as_dict() | {"api_key_file": str(key_file)}
    return {name: known[name] for name in _SHOWN}


def shown_key(key: str, path: Path, *, is_new: bool) -> str:
    """The stack's key where nobody has seen it yet, else where it lies."""
    return f"{key} (not shown again; it lies in {path})" if is_new else f"in {path}"


def _print_state(state: StackState, key: KeyFile, *, as_json: bool) -> None:
    known = public_state(state, key.path)
    if as_json:
        report.print_json(known)
        return
    known["api_key"] = shown_key(state.api_key, key.path, is_new=key.is_new)
    names = {"api_url": "API", "api_key": "API key", "flower_url": "Flower", "sim_url": "simulator"}
    names |= {"redis_url": "Redis", "cache_redis_url": "cache Redis", "mongodb_url": "MongoDB"}
    rows = [(text, str(known[name])) for name, text in names.items() if known[name]]
    workers = sum(name.startswith("worker") for name in state.pids)
    report.print_fields([*rows, ("workers", str(workers))])
    key.note_seen()
    if state.sim_url:
        every = "for every model" if state.all_models else "for the sim-* models"
        print(f"{SIMULATED} {every}", file=sys.stderr)


def _tell_moved(state: StackState, settings: Settings) -> None:
    for line in moved(state, settings):
        print(line, file=sys.stderr)


def moved(state: StackState, settings: Settings) -> list[str]:
    """What a stack that has just started does not offer at its usual port, a line each."""
    parts = (
        ("the API", settings.api.port, state.api_url),
        ("Flower", settings.flower.port, state.flower_url),
    )
    return [
        f"port {usual} is taken, so {name} is at {port}"
        for name, usual, url in parts
        if url and usual and (port := urlsplit(url).port) != usual
    ]


def _warn_of_disk(state: StackState, settings: Settings) -> None:
    """Say it where somebody looks anyway: a stack on a full disk takes nothing in."""
    from app.doctor.disk_check import check_disk

    for found in check_disk(state.mongodb_url, settings.servers.mongodb_database, settings.disk):
        if found.state != "ok" and found.data:
            print(f"{found.state}: {found.name}: {found.text}; {found.fix}", file=sys.stderr)


def down(*, as_json: bool) -> int:
    """End the stack of this data directory."""
    from app.embedded import clients

    settings = load()
    stopped = clients.down(settings.data_dir, on_progress=lambda line: print(line, file=sys.stderr))
    if as_json:
        report.print_json({"stopped": stopped})
    else:
        print("stopped" if stopped else f"no stack runs in {settings.data_dir}")
    return 0


def ps(*, as_json: bool) -> int:
    """List the stack's processes, or those it left when its owner died; exits with 3 when none runs."""
    from app.embedded import clients

    settings = load()
    rows = clients.processes(settings.data_dir)
    if as_json:
        report.print_json(
            [
                {"name": row.name, "pid": row.pid, "state": row.state, "uptime_s": round(row.uptime_s, 1)}
                | {"rss_bytes": row.rss_bytes, "restarts": row.restarts}
                for row in rows
            ]
        )
    elif rows:
        cells = [
            (
                row.name,
                str(row.pid),
                row.state,
                words.duration(row.uptime_s),
                words.size(row.rss_bytes),
                str(row.restarts),
            )
            for row in rows
        ]
        columns = ("process", "pid", "state", "up for", "memory", "restarts")
        report.print_table(columns, cells, right=("pid", "up for", "memory", "restarts"))
    runs = any(row.state != clients.LEFT for row in rows)
    if rows and not runs:
        print(
            f"no stack runs in {settings.data_dir}: its owner died, and these processes are still ending; "
            "`batchwright down` ends them now",
            file=sys.stderr,
        )
    elif not rows and not as_json:
        print(f"no stack runs in {settings.data_dir}; `batchwright up --detach` starts one", file=sys.stderr)
    return 0 if runs else NOT_REACHED


def sim(
    *,
    port: int | None,
    latency_ms: float | None,
    log: Path | None,
    seed: int | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Run the simulator alone, until Ctrl-C."""
    from app.simulator.config import ConfigError, Latency, SimulatorConfig, read_config_file
    from app.simulator.server import serve

    given: dict[str, Any] = {"port": port, "seed": seed, "log_path": log}
    given["latency"] = None if latency_ms is None else Latency(ms=latency_ms)
    try:
        base = read_config_file(config) if config else SimulatorConfig()
        changes = {name: value for name, value in given.items() if value is not None}
        serve(replace(base, **changes, json_ready=as_json or base.json_ready))
    except ConfigError as error:
        cannot_start = str(error).startswith("cannot ")
        raise CliError(str(error), exit_code=NOT_REACHED if cannot_start else 2) from error
    return 0
