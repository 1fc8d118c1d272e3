"""`top` and `why`: what goes on now, and why a batch does not.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import BatchId, Json


def why(
    batch_id: BatchId,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until the batch has ended.")] = False,
    json: Json = False,
) -> None:
    """Say what each unfinished part of a batch waits for.

    Since when and until when, what runs meanwhile, and the command that helps.
    """
    from app.cli import why as why_verb

    raise typer.Exit(why_verb.why(batch_id, watch=watch, as_json=json))


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave.")] = False,
    json: Json = False,
) -> None:
    """Watch batches, providers, workers and savings, live.

    q leaves, ? says which keys there are. Where stdout is no terminal one frame is printed.
    """
    from app.cli import top as top_verb

    raise typer.Exit(top_verb.top(once=once, as_json=json))
