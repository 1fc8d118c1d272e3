"""A checked create becomes a batch document. Pure: time and defaults come as arguments.

batches.py inserts what `new_batch` gives; the planner, the dispatcher and the finalizer read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import blake3

from app.api.bodies import CreateBatch, window_s
from workers.core.budget import new_budget
from workers.core.identity import canonical, new_batch_id
from workers.core.states import BatchStatus
from workers.store.webhooks import new_secret

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a batch that does not say otherwise."""

    cache: bool
    invalid_lines: str


def request_hash(body: Doc) -> str:
    """Equal exactly when two creates ask for the same; the idempotency key itself does not count."""
    asked = {name: value for name, value in body.items() if name != "idempotency_key" and value is not None}
    return blake3.blake3(canonical(asked)).hexdigest(length=16)


def new_batch(
    wanted: CreateBatch,
    *,
    tenant: str,
    now_s: float,
    defaults: Defaults,
    asked_hash: str,
    idempotency_key: str | None,
) -> Doc:
    """The document of a batch that nobody has looked at yet.

    Args:
        now_s: Unix seconds; `window_ends` is the one date that workers compare, by the database's clock.
        idempotency_key: left out of the document when there is none: the unique index looks only at strings.
    """
    seconds = window_s(wanted.completion_window) or 0
    ours = wanted.batchwright
    doc: Doc = {
        "_id": new_batch_id(int(now_s * 1000)),
        "tenant": tenant,
        "endpoint": wanted.endpoint,
        "input_file_id": wanted.input_file_id,
        "completion_window": wanted.completion_window,
        "window_s": seconds,
        "window_ends": datetime.fromtimestamp(now_s, UTC) + timedelta(seconds=seconds),
        "status": str(BatchStatus.VALIDATING),
        "ending": None,
        "created_at": now_s,
        "expires_at": now_s + seconds,
        "metadata": wanted.metadata,
        "total": 0,
        "model": None,
        "errors": None,
        "output_file_id": None,
        "error_file_id": None,
        "paused_at": None,
        "pause_reason": None,
        "priority": ours.priority,
        "options": {
            "model": ours.model,
            "cache": defaults.cache if ours.cache is None else ours.cache == "on",
            "order": ours.order,
            "invalid_lines": ours.invalid_lines or defaults.invalid_lines,
        },
        "request_hash": asked_hash,
        "plan": {"opened": False},
        "counts": {},
    }
    return doc | _only_if_said(wanted, idempotency_key)


def _only_if_said(wanted: CreateBatch, idempotency_key: str | None) -> Doc:
    said: Doc = {}
    ours = wanted.batchwright
    if ours.max_cost_usd is not None:
        said["budget"] = new_budget(ours.max_cost_usd)
    if ours.webhook is not None:
        said["webhook"] = {"url": ours.webhook.url, "secret": ours.webhook.secret or new_secret()}
    if ours.run_key is not None:
        said["run_key"] = ours.run_key
    if idempotency_key is not None:
        said["idempotency_key"] = idempotency_key
    if wanted.output_expires_after is not None:
        said["output_expires_after_s"] = wanted.output_expires_after.seconds
    return said


def shown_to_its_maker(shown: Doc, doc: Doc) -> Doc:
    """The batch object in the answer to what has made it: the secret of its own webhook is there, and never again."""
    if doc.get("webhook"):
        shown["batchwright"]["webhook"] |= {"secret": doc["webhook"]["secret"]}
    return shown


def refusal_of_input(file: Doc | None, file_id: str, tenant: str) -> Doc | None:
    """Why a batch cannot be made from this file, as its validation error; None if it can be tried."""
    if file is None:
        text = f"Cannot find file {file_id}, or organization {tenant} does not have access to it."
    elif file.get("view"):
        text = f"File {file_id} is the output of a batch; download it and upload it as a new input file."
    elif file["purpose"] != "batch":
        text = f"File {file_id} has the purpose '{file['purpose']}', but a batch needs the purpose 'batch'."
    else:
        return None
    return {"code": "invalid_request", "message": text, "param": "file_id", "line": None}
