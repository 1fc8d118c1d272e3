"""Hand a file to a server as a batch, or find again the batch that an earlier run has made of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from app.client.calls import BatchRequest, poll_delay_s
from app.client.errors import ApiRefused

if TYPE_CHECKING:
    from app.client.blocking import Client
    from app.client.models import BatchInfo

_RESUMABLE = ("validating", "in_progress", "finalizing")
_ITEMS_A_PAGE = 1000


def send(
    client: Client, source: Path | BinaryIO, request: BatchRequest, *, filename: str | None = None
) -> BatchInfo:
    """Upload and create; the file's id of `request` is filled in here."""
    uploaded = client.upload(source, filename=filename)
    return client.create_batch(
        replace(request, input_file_id=uploaded.id, idempotency_key=secrets.token_hex(16))
    )


def earlier(client: Client, run_key: str) -> BatchInfo | None:
    """The newest batch of the same work."""
    return next(iter(client.list(run_key=run_key, limit=1).batches), None)


def is_resumable(batch: BatchInfo) -> bool:
    """Whether going on with a batch brings all answers: not when it is being ended."""
    return batch.status in _RESUMABLE and batch.stats.ending in (None, "done")


def is_whole(client: Client, batch: BatchInfo) -> bool:
    """Whether every item of a batch has its result and the files are still there to be read."""
    if batch.status != "completed":
        return False
    try:
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                client.file(file_id)
    except ApiRefused as error:
        if error.status != 404:
            raise
        return False
    return True


def resumed(client: Client, batch: BatchInfo, max_cost_usd: float | None) -> BatchInfo:
    """An unfinished batch on its way again, under the ceiling of this run; one that rests at its own stays there."""
    raises = max_cost_usd is not None and max_cost_usd != batch.stats.max_cost_usd
    waited_s = 0.0
    while raises and batch.status == "validating":  # only then has it a ceiling that can be changed
        delay_s = poll_delay_s(waited_s)
        time.sleep(delay_s)
        waited_s += delay_s
        batch = client.get(batch.id)
    if raises and batch.status == "in_progress":
        return client.resume(batch.id, max_cost_usd=max_cost_usd)
    return client.resume(batch.id) if batch.stats.paused and not batch.at_ceiling else batch


def items_of(client: Client, batch: BatchInfo) -> Iterator[dict[str, Any]]:
    """Every recorded item by line, as the API lists it, a page at a time."""
    after, has_more = 0, True
    while has_more:
        page = client.items(batch.id, after=after, limit=_ITEMS_A_PAGE)
        yield from page["data"]
        has_more = page["has_more"] and bool(page["data"])
        after = page["data"][-1]["line"] if page["data"] else after
