"""`batchwright events`: what happened to a batch, and what happens.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import BatchId

_Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until the batch has ended.")]
_Since = Annotated[
    int | None, typer.Option("--since", min=0, metavar="N", help="Only entries after this number of the log.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")]


def events(batch_id: BatchId, follow: _Follow = False, since: _Since = None, json: _Json = False) -> None:
    """Print what happened to a batch.

    With -f also what happens, its progress among it, until it has ended; a server that restarts is waited for.
    """
    from app.cli import event_verbs

    raise typer.Exit(event_verbs.events(batch_id, follow=follow, since=since, as_json=json))
