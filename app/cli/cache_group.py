"""The group `cache` of the command line: `cache stats` shows how it does, `cache clear` forgets answers."""

from __future__ import annotations

from typing import Annotated

import typer

cache = typer.Typer(
    name="cache",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]


@cache.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """See how the cache of answers does, and clear it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@cache.command()
def stats(json: _Json = False) -> None:
    """Show hits and misses, today and over seven days.

    Beside them how full the cache is, and what its server does when it is full.
    """
    from app.cli import cache_verbs

    raise typer.Exit(cache_verbs.stats(as_json=json))


@cache.command()
def clear(
    prefix: Annotated[
        str | None,
        typer.Option(metavar="P", help="Only keys that begin with it: ai, embedding, ai:v2:PROVIDER."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="T", help="Only this tenant's answers.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")
    ] = False,
    json: _Json = False,
) -> None:
    """Forget cached answers; what asks for them again pays again.

    Without --prefix or --tenant all of them. Results of batches stay.
    """
    from app.cli import cache_verbs

    raise typer.Exit(cache_verbs.clear(prefix=prefix, tenant=tenant, yes=yes, as_json=json))
