"""The group `db` of the command line: the database's indexes. As in main.py, nothing heavy is imported here."""

from __future__ import annotations

import typer

from app.cli.options import Json

db = typer.Typer(
    name="db",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@db.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Make and check the database's indexes."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@db.command()
def init(json: Json = False) -> None:
    """Make the indexes that are missing.

    Safe at any time: work goes on meanwhile, what is there stays, and a second one at once does no harm.
    """
    from app.cli import db_verbs

    raise typer.Exit(db_verbs.init(as_json=json))


@db.command()
def check(json: Json = False) -> None:
    """Compare the indexes with those that the work needs, and show what every collection takes.

    Exit code 1 if one is missing, another is in its place, or the server removes nothing by TTL. Changes nothing.
    """
    from app.cli import db_verbs

    raise typer.Exit(db_verbs.check(as_json=json))
