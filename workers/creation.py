"""A checked create becomes a batch in the database, whoever asks for it: the API's handlers, or a schedule.

The form of a batch is the body of POST /v1/batches with its defaults, as plain values. The planner, the dispatcher and
the finalizer read what `new_batch` makes of it. Time comes as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from workers.core import faultpoints
from workers.core.budget import new_budget
from workers.core.identity import new_batch_id
from workers.core.states import BatchStatus
from workers.core.tenant_limits import queue_is_full
from workers.core.window import window_s
from workers.store.backlog import Backlog
from workers.store.batches import Batches
from workers.store.mongo import Doc
from workers.store.webhooks import new_secret


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a batch that does not say otherwise."""

    cache: bool
    invalid_lines: str


def new_batch(
    form: Mapping[str, Any],
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
    seconds = window_s(form["completion_window"]) or 0
    ours = form["batchwright"]
    doc: Doc = {
        "_id": new_batch_id(int(now_s * 1000)),
        "tenant": tenant,
        "endpoint": form["endpoint"],
        "input_file_id": form["input_file_id"],
        "completion_window": form["completion_window"],
        "window_s": seconds,
        "window_ends": datetime.fromtimestamp(now_s, UTC) + timedelta(seconds=seconds),
        "status": str(BatchStatus.VALIDATING),
        "ending": None,
        "created_at": now_s,
        "expires_at": now_s + seconds,
        "metadata": form["metadata"],
        "total": 0,
        "model": None,
        "errors": None,
        "output_file_id": None,
        "error_file_id": None,
        "paused_at": None,
        "pause_reason": None,
        "priority": ours["priority"],
        "options": {
            "model": ours["model"],
            "cache": defaults.cache if ours["cache"] is None else ours["cache"] != "off",
            "order": ours["order"],
            "invalid_lines": ours["invalid_lines"] or defaults.invalid_lines,
        },
        "request_hash": asked_hash,
        "plan": {"opened": False},
        "counts": {},
    }
    if idempotency_key is not None:
        doc["idempotency_key"] = idempotency_key
    return doc | _only_if_said(form)


def _only_if_said(form: Mapping[str, Any]) -> Doc:
    said: Doc = {}
    ours = form["batchwright"]
    if ours["max_cost_usd"] is not None:
        said["budget"] = new_budget(ours["max_cost_usd"])
    if ours["webhook"] is not None:
        said["webhook"] = {
            "url": ours["webhook"]["url"],
            "secret": ours["webhook"]["secret"] or new_secret(),
        }
    if ours["cache"] == "warm":
        said["warm"] = True
    if ours["run_key"] is not None:
        said["run_key"] = ours["run_key"]
    if form["output_expires_after"] is not None:
        said["output_expires_after_s"] = form["output_expires_after"]["seconds"]
    return said


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


def refusal_of_queue(backlog: Backlog, tenant: str) -> str | None:
    """Why the tenant may make no batch now: it has as many unanswered items as it may have. None if it may."""
    most = backlog.most(tenant)
    return None if most is None else queue_is_full(backlog.items(tenant), most)


def write_down(batches: Batches, doc: Doc, file: Doc | None) -> Doc | None:
    """Make the batch of this document and of this file (None: there is none); a worker must be told of it then.

    Returns: the batch, at its end already where the file is none for a batch; None, and nothing written, where its
    idempotency key or its generation is used.
    """
    refusal = refusal_of_input(file, doc["input_file_id"], doc["tenant"])
    if refusal is not None:
        doc["refusal"] = refusal  # for the planner, should we end before it is said
    if not batches.insert(doc):
        return None
    faultpoints.passes(faultpoints.BATCH_WRITTEN, doc["_id"])
    if refusal is None:
        return doc
    batches.fail(doc["_id"], [refusal])
    return batches.get(doc["_id"]) or doc
