"""The verbs of `batchwright`, their flags and their help.

Nothing heavy is imported here: `batchwright --help` must answer at once, so each verb imports what it needs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.after_group import download, errors, items, retry
from app.cli.cache_group import cache
from app.cli.costing import cost
from app.cli.db_group import db
from app.cli.events_group import events
from app.cli.figures_group import alerts, stats
from app.cli.group import Group
from app.cli.keeping import backup, restore
from app.cli.keys_group import keys
from app.cli.looking import top, why
from app.cli.models_group import models
from app.cli.options import (
    BatchId,
    Files,
    Json,
    MaxCost,
    Model,
    NoCache,
)
from app.cli.pausing import pause, resume
from app.cli.plain_text import speak_plainly
from app.cli.run_verb import run
from app.cli.schedule_group import schedule
from app.cli.stack_group import doctor, down, logs, ps, reload, up
from app.cli.tenants_group import tenants
from app.cli.trials import bench, estimate, sim, validate
from app.cli.warm_group import warm
from app.cli.webhooks_group import webhooks
from app.cli.workshop import build, profile, pull_models, rebuild, run_tests

app = typer.Typer(
    cls=Group,
    name="batchwright",
    help="A file of prompts becomes a file of answers, each paid once.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version_alone(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version_alone, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """--debug is taken out of the arguments by group.py, and declared here for the help alone."""


app.command()(run)
app.command()(estimate)
app.command()(validate)


for stack_verb in (up, down, ps, logs, reload, doctor):
    app.command()(stack_verb)


@app.command()
def submit(
    files: Files,
    model: Model = None,
    no_cache: NoCache = False,
    max_cost_usd: MaxCost = None,
    json: Json = False,
) -> None:
    """Hand files to a running stack; prints the batches' ids."""
    from app.cli import batch_verbs

    code = batch_verbs.submit(files, model=model, cache=not no_cache, max_cost_usd=max_cost_usd, as_json=json)
    raise typer.Exit(code)


@app.command()
def watch(batch_id: BatchId, json: Json = False) -> None:
    """Show a batch's progress until it ends.

    Says why nothing moves, if nothing does. The batch goes on whether or not anybody watches.
    """
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.watch(batch_id, as_json=json))


app.command()(download)


@app.command()
def cancel(batch_id: BatchId, json: Json = False) -> None:
    """End a batch; what is answered stays answered."""
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.change(batch_id, "cancel", as_json=json))


app.command()(events)
app.command()(pause)
app.command()(resume)


@app.command()
def ls(
    limit: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="How many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Older ones than this batch.")] = None,
    json: Json = False,
) -> None:
    """List batches, newest first."""
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.ls(limit=limit, after=after, as_json=json))


@app.command()
def show(batch_id: BatchId, json: Json = False) -> None:
    """Show all there is to know of a batch.

    That includes why it was refused, and why it does not move, if it does not.
    """
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.show(batch_id, as_json=json))


app.command()(why)
app.command()(top)
for after_verb in (items, errors, retry):
    app.command()(after_verb)


app.command()(cost)
app.command()(stats)
app.command()(alerts)
app.add_typer(models)
app.add_typer(cache)
app.add_typer(schedule)
app.add_typer(warm)
app.add_typer(tenants)
app.add_typer(keys)
app.add_typer(webhooks)
app.add_typer(db)
for verb in (backup, restore, sim, bench, profile, build, rebuild, pull_models):
    app.command()(verb)
app.command("test")(run_tests)


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    import platform

    from app.version import VERSION

    if json:
        from app.cli import report

        report.print_json({"version": VERSION, "python": platform.python_version()})
    else:
        print(f"batchwright {VERSION} (Python {platform.python_version()})")


def main() -> None:
    """The console script."""
    speak_plainly(sys.stdout, sys.stderr)
    app()


if __name__ == "__main__":
    main()
