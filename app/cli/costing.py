"""`cost`: what batches have cost and saved.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.errors import CliError
from app.cli.options import Json


def cost(
    batch_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of this batch alone, by provider and model.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, metavar="N", help="Of the last N days.")] = 30,
    by: Annotated[
        Literal["day", "provider", "model"], typer.Option(metavar="NAME", help="day, provider or model.")
    ] = "day",
    json: Json = False,
) -> None:
    """Show what the batches have cost and saved.

    Days count in UTC. Batches that are gone by now count as well.
    """
    from app.cli import cost_verbs

    if batch_id is None:
        raise typer.Exit(cost_verbs.of_days(days=days, by=by, as_json=json))
    if days != 30 or by != "day":  # what is said of days would be lost without a word
        raise CliError(
            "--days and --by are not for a single batch", hint=f"say `batchwright cost {batch_id}`"
        )
    raise typer.Exit(cost_verbs.of_batch(batch_id, as_json=json))
