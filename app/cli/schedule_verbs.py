"""The verbs of the group `schedule`: batches by the clock. The server keeps the file and the schedule."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import report, schedule_words, words
from app.cli.batch_verbs import load, servers_rules
from app.cli.errors import OK, SOME_FAILED
from app.cli.preflight import check_file
from app.cli.session import named_server
from app.client import schedule_calls as calls
from app.client.calls import BatchRequest

if TYPE_CHECKING:
    from app.client.blocking import Client

Reply = Mapping[str, Any]
_SHOWN_RUNS = 10


def file(
    path: Path,
    rhythm: Mapping[str, Any],
    *,
    name: str | None,
    model: str | None,
    cache: bool,
    max_cost_usd: float | None,
    as_json: bool,
) -> int:
    """Hand a file to the server for good. `rhythm`: cron, timezone, every_s, missed, as the API has them."""
    settings = load()
    rules = servers_rules(settings, model)
    checked = check_file(path, rules)
    with named_server(settings) as client:
        request = BatchRequest(
            input_file_id=client.upload(checked.path).id,
            endpoint=checked.endpoint,
            model=model,
            cache=cache,
            max_cost_usd=max_cost_usd,
        )
        made = client.call(calls.create_schedule(request, name=name or path.name, **rhythm))
    if as_json:
        report.print_json(made)
        return OK
    print(made["id"])
    for due in schedule_words.due_times(made, time.time()):
        print(due, file=sys.stderr)
    warn(made)
    return OK


def ls(*, as_json: bool) -> int:
    """All of the tenant's, newest first."""
    with named_server(load()) as client:
        found = every_one(client)
    if as_json:
        report.print_json(found)
    elif not found:
        print("no schedules", file=sys.stderr)
    else:
        columns = ("schedule", "name", "kind", "when", "next", "last")
        report.print_table(columns, [_row(each) for each in found], spare=("kind", "last"))
        warn(found[0])
    return OK


def show(schedule_id: str, *, as_json: bool) -> int:
    """One of them, and its last runs."""
    with named_server(load()) as client:
        found = client.call(calls.get_schedule(schedule_id))
        runs = client.call(calls.list_runs(schedule_id, limit=_SHOWN_RUNS))["data"]
    if as_json:
        report.print_json({**found, "runs": runs})
        return OK
    report.print_fields(_fields(found))
    if runs:
        rows = [
            (words.moment(run["due"]), schedule_words.came_of(run), run["batch_id"] or "") for run in runs
        ]
        report.print_table(("due", "came of it", "batch"), rows)
    warn(found)
    return OK


def run(schedule_id: str, *, as_json: bool) -> int:
    """Have it run now; 1 where no batch may be made."""
    with named_server(load()) as client:
        done = client.call(calls.run_schedule(schedule_id, secrets.token_hex(16)))
    if as_json:
        report.print_json(done)
    elif done["batch_id"]:
        print(done["batch_id"])
        print(f"`batchwright watch {done['batch_id']}` shows how it goes", file=sys.stderr)
    else:
        print(words.clean(f"{schedule_id}: {schedule_words.came_of(done)}"), file=sys.stderr)
    return OK if done["batch_id"] else SOME_FAILED


def set_enabled(schedule_id: str, *, enabled: bool, as_json: bool) -> int:
    """Turn it on or off; what passes while it is off is not caught up."""
    with named_server(load()) as client:
        found = client.call(calls.change_schedule(schedule_id, {"enabled": enabled}))
    if as_json:
        report.print_json(found)
        return OK
    times = schedule_words.due_times(found, time.time())
    print(words.clean(f"{schedule_id}: {f'next {times[0]}' if times else 'off'}"))
    if enabled:
        warn(found)
    return OK


def rm(schedule_id: str, *, as_json: bool) -> int:
    """Take it away; its batches stay."""
    with named_server(load()) as client:
        found = client.call(calls.remove_schedule(schedule_id))
    if as_json:
        report.print_json(found)
    else:
        print(words.clean(f"{schedule_id}: removed"))
    return OK


def every_one(client: Client, *, kind: str | None = None) -> list[Reply]:
    """All of the tenant's, of this kind if one is named, newest first."""
    found: list[Reply] = []
    after, has_more = None, True
    while has_more:
        page = client.call(calls.list_schedules(kind=kind, after=after))
        found += page["data"]
        after, has_more = page["last_id"], page["has_more"]
    return found


def warn(schedule: Reply) -> None:
    """Say it where nobody looks at the clock."""
    if schedule["enabled"] and (warning := schedule_words.silent_warning(schedule)):
        print(f"warning: {warning}", file=sys.stderr)


def _row(schedule: Reply) -> tuple[str, ...]:
    return (
        schedule["id"],
        schedule["name"] or "",
        schedule["kind"],
        schedule_words.when(schedule),
        words.moment(schedule["next_due"]) if schedule["next_due"] else "off",
        schedule_words.last_run(schedule),
    )


def _fields(schedule: Reply) -> list[tuple[str, str]]:
    batch = schedule["batch"]
    rows = [
        ("schedule", schedule["id"]),
        ("name", schedule["name"] or ""),
        ("kind", schedule["kind"]),
        ("when", schedule_words.when(schedule)),
        *(("next", due) for due in schedule_words.due_times(schedule, time.time())),
        ("missed", schedule["missed"] or "as the server has it"),
        ("last run", schedule_words.last_run(schedule)),
        ("file", batch["input_file_id"]),
        ("model", batch["batchwright"]["model"] or "as each line says"),
        ("made", words.moment(schedule["created_at"])),
    ]
    return rows if schedule["enabled"] else [*rows, ("state", "off")]
