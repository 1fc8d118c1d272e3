"""`batchwright reload`: every process reads its settings anew, and says what it goes by now.

The API asks them all through MongoDB, so it is the same for a stack of one's own, for containers and for a cluster.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, WRONG_INPUT
from app.cli.session import named_server
from app.client import admin_calls as calls

LOOK_EVERY_S = 0.3
Reply = Mapping[str, Any]


def reload(*, wait_s: float, as_json: bool) -> int:
    """Ask, wait for the workers' answers for `wait_s` at most, and print them.

    Exits with 2 where a process could not read its settings, or did not answer.
    """
    with named_server(load()) as client:
        found = client.call(calls.ask_reload())
        found = _with_workers(found, lambda: client.call(calls.last_reload()), wait_s)
    if as_json:
        report.print_json(found)
    else:
        for line in told(found):
            print(line)
        for line in missing(found):
            print(line, file=sys.stderr)
    failed = any(each["error"] is not None for each in found["processes"])
    return WRONG_INPUT if failed or found["waiting_for"] else OK


def _with_workers(found: Reply, look: Callable[[], Reply], wait_s: float) -> Reply:
    until = time.monotonic() + wait_s
    while found["waiting_for"] and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        found = look()  # where somebody else has asked meanwhile, theirs: it read the same files later
    return found


def told(found: Reply) -> Iterable[str]:
    """What has changed and by which processes, then what needs a restart. Pure."""
    changed, restart = _by_words(found, "changed"), _by_words(found, "needs_restart")
    if not changed and not restart and not any(each["error"] for each in found["processes"]):
        yield f"nothing has changed ({_processes([each['process'] for each in found['processes']])})"
    for text, processes in changed.items():
        yield f"{words.clean(text)}  ({_processes(processes)})"
    for text, processes in restart.items():
        yield f"needs a restart: {words.clean(text)}  ({_processes(processes)})"


def missing(found: Reply) -> Iterable[str]:
    """Who goes on by what it had, and why. Pure."""
    for each in found["processes"]:
        if each["error"] is not None:
            yield f"{words.clean(each['process'])} changed nothing: {words.clean(each['error'])}"
    if found["waiting_for"]:
        names = ", ".join(map(words.clean, found["waiting_for"]))
        yield f"no answer yet: {names}; they read their settings once MongoDB answers them"


def _by_words(found: Reply, field: str) -> dict[str, list[str]]:
    by_words: dict[str, list[str]] = {}
    for each in found["processes"]:
        for text in each[field]:
            by_words.setdefault(text, []).append(each["process"])
    return by_words


def _processes(names: list[str]) -> str:
    return ", ".join(words.clean(name.partition("@")[0]) for name in names)
