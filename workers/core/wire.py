"""The Batch API's objects as others read them: batch, file, output line (WIRE.md). Values in, JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from workers.core.history import History
from workers.core.identity import batch_request_id
from workers.core.messages import Attempt, Result

STATUS_TIMES = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def output_line(batch_id: str, result: Result) -> bytes:
    """One line of the output or the error file, with its line end. The body's bytes go in untouched.

    An answer that failed our own check (its schema) stands in the error file with its error and the reply. What
    the request lost on its way stands under `batchwright`, a key that only such lines have.
    """
    head = {"id": batch_request_id(batch_id, result.line), "custom_id": result.custom_id or None}
    prefix = orjson.dumps(head)[:-1]
    error, tail = _error(result), _warnings(result) if result.warnings else b""
    if result.status_code is None:
        return b'%s,"response":null,"error":%s%s}\n' % (prefix, error, tail)
    response = orjson.dumps({"status_code": result.status_code, "request_id": result.request_id or ""})
    body = result.body or b"{}"
    return b'%s,"response":%s,"body":%s},"error":%s%s}\n' % (prefix, response[:-1], body, error, tail)


# `{"id":"batch_req_` + 32 digits + `","custom_id":` ... `,"response":` ... `,"error":` ... `}` and the line end
_PLAIN_LINE_BYTES = len(b'{"id":"batch_req_","custom_id":,"response":,"error":}\n') + 32


def _error(result: Result) -> bytes:
    if result.error is None:
        return b"null"
    return orjson.dumps({"code": result.error.code, "message": result.error.message})


def _warnings(result: Result) -> bytes:
    return b',"batchwright":' + orjson.dumps({"warnings": result.warnings})


def line_bytes(result: Result) -> int:
    """The length of `output_line`, without making it: every result is measured as it is recorded."""
    size = _PLAIN_LINE_BYTES + len(orjson.dumps(result.custom_id or None)) + len(_error(result))
    if result.warnings:
        size += len(_warnings(result))
    if result.status_code is None:
        return size + len(b"null")
    body = len(result.body or b"{}")
    named = len(str(result.status_code)) + len(orjson.dumps(result.request_id or ""))
    return size + len(b'{"status_code":,"request_id":,"body":}') + named + body


def item_object(result: Result, provider: str | None) -> dict[str, Any]:
    """What one request of a batch took; the answer itself is in the output file.

    `provider`: whose turn it was when the result was recorded; None for a line that no provider was asked for.
    """
    usage = result.usage
    return {
        "line": result.line,
        "custom_id": result.custom_id,
        "status": "completed" if result.ok else "never_ran" if result.never_ran else "failed",
        "status_code": result.status_code,
        "error": {"code": result.error.code, "message": result.error.message} if result.error else None,
        "source": result.source,
        "provider": provider or None,
        "model": result.model,
        "calls": result.calls,
        "excess_calls": result.excess,
        "asked_again": result.asks_again,
        "latency_ms": result.latency_ms,
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": result.cost_usd,
        "warnings": list(result.warnings),
        "attempts": [_attempt(one) for one in result.attempts],
        "waited_s": dict(result.waited_s),
    }


def pending_object(
    *, line: int, state: str, reason: str | None, until: float | None, provider: str, history: History
) -> dict[str, Any]:
    """What one request of a batch that has no result yet went through so far, and what it waits for.

    `state`: queued, leased (a worker has it) or parked; `reason` says for what it rests, or what it last rested for.
    """
    return {
        "line": line,
        "custom_id": None,
        "status": "pending",
        "state": state,
        "reason": reason,
        "until": until,
        "provider": provider or None,
        "calls": history.calls,
        "asked_again": history.asks_again,
        "cost_usd": history.spent_usd,
        "attempts": [_attempt(one) for one in history.attempts],
        "waited_s": dict(history.waited_s),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    names = ("at", "provider", "code", "status", "then", "wait_s")
    return {name: getattr(attempt, name) for name in names}


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """The error object that every failing reply carries, all four keys present."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def file_object(doc: Mapping[str, Any]) -> dict[str, Any]:
    """FileObject from a stored file; times are integer Unix seconds."""
    return {
        "id": doc["_id"],
        "object": "file",
        "bytes": doc["bytes"],
        "created_at": int(doc["created_at"]),
        "expires_at": int(doc["expires_at"]) if doc.get("expires_at") else None,
        "filename": doc["filename"],
        "purpose": doc["purpose"],
        "status": "processed",
        "status_details": None,
    }


def batch_object(
    doc: Mapping[str, Any], counts: Mapping[str, Any], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Batch object from a stored batch.

    Args:
        counts: the batch's summed tally (`Tally.as_dict`); empty while validating.
        extra: our own fields, shown under the key `batchwright`.
    """
    started = doc.get("in_progress_at") is not None
    errors = doc.get("errors")
    shown: dict[str, Any] = {
        "id": doc["_id"],
        "object": "batch",
        "endpoint": doc["endpoint"],
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": doc["input_file_id"],
        "completion_window": doc["completion_window"],
        "status": doc["status"],
        "output_file_id": doc.get("output_file_id"),
        "error_file_id": doc.get("error_file_id"),
        "created_at": int(doc["created_at"]),
        "request_counts": {
            "total": doc.get("total", 0) if started else 0,
            "completed": counts.get("completed", 0) if started else 0,
            "failed": counts.get("failed", 0) if started else 0,
        },
        "metadata": doc.get("metadata"),
        "model": doc.get("model"),
        "usage": usage_object(counts),
        "batchwright": dict(extra),
    }
    for name in STATUS_TIMES:
        shown[name] = int(doc[name]) if doc.get(name) else None
    return shown


def usage_object(counts: Mapping[str, Any]) -> dict[str, Any]:
    """The batch's token usage, every part present."""
    input_tokens, output_tokens = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": counts.get("cached_tokens", 0)},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.get("reasoning_tokens", 0)},
        "total_tokens": input_tokens + output_tokens,
    }
