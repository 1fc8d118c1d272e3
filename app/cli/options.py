"""Flags and arguments that several verbs have, with their help."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.completing import batch_ids


class Order(str, Enum):  # noqa: UP042  typer reads the values of such an Enum
    """Orders an output file can have."""

    input = "input"


Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch, batch_...", autocompletion=batch_ids)]
Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="JSONL files, one request a line.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Answer every request by this model.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Ask anew, and keep no answer.")]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Worker processes; default: one per core.")
]


def _ceiling(usd: float | None) -> float | None:
    if usd is not None and not 0 < usd < float("inf"):
        raise typer.BadParameter(f"a ceiling is a sum of US dollars above 0, got {usd:g}")
    return usd


MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost-usd",
        metavar="N",
        callback=_ceiling,
        help="Rest before the calls of a file cost more than this.",
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="OUT", help="Where the answers go.")]
Errors = Annotated[Path | None, typer.Option("--errors", metavar="ERR", help="Where the failed items go.")]
