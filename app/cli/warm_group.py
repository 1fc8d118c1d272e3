"""The group `warm` of the command line: have answers in the cache before anybody asks, once or by the clock.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.file_first import FILE, FileFirst
from app.cli.options import Json, MaxCost, Model
from app.cli.rhythm import Cron, Every, Timezone

warm = typer.Typer(
    cls=FileFirst,
    name="warm",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The schedule, sched_...")]


@warm.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Have answers in the cache before anybody asks.

    `batchwright warm FILE` does it now, with --cron or --every by the clock.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@warm.command(FILE)
def file(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Requests as for `run`, or prompts, one a line.")
    ],
    model: Model = None,
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = None,
    name: Annotated[str | None, typer.Option(metavar="N", help="What `warm ls` calls the schedule.")] = None,
    max_cost_usd: MaxCost = None,
    json: Json = False,
) -> None:
    """Warm a file's prompts, now or by the clock.

    `warm FILE` is short for it; --cron or --every make a schedule. What is known already is not paid again, but for
    what would expire before the next time. A file of prompts needs --model; in one named .jsonl each line is JSON, in
    any other the prompt itself.
    """
    from app.cli import warm_verbs

    if cron is not None and every is not None:
        raise typer.BadParameter("--cron and --every do not go together")
    if timezone is not None and cron is None:
        raise typer.BadParameter("--timezone is for --cron")
    if cron is None and every is None:
        if name is not None:
            raise typer.BadParameter("--name is for a schedule; say when with --cron or --every")
        raise typer.Exit(warm_verbs.once(path, model=model, max_cost_usd=max_cost_usd, as_json=json))
    when = warm_verbs.When(cron=cron, every=every, timezone=timezone)
    code = warm_verbs.schedule(path, when, model=model, name=name, max_cost_usd=max_cost_usd, as_json=json)
    raise typer.Exit(code)


@warm.command()
def ls(json: Json = False) -> None:
    """List what is warmed by the clock."""
    from app.cli import warm_verbs

    raise typer.Exit(warm_verbs.ls(as_json=json))


@warm.command()
def run(schedule_id: _Id, json: Json = False) -> None:
    """Warm now what a schedule warms, and show how it goes."""
    from app.cli import warm_verbs

    raise typer.Exit(warm_verbs.run(schedule_id, as_json=json))


@warm.command()
def rm(schedule_id: _Id, json: Json = False) -> None:
    """Take a schedule away; what it has warmed stays until it expires."""
    from app.cli import schedule_verbs

    raise typer.Exit(schedule_verbs.rm(schedule_id, as_json=json))
