"""`stats` and `alerts`: figures of the whole installation, and what it is told to alarm about.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.options import Json


def stats(
    window: Annotated[
        Literal["1h", "24h", "7d"], typer.Option(metavar="TIME", help="1h, 24h or 7d back.")
    ] = "1h",
    errors: Annotated[
        bool, typer.Option("--errors", help="The errors of that time instead, by code.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=500, metavar="N", help="With --errors: how many kinds.")
    ] = 50,
    json: Json = False,
) -> None:
    """Show requests, calls, latencies and what waits.

    Over all processes. Needs an admin key of the first tenant.
    """
    from app.cli import figures_verbs

    if errors:
        raise typer.Exit(figures_verbs.errors(window=window, limit=limit, as_json=json))
    raise typer.Exit(figures_verbs.stats(window=window, as_json=json))


def alerts(
    state: Annotated[
        Literal["firing", "resolved", "all"],
        typer.Option(metavar="STATE", help="firing, resolved or all."),
    ] = "all",
    limit: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many.")] = 20,
    json: Json = False,
) -> None:
    """Show alerts that fire and past ones, and what to do.

    Exits with 1 while one fires. Needs an admin key of the first tenant.
    """
    from app.cli import figures_verbs

    raise typer.Exit(figures_verbs.alerts(state=state, limit=limit, as_json=json))
