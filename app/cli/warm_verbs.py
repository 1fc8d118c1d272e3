"""The verbs of the group `warm`. Warming is a batch that asks for nobody, once or by a schedule of the kind `warm`."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import report, schedule_words, words
from app.cli.batch_verbs import follow_to_end, load, outcome_of, print_problems, servers_rules
from app.cli.errors import OK, SOME_FAILED, CliError
from app.cli.follow import Followed
from app.cli.preflight import check_file
from app.cli.rhythm import every_s
from app.cli.schedule_verbs import every_one, warn
from app.cli.session import ended_by_signals, named_server
from app.cli.summary import Outcome
from app.cli.warm_prompts import requests_file
from app.client import schedule_calls as calls
from app.client.calls import BatchRequest

if TYPE_CHECKING:
    from app.client.blocking import Client
    from config.settings import Settings

KIND = "warm"


@dataclass(frozen=True, slots=True)
class When:
    """`--cron` in a time zone, or `--every`."""

    cron: str | None = None
    every: str | None = None
    timezone: str | None = None


def once(path: Path, *, model: str | None, max_cost_usd: float | None, as_json: bool) -> int:
    """Warm a file's prompts now, and stay until it is done."""
    settings = load()
    with ended_by_signals(), named_server(settings) as client:
        request = _uploaded(client, settings, path, model, max_cost_usd)
        return _followed(client, client.create_batch(request).id, path.name, as_json=as_json)


def schedule(
    path: Path, when: When, *, model: str | None, name: str | None, max_cost_usd: float | None, as_json: bool
) -> int:
    """Warm them by the clock."""
    settings = load()
    with named_server(settings) as client:
        request = _uploaded(client, settings, path, model, max_cost_usd)
        made = calls.create_schedule(
            request,
            kind=KIND,
            name=name or path.name,
            cron=when.cron,
            timezone=when.timezone,
            every_s=None if when.every is None else every_s(when.every),
        )
        found = client.call(made)
    if as_json:
        report.print_json(found)
    else:
        print(found["id"])
        print(f"warmed first at {words.moment(found['next_due'])}", file=sys.stderr)
        print(f"`batchwright warm run {found['id']}` does it now", file=sys.stderr)
        warn(found)
    return OK


def ls(*, as_json: bool) -> int:
    """Every schedule that warms."""
    with named_server(load()) as client:
        found = every_one(client, kind=KIND)
    if as_json:
        report.print_json(found)
    elif not found:
        print("nothing is warmed by the clock", file=sys.stderr)
    else:
        columns = ("schedule", "name", "when", "next", "last", "batch")
        report.print_table(columns, [_row(each) for each in found])
        warn(found[0])
    return OK


def run(schedule_id: str, *, as_json: bool) -> int:
    """Warm now what a schedule warms."""
    with ended_by_signals(), named_server(load()) as client:
        done = client.call(calls.run_schedule(schedule_id, secrets.token_hex(16)))
        if done["error"] is not None:
            raise CliError(f"{schedule_id} was not run: {done['error']['message']}", exit_code=SOME_FAILED)
        return _followed(client, done["batch_id"], schedule_id, as_json=as_json)


def _uploaded(
    client: Client, settings: Settings, path: Path, model: str | None, max_cost_usd: float | None
) -> BatchRequest:
    rules = servers_rules(settings, model)
    with requests_file(path, model) as requests:
        checked = check_file(requests, rules)
        input_file_id = client.upload(checked.path, filename=path.name).id
    return BatchRequest(
        input_file_id=input_file_id,
        endpoint=checked.endpoint,
        model=model,
        warm=True,
        max_cost_usd=max_cost_usd,
        idempotency_key=secrets.token_hex(16),
    )


def _followed(client: Client, batch_id: str, name: str, *, as_json: bool) -> int:
    """Show a warming batch until it has ended, and what it came to."""
    each = Followed(name, client.get(batch_id), time.monotonic())
    follow_to_end(client, each)
    outcome = outcome_of(client, each)
    if as_json:
        report.print_json({"batch_id": batch_id, "status": outcome.batch.status, **came_to(outcome)})
    elif outcome.batch.status == "failed":
        print_problems(outcome.batch)
    else:
        report.print_fields(_fields(outcome))
    return outcome.exit_code


def came_to(outcome: Outcome) -> dict[str, Any]:
    """What a warming came to, in numbers; `paid` are calls, and equal prompts share one."""
    batch, stats = outcome.batch, outcome.batch.stats
    return {
        "asked": batch.total,
        "already_warm": stats.cached,
        "shared": stats.coalesced,
        "paid": stats.calls,
        "failed": batch.failed,
        "cost_usd": stats.cost_usd,
        "seconds": round(outcome.seconds, 3),
    }


def _fields(outcome: Outcome) -> list[tuple[str, str]]:
    said = came_to(outcome)
    rows = [
        ("batch", f"{outcome.batch.id}, {outcome.batch.status.replace('_', ' ')}"),
        ("asked", words.things(said["asked"], "prompt")),
        ("already warm", words.count(said["already_warm"])),
        ("shared", words.count(said["shared"])),
        ("paid", words.things(said["paid"], "call")),
        ("failed", words.count(said["failed"])),
        ("cost", words.money(said["cost_usd"])),
        ("time", words.duration(outcome.seconds)),
    ]
    return [row for row in rows if row not in (("shared", "0"), ("failed", "0"))]


def _row(schedule: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        schedule["id"],
        schedule["name"] or "",
        schedule_words.when(schedule),
        words.moment(schedule["next_due"]) if schedule["next_due"] else "off",
        schedule_words.last_run(schedule),
        (schedule["last_run"] or {}).get("batch_id") or "",
    )
