"""`download`, `items`, `errors`, `retry`: what a batch has left behind.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from app.cli.options import BatchId, Errors, Json, Model, NoCache, Order, Output


class Status(str, Enum):  # noqa: UP042  typer reads the values of such an Enum
    """States an item can have."""

    completed = "completed"
    failed = "failed"
    never_ran = "never_ran"
    pending = "pending"


_Merge = Annotated[bool, typer.Option("--merge", help="A batch and its retries as one.")]
_Codes = Annotated[
    list[str] | None, typer.Option("--code", metavar="CODE", help="Those that failed so; may be repeated.")
]


def download(
    batch_id: BatchId,
    output: Output = None,
    errors: Errors = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what there is before the end.")] = False,
    merge: _Merge = False,
    order: Annotated[
        Order | None, typer.Option(metavar="input", help="Output in input order; it always is.")
    ] = None,
    json: Json = False,
) -> None:
    """Bring a batch's answers here.

    They go to out/ID.out.jsonl and out/ID.errors.jsonl unless -o and --errors say otherwise. With --merge a batch and
    its retries are one: of each line the first answer, or its latest failure among the errors.
    """
    del order  # accepted, and true
    from app.cli import downloads

    code = downloads.download(
        batch_id, output=output, errors=errors, partial=partial, merge=merge, as_json=json
    )
    raise typer.Exit(code)


def items(  # noqa: PLR0913, PLR0917  a flag each
    batch_id: BatchId,
    failed: Annotated[bool, typer.Option("--failed", help="As --status failed.")] = False,
    status: Annotated[Status | None, typer.Option(help="Those in this state alone.")] = None,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="Those that failed so alone.")] = None,
    custom_id: Annotated[str | None, typer.Option(metavar="ID", help="The one of this name.")] = None,
    line: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The one on this line, with request and result.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many.")] = 100,
    after: Annotated[int, typer.Option(min=0, metavar="LINE", help="Those after this line.")] = 0,
    cursor: Annotated[str | None, typer.Option(metavar="CURSOR", help="Where an earlier page ended.")] = None,
    json: Json = False,
) -> None:
    """Show what each item of a batch took.

    That includes who answered it, its failed tries and its waits. Items without a result yet are --status pending.
    """
    from app.cli import item_verbs

    if line is not None:
        raise typer.Exit(item_verbs.item(batch_id, line, as_json=json))
    shown = item_verbs.Shown(
        status="failed" if failed else status.value if status else None,
        code=code,
        custom_id=custom_id,
        cursor=cursor,
        after=after,
        limit=limit,
    )
    raise typer.Exit(item_verbs.items(batch_id, shown, as_json=json))


def errors(batch_id: BatchId, merge: _Merge = False, json: Json = False) -> None:
    """Show why items of a batch failed, by kind, and what helps."""
    from app.cli import after_verbs

    raise typer.Exit(after_verbs.errors(batch_id, merge=merge, as_json=json))


def retry(  # noqa: PLR0913, PLR0917  a flag each
    batch_id: BatchId,
    code: _Codes = None,
    status_code: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Those with this HTTP status; may be repeated.")
    ] = None,
    never_ran: Annotated[bool, typer.Option("--never-ran", help="Those that never ran.")] = False,
    custom_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="The one of this name; may be repeated.")
    ] = None,
    lines: Annotated[
        list[str] | None, typer.Option(metavar="N[-M]", help="Those on these lines; may be repeated.")
    ] = None,
    model: Model = None,
    no_cache: NoCache = False,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(
            "--max-cost-usd", min=0, metavar="N", help="Rest before the retry costs more than this."
        ),
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="24h", help="Its completion window; default: as before.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it ends.")] = False,
    json: Json = False,
) -> None:
    """Try again what a batch has left without an answer.

    Makes a linked batch on the same file and lines; what its earlier retries have answered is left alone. Flags of one
    kind are alternatives; a reason and a place must both fit.
    """
    from app.cli import after_verbs

    only = {
        "codes": code,
        "status_codes": status_code,
        "never_ran": never_ran or None,
        "custom_ids": custom_id,
        "lines": after_verbs.ranges(lines or ()),
    }
    options = {"model": model, "cache": "off" if no_cache else None, "max_cost_usd": max_cost_usd}
    raise typer.Exit(
        after_verbs.retry(batch_id, only=only, options=options, window=window, watch=watch, as_json=json)
    )
