"""Imports point one way. The rule is data; these tests read the tree with `ast` and run nothing of it.

    config <- core <- providers, store, transport <- engine <- steps <- runtime <- tasks
    app uses core, store, queue, telemetry and the steps an API process takes part in

A room missing from `ROOMS`, or an arrow missing from `MAY_IMPORT`, fails here first: add it on purpose.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "batchwright", "config", "workers")

# A module belongs to the room with the longest name that begins its own.
ROOMS: dict[str, str] = {
    "config": "config",
    "workers": "workers",
    "workers.core": "core",
    "workers.providers": "providers",
    "workers.store": "store",
    "workers.transport": "transport",
    "workers.engine": "engine",
    "workers.celery_config": "celery_config",
    "workers.queue": "queue",
    "workers.rabbitmq": "queue",
    "workers.consumer": "tasks",
    "workers.telemetry": "telemetry",
    "workers.vitals": "vitals",
    "workers.metric": "observed",
    "workers.metrics": "observed",
    "workers.metrics_kept": "observed",
    "workers.observed": "observed",
    "workers.machine": "vitals",
    "workers.roundtrips": "runtime",
    "workers.exposition": "exposition",
    "workers.planning": "steps",
    "workers.creation": "steps",
    "workers.schedules": "steps",
    "workers.dispatcher": "steps",
    "workers.finalizer": "steps",
    "workers.sweeper": "steps",
    "workers.walk": "steps",
    "workers.retention": "steps",
    "workers.erasure": "steps",
    "workers.orphans": "steps",
    "workers.notify": "steps",
    "workers.analytics": "steps",
    "workers.alerting": "steps",
    "workers.beats": "runtime",
    "workers.chores": "runtime",
    "workers.company": "runtime",
    "workers.departure": "runtime",
    "workers.givingback": "runtime",
    "workers.reloading": "runtime",
    "workers.own_page": "runtime",
    "workers.standing": "runtime",
    "workers.prewarm": "runtime",
    "workers.warming": "runtime",
    "workers.watchdog": "runtime",
    "workers.wiring": "runtime",
    "workers.runtime": "runtime",
    "workers.tasks": "tasks",
    "workers.inbound": "tasks",
    "workers.celery_app": "tasks",
    "workers.beat": "tasks",
    "workers.main": "main",
    "workers.profiling": "main",
    "workers.flower_page": "main",
    "app": "app",
    "app.api": "api",
    "app.backup": "backup",
    "app.bench": "bench",
    "app.bench.peers": "peers",
    "app.client": "client",
    "app.cli": "cli",
    "app.doctor": "doctor",
    "app.embedded": "embedded",
    "app.reference": "reference",
    "app.simulator": "simulator",
    "app.tables": "tables",
    "batchwright": "face",
    "batchwright.ai": "ai_face",
    "batchwright.ai.tasks": "ai",
    "batchwright.ai.routing": "ai",
    "batchwright.ai.requests": "ai",
    "batchwright.ai.caching": "ai",
    "batchwright.ai.session": "ai_calls",
    "batchwright.ai.calls": "ai_calls",
}

_BASE = {"config", "core"}
# Whoever sees something counts it.
_SEEN = {*_BASE, "observed"}
_STEPS = {*_SEEN, "providers", "store", "engine", "celery_config", "queue", "telemetry", "steps"}
_RUNTIME = {*_STEPS, "transport", "vitals", "exposition", "runtime"}

# Room -> the rooms it may import, besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "config": set(),
    "core": {"config"},
    "observed": {"core"},
    "providers": _BASE,
    "store": _SEEN,
    "transport": _SEEN,
    "vitals": {*_SEEN, "transport"},
    "exposition": {*_SEEN, "vitals"},
    "engine": {*_SEEN, "providers", "store", "transport"},
    "celery_config": _BASE,
    "queue": {*_BASE, "celery_config"},
    "telemetry": _BASE,
    "steps": _STEPS,
    "runtime": _RUNTIME,
    "tasks": {*_RUNTIME, "tasks"},
    "main": {*_RUNTIME, "tasks"},
    "workers": set(),
    "app": {"config"},
    "simulator": {*_BASE, "app"},
    "embedded": _BASE,
    "api": {*_STEPS - {"engine"}, "transport", "vitals", "exposition", "app"},
    "client": {*_BASE, "app", "embedded"},
    # Works while the API is down, so it asks the servers and the store itself; `cli` shows what it finds.
    "doctor": {*_SEEN, "celery_config", "store", "transport", "vitals", "app", "client", "embedded"},
    "backup": {*_BASE, "app", "store"},
    "tables": {*_BASE, "client"},
    "cli": {
        *_BASE,
        "providers",
        "app",
        "client",
        "embedded",
        "doctor",
        "simulator",
        "bench",
        "backup",
        "tables",
    },
    # Pages about all of it; imported by nobody.
    "reference": {*_BASE, "api"},
    # Other people's engines, in environments in which nothing of ours is installed.
    "peers": set(),
    "bench": {
        *_SEEN,
        "providers",
        "store",
        "transport",
        "app",
        "client",
        "embedded",
        "simulator",
        "peers",
    },
    "face": {*_BASE, "app", "client", "embedded"},
    "ai": {*_BASE, "providers"},
    "ai_calls": {*_BASE, "providers", "store", "transport", "ai"},
    # Pure names at once, those that do the work on demand.
    "ai_face": {"ai", "ai_calls"},
}

# What decides is pure: these rooms get time, chance and bytes as arguments.
PURE_ROOMS = ("core", "providers", "ai")
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "celery",
        "http",
        "httpx",
        "httpx2",
        "kombu",
        "os",
        "pymongo",
        "random",
        "redis",
        "secrets",
        "select",
        "signal",
        "socket",
        "ssl",
        "structlog",
        "subprocess",
        "threading",
        "time",
        "urllib.request",
        "uuid",
    }
)
# New ids are drawn in one place beside their shapes; a random name decides nothing.
DRAWS_NAMES = {"workers.core.identity": {"secrets"}}

# One package, one place: what a change of the HTTP client or of the database driver may touch.
ONLY_IN: dict[str, set[str]] = {
    "httpx": {"transport", "client", "embedded", "cli", "peers"},
    "httpx2": {"transport"},
    "httpcore": {"transport"},
    "pyreqwest": {"transport", "peers"},
    "pymongo": {"store", "embedded", "doctor", "bench", "peers"},
    "prometheus_client": {"exposition"},
    "gridfs": {"store"},
    "celery": {"queue", "tasks", "main", "peers"},
    "kombu": {"celery_config", "queue", "tasks", "main", "doctor"},
    "fastapi": {"api"},
    "pydantic": {"api"},
    "typer": {"cli"},
    "rich": {"cli"},
}

# The environment is read by whoever starts a process; everybody else is handed the values.
MAY_LOAD_SETTINGS = frozenset(
    {"config", "runtime", "tasks", "main", "api", "client", "cli", "embedded", "face", "ai_calls"}
)


@cache
def modules() -> tuple[str, ...]:
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return tuple(sorted(_module_name(path) for path in paths))


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _path(module: str) -> Path:
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def room_of(module: str) -> str:
    parts = module.split(".")
    return next(ROOMS[name] for size in range(len(parts), 0, -1) if (name := ".".join(parts[:size])) in ROOMS)


@cache
def imported_by(module: str) -> tuple[tuple[int, str], ...]:
    """Line and full dotted name of every import, those inside functions and of names included."""
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[tuple[int, str]]:
    path = _path(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def comes_from(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_every_room_has_its_arrows() -> None:
    assert set(ROOMS.values()) == set(MAY_IMPORT)


def test_no_arrow_leads_back() -> None:
    """Rooms form a line: nobody can be reached from a room that it may import."""
    for room, targets in MAY_IMPORT.items():
        reached: set[str] = set()
        waiting = targets - {room}
        while waiting:
            reached |= waiting
            waiting = {far for near in waiting for far in MAY_IMPORT[near] if far != near} - reached
        assert room not in reached, room


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_modules_import_only_what_their_room_may(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f"{module} line {line}: {room} may not import {room_of(name)} ({name})"
        for module in modules()
        if room_of(module) == room
        for line, name in imported_by(module)
        if is_ours(name) and room_of(name) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_pure_modules_import_no_clock_no_chance_and_no_socket(room: str) -> None:
    wrong = [
        f"{module} line {line}: {name}"
        for module in modules()
        if room_of(module) == room
        for line, name in imported_by(module)
        if any(comes_from(name, impure) for impure in IMPURE_MODULES - DRAWS_NAMES.get(module, set()))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_a_package_is_imported_only_in_its_place(package: str) -> None:
    wrong = [
        f"{module} line {line}"
        for module in modules()
        if room_of(module) not in ONLY_IN[package]
        for line, name in imported_by(module)
        if comes_from(name, package)
    ]
    assert not wrong, "\n".join([package, *wrong])


def test_only_the_start_of_a_process_loads_settings() -> None:
    wrong = [
        f"{module} line {line}"
        for module in modules()
        if room_of(module) not in MAY_LOAD_SETTINGS
        for line, name in imported_by(module)
        if name.endswith(".load_settings")
    ]
    assert not wrong, "\n".join(wrong)
