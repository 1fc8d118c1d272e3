"""What can go wrong between a client and the API, as errors a person can act on."""

from __future__ import annotations

import httpx
import orjson

from app.client.models import BatchInfo
from workers.core.errors import UserError

_HINTS = {
    401: "set BATCHWRIGHT_API_KEY to a key of this server, or unset it to use the key of the stack that runs here",
    413: "cut the file into smaller ones, or raise the server's BATCHWRIGHT_API_MAX_FILE_BYTES",
    429: "the server is busy; try again in a moment",
}
_SHOWN_CHARS = 300
_FULL = 507


class ApiRefused(UserError):
    """The API answered, and the answer was no; asking the same again brings the same."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        hint: str | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id


class ApiUnreachable(UserError):
    """The API gave no answer, or one that only says that it cannot answer now."""


class WaitTimeout(UserError):
    """The batch has not ended in the time its caller gave it; it goes on."""


class CeilingReached(UserError):
    """The batch rests because its next calls would cost more than its `max_cost_usd`, or its tenant's month, allows."""


def refusal(response: httpx.Response, base_url: str) -> UserError:
    """The error for a failing reply whose body has been read."""
    error = _error_object(response.content)
    message = str(error.get("message") or response.reason_phrase or "no reason given")[:_SHOWN_CHARS]
    request_id = response.headers.get("x-request-id")
    if response.status_code in (502, 503, 504):
        return ApiUnreachable(
            f"the server at {base_url} cannot answer now: {message}", hint="try again in a moment"
        )
    if response.status_code == _FULL:
        # Its words name every way out, and nothing failed: the server's log says no more.
        return ApiRefused(
            f"the server at {base_url} takes nothing in: {message}",
            status=_FULL,
            code=error.get("code"),
            request_id=request_id,
        )
    if response.status_code >= 500:
        message = f"the server at {base_url} failed with status {response.status_code}: {message}"
    elif not error:
        message = f"{base_url} answered with status {response.status_code}, and not as Batchwright does"
    return ApiRefused(
        message,
        status=response.status_code,
        hint=_hint(response.status_code, request_id, error.get("code"), known=bool(error)),
        code=error.get("code"),
        param=error.get("param"),
        request_id=request_id,
    )


def _hint(status: int, request_id: str | None, code: object, *, known: bool) -> str | None:
    if code == "insufficient_scope":
        return "an admin of the tenant makes a key that may: `batchwright keys create --scope ...`"
    if not known and status < 500:
        return "see whether BATCHWRIGHT_API_URL names a Batchwright server"
    if status >= 500:
        named = f" for request {request_id}" if request_id else ""
        return f"look into the server's log{named} (`batchwright logs api`)"
    return _HINTS.get(status)


def ceiling_reached(batch: BatchInfo) -> CeilingReached:
    """The error for a batch that rests: its next calls would cost more than it may."""
    if batch.at_tenants_ceiling:
        return CeilingReached(
            f"{batch.id} rests at its tenant's ceiling for the month: {batch.done} of {batch.total} requests are done",
            hint="it goes on when the month turns (UTC), or when an operator raises max_cost_usd_per_month",
        )
    return CeilingReached(
        f"{batch.id} rests at its ceiling of ${batch.stats.max_cost_usd or 0:g}: "
        f"{batch.done} of {batch.total} requests are done",
        hint="give it a higher one: resume with max_cost_usd",
    )


def unreachable(error: httpx.TransportError, base_url: str) -> ApiUnreachable:
    """The error for a call that got no reply."""
    if isinstance(error, httpx.ConnectError):
        reason = "nothing answers there"
    elif isinstance(error, httpx.TimeoutException):
        reason = "no answer in time"
    else:
        reason = f"the connection broke ({str(error) or type(error).__name__})"
    return ApiUnreachable(
        f"cannot reach the server at {base_url}: {reason}",
        hint="see whether it runs (`batchwright ps` on its machine) and whether BATCHWRIGHT_API_URL is right, "
        "or start one with `batchwright up --detach`",
    )


def no_such_reply(base_url: str) -> ApiRefused:
    """The error for a success that is no reply of ours."""
    return ApiRefused(
        f"{base_url} answered, but not as Batchwright does",
        status=200,
        hint="see whether BATCHWRIGHT_API_URL names a Batchwright server",
    )


def _error_object(body: bytes) -> dict[str, str | None]:
    try:
        error = orjson.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}
