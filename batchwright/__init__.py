"""Batchwright for Python producers: requests in, answers out, each paid once.

    import batchwright

    with batchwright.submit(["Why is the sky blue?"], model="gpt-4o-mini") as batch:
        for result in batch.results():
            print(result.custom_id, result.text if result.ok else result.error)

`asubmit` and `AsyncBatch` are the same under asyncio. The server is the one BATCHWRIGHT_API_URL names (with
BATCHWRIGHT_API_KEY), else the one `batchwright up` runs in this directory.
"""

from __future__ import annotations

from app.client.abatches import AsyncBatch, asubmit
from app.client.batches import Batch, submit
from app.client.errors import ApiRefused, ApiUnreachable, CeilingReached, WaitTimeout
from app.client.jsonl import Result
from app.client.locate import NoServer
from app.client.models import BatchInfo, Problem, Stats
from app.version import VERSION
from workers.core.errors import BatchwrightError, UserError

__version__ = VERSION

__all__ = [
    "ApiRefused",
    "ApiUnreachable",
    "AsyncBatch",
    "Batch",
    "BatchInfo",
    "BatchwrightError",
    "CeilingReached",
    "NoServer",
    "Problem",
    "Result",
    "Stats",
    "UserError",
    "WaitTimeout",
    "__version__",
    "asubmit",
    "submit",
]
