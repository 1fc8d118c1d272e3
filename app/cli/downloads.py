"""`batchwright download`: a batch's answers and errors as files here, of it alone or of it and its retries as one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import report, targets, words
from app.cli.batch_verbs import load
from app.cli.errors import CliError
from app.cli.session import named_server
from app.client.models import BatchInfo

if TYPE_CHECKING:
    from app.client.blocking import Client


def download(
    batch_id: str,
    *,
    output: Path | None,
    errors: Path | None,
    partial: bool,
    as_json: bool,
    merge: bool = False,
) -> int:
    """Bring a batch's answers and errors here; with `merge` those of it and its retries as one."""
    from app.cli.run import refused

    with named_server(load()) as client:
        batch = client.get(batch_id)
        if (
            batch.status == "failed" and not merge
        ):  # a retry that found nothing to run leaves its line as it is
            raise refused(batch, batch.id)
        if not batch.ended and not partial:
            raise CliError(
                f"{batch.id} has not ended ({batch.done} of {batch.total} done)",
                hint=f"wait for it with `batchwright watch {batch.id}`, or take what there is with --partial",
            )
        place = targets.targets_for([Path(f"{batch.id}.jsonl")], output, errors)[0]
        targets.prepare(place)
        is_partial = not batch.ended
        if merge:
            written, is_partial = _merged(client, batch, place, partial)
        else:
            written = _fetch(client, batch, place)
    if as_json:
        report.print_json(
            {
                "batch_id": batch.id,
                "status": batch.status,
                "partial": is_partial,
                "output_path": str(written[0]) if written[0] else None,
                "error_path": str(written[1]) if written[1] else None,
            }
        )
    else:
        for what, path in zip(("answers", "errors"), written, strict=True):
            print(words.clean(f"{what}: {path or 'none'}"))
    return 0


def _merged(
    client: Client, batch: BatchInfo, place: targets.Target, partial: bool
) -> tuple[tuple[Path | None, Path | None], bool]:
    """Where both files are, and whether there will be more in them."""
    written: list[Path | None] = []
    is_partial = False
    for which, path, named in (
        ("output", place.output, place.output_named),
        ("error", place.errors, place.errors_named),
    ):
        size_bytes, grows = _merged_file(client, batch.id, which, path, partial)
        is_partial = is_partial or grows
        if not size_bytes and not named:
            path.unlink(missing_ok=True)  # an empty file of ours would pass for one with something in it
        written.append(path.absolute() if size_bytes or named else None)
    return (written[0], written[1]), is_partial


def _merged_file(client: Client, batch_id: str, which: str, path: Path, partial: bool) -> tuple[int, bool]:
    """Write one; its size in bytes, and whether it grows. That a retry of this batch still runs, the server knows."""
    from app.client.errors import ApiRefused

    try:
        return client.download_merged(batch_id, which, path), False
    except ApiRefused as error:
        if not partial or error.code != "batch_not_finished":
            raise
    return client.download_merged(batch_id, which, path, partial=True), True


def _fetch(client: Client, batch: BatchInfo, place: targets.Target) -> tuple[Path | None, Path | None]:
    if not batch.ended:
        client.download_partial(batch.id, "output", place.output)
        client.download_partial(batch.id, "error", place.errors)
        return place.output.absolute(), place.errors.absolute()
    written: list[Path | None] = []
    for file_id, path, what, named in (
        (batch.output_file_id, place.output, "answers", place.output_named),
        (batch.error_file_id, place.errors, "errors", place.errors_named),
    ):
        if file_id:
            client.download(file_id, path)
        elif left := targets.older_left(path, what, named=named):
            print(left, file=sys.stderr)
        written.append(path.absolute() if file_id else None)
    return written[0], written[1]
