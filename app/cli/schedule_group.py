"""The group `schedule` of the command line: batches by the clock.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.file_first import FILE, FileFirst
from app.cli.options import Json, MaxCost, Model, NoCache
from app.cli.rhythm import Cron, Every, Timezone, every_s

schedule = typer.Typer(
    cls=FileFirst,
    name="schedule",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The schedule, sched_...")]


@schedule.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Make batches of a file by the clock.

    `batchwright schedule FILE --cron "0 5 * * *"`, or `--every 30m`.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@schedule.command(FILE)
def file(  # noqa: PLR0913, PLR0917  a flag each
    path: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, one request a line, as for `submit`.")],
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = None,
    name: Annotated[str | None, typer.Option(metavar="N", help="What `schedule ls` calls it.")] = None,
    missed: Annotated[
        Literal["once", "all", "skip"] | None,
        typer.Option(metavar="P", help="After an outage: once, all or skip; default: schedules.missed."),
    ] = None,
    model: Model = None,
    no_cache: NoCache = False,
    max_cost_usd: MaxCost = None,
    json: Json = False,
) -> None:
    """Make a batch of a file at each due time.

    `schedule FILE` is short for it. Prints the schedule's id and its next due times. The server keeps the file;
    --max-cost-usd holds for each batch.
    """
    from app.cli import schedule_verbs

    if (cron is None) == (every is None):
        raise typer.BadParameter("say when with either --cron or --every")
    if timezone is not None and cron is None:
        raise typer.BadParameter("--tz is for --cron")
    rhythm = {
        "cron": cron,
        "timezone": timezone,
        "every_s": None if every is None else every_s(every),
        "missed": missed,
    }
    code = schedule_verbs.file(
        path,
        rhythm,
        name=name,
        model=model,
        cache=not no_cache,
        max_cost_usd=max_cost_usd,
        as_json=json,
    )
    raise typer.Exit(code)


@schedule.command()
def ls(json: Json = False) -> None:
    """List schedules, newest first."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.ls(as_json=json))


@schedule.command()
def show(schedule_id: _Id, json: Json = False) -> None:
    """Show a schedule, and what came of it."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.show(schedule_id, as_json=json))


@schedule.command()
def run(schedule_id: _Id, json: Json = False) -> None:
    """Run a schedule now; prints the batch's id."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.run(schedule_id, as_json=json))


@schedule.command()
def pause(schedule_id: _Id, json: Json = False) -> None:
    """Turn a schedule off; nothing is caught up."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.set_enabled(schedule_id, enabled=False, as_json=json))


@schedule.command()
def resume(schedule_id: _Id, json: Json = False) -> None:
    """Turn a schedule on again, from its next due time."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.set_enabled(schedule_id, enabled=True, as_json=json))


@schedule.command()
def rm(schedule_id: _Id, json: Json = False) -> None:
    """Remove a schedule; the batches that it has made stay."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.rm(schedule_id, as_json=json))
