"""Write the table with its answers: the result files of its parts, read as streams, beside its rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.cli import sending
from app.cli.failures import Failure
from app.client.jsonl import Result
from app.client.transfer import whole_or_nothing
from app.tables.answers import Answers
from app.tables.asking import row_of
from app.tables.cutting import CheckedTable
from app.tables.joining import join, results_of

if TYPE_CHECKING:
    from app.cli.table_outcome import TableOutcome
    from app.client.blocking import Client
    from app.client.models import BatchInfo


def joined(
    client: Client, checked: CheckedTable, answers: Answers, outcome: TableOutcome, place: Path
) -> TableOutcome:
    """Write it, whole or not at all; gives the outcome with what was written."""
    with tempfile.TemporaryDirectory() as folder:
        results = _results(client, outcome.parts, Path(folder))
        details = _details(client, outcome.parts) if answers.details else iter(())
        with whole_or_nothing(place) as file:
            done = join(checked, answers, results, details, file)
    failures = tuple(Failure(number, text) for text, number in done.errors.most_common())
    return replace(outcome, output_path=place.absolute(), unanswered=done.failed, failures=failures)


def _results(client: Client, parts: tuple[BatchInfo, ...], folder: Path) -> Iterator[tuple[int, Result]]:
    for batch in parts:
        if batch.ended:
            files = (batch.output_file_id, batch.error_file_id)
            output, errors = (client.lines(file_id) if file_id else iter(()) for file_id in files)
        else:
            output, errors = (_so_far(client, batch, which, folder) for which in ("output", "error"))
        yield from results_of(output, errors)


def _so_far(
    client: Client, batch: BatchInfo, which: Literal["output", "error"], folder: Path
) -> Iterator[bytes]:
    # What a running batch has is fetched at once: its two halves must not drift apart while rows are written.
    path = folder / f"{batch.id}.{which}.jsonl"
    client.download_partial(batch.id, which, path)
    with path.open("rb") as file:
        yield from file
    path.unlink()


def _details(client: Client, parts: tuple[BatchInfo, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    for batch in parts:
        for item in sending.items_of(client, batch):
            yield row_of(item["custom_id"]), item
