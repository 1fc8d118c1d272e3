"""What `batchwright reload` prints."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli.reload_verb import missing, told

pytestmark = pytest.mark.fast


def process(
    name: str, *changed: str, error: str | None = None, restart: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "process": f"{name}@h:1",
        "changed": list(changed),
        "needs_restart": list(restart),
        "error": error,
    }


def reply(*processes: dict[str, Any], waiting_for: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"generation": 3, "processes": list(processes), "waiting_for": list(waiting_for)}


def test_each_change_is_said_once_with_the_processes_that_took_it() -> None:
    raised, key = "openai: requests_per_minute 500 -> 800", "openai: api_key changed"
    found = reply(process("api", raised), process("worker-1", raised, key), process("worker-2", raised, key))
    assert list(told(found)) == [f"{raised}  (api, worker-1, worker-2)", f"{key}  (worker-1, worker-2)"]
    assert list(missing(found)) == []


def test_what_needs_a_restart_is_said_by_name() -> None:
    found = reply(process("api", restart=("servers.redis_url: ******** -> ********",)))
    assert list(told(found)) == ["needs a restart: servers.redis_url: ******** -> ********  (api)"]


def test_that_nothing_has_changed_is_said() -> None:
    assert list(told(reply(process("api"), process("worker-1")))) == ["nothing has changed (api, worker-1)"]


def test_who_could_not_read_its_file_and_who_is_silent_is_named() -> None:
    found = reply(process("worker-1", error="no TOML\x1b[31m"), waiting_for=("worker-2@h:9",))
    silent = "no answer yet: worker-2@h:9; they read their settings once MongoDB answers them"
    assert list(missing(found)) == ["worker-1@h:1 changed nothing: no TOML [31m", silent]
    assert list(told(found)) == []
