"""The group `models` of the command line: alone it shows, `models pull` fetches."""

from __future__ import annotations

from typing import Annotated

import typer

models = typer.Typer(
    name="models",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]


@models.callback(invoke_without_command=True)
def show(context: typer.Context, json: _Json = False) -> None:
    """Show which models are configured, reachable and picked.

    Asks every configured provider for its models (nothing is paid for), and says for each task type whom
    `model: "auto"` asks at the priorities speed, quality and cost, within which limits and at which price.
    """
    if context.invoked_subcommand is None:
        from app.cli import models as verb

        raise typer.Exit(verb.show(as_json=json))


@models.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Models of Ollama's library, or aliases.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Those that routes prefer, and those that providers name.")
    ] = False,
    json: _Json = False,
) -> None:
    """Fetch models into Ollama; without names those that routes prefer."""
    from app.cli.pull import pull as fetch

    raise typer.Exit(fetch(names or [], all_configured=everything, as_json=json))
